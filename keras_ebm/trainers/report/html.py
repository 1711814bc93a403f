"""An evaluation as one HTML file that holds its pictures and links to nothing."""

import html
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_ebm import EnergyModel, files, metrics, pages, plots

#: Columns of the pictures of energies.
COLUMNS = 3
#: Names of measures, as a reader knows them.
TITLES = {
    "num_known": "Known rows",
    "accuracy": "Accuracy",
    "nll": "Negative log-likelihood (nats)",
    "ece": "Expected calibration error",
    "brier": "Brier score",
    "frechet_distance": "Fréchet distance",
    "few_samples": "Too few images for its covariance",
    "kernel_distance": "Kernel distance",
    "kernel_distance_error": "Kernel distance, standard error",
    "inception_score": "Inception score",
    "inception_score_stddev": "Inception score, spread over splits",
    "inception_splits": "Inception score, splits",
    "num_samples": "Samples",
    "source": "Source",
    "sigma_noise": "With the generator's noise",
    "feature_extractor": "Feature extractor",
    "extractor": "Feature extractor, digest",
    "num_features": "Features",
    "reference_split": "Split of the reference",
    "reference": "Reference",
    "num_reference": "Reference images",
}
CAPTIONS = {
    "reliability": "Reliability on the known rows",
    "energies": "Energy of the known rows against each foreign set",
    "samples": "Known rows and samples of the model",
    "density": "The model's density, known rows and samples",
}


class Evidence(NamedTuple):
    """What the pictures of a report are drawn from.

    Attributes:
        model: `EnergyModel`.
        x: raw known rows `(rows, ...)`.
        y: int array `(rows,)`, their labels; -1 is unlabelled.
        logits: float array `(rows, K)` of them.
        energies: dict of float arrays in nats, `"known"` first, then each foreign set.
        samples: uint8 images `(n, height, width, channels)`, or None.
    """

    model: EnergyModel
    x: Any
    y: np.ndarray
    logits: np.ndarray
    energies: dict
    samples: np.ndarray | None


def draw(results: dict, evidence: Evidence) -> dict[str, bytes]:
    """Draws what there is to draw: PNG files by name."""
    figures = {}
    if evidence.model.num_classes > 1 and np.any(evidence.y >= 0):
        figures["reliability"] = _reliability(evidence)
    if len(evidence.energies) > 1:
        figures["energies"] = _energies(results, evidence)
    if evidence.samples is not None:
        figures["samples"] = _samples(evidence)
    elif not isinstance(evidence.x, dict) and evidence.x.shape[1:] == (2,):
        known = evidence.model.preprocess(evidence.x)
        figures["density"] = plots.model_figure(evidence.model, known)
    return {name: _png(figure) for name, figure in figures.items()}


def _png(figure) -> bytes:
    file = io.BytesIO()
    plots.save(figure, file)
    return file.getvalue()


def _reliability(evidence: Evidence):
    figure, axis = plots.pyplot().subplots(figsize=(4.5, 4.5), layout="constrained")
    logits = evidence.logits.astype(np.float64)
    probabilities = evidence.model.to_probabilities(logits).numpy()
    plots.draw_reliability(axis, metrics.reliability(probabilities, evidence.y))
    return figure


def _energies(results: dict, evidence: Evidence):
    known, *sets = evidence.energies
    columns = min(COLUMNS, len(sets))
    rows = -(-len(sets) // columns)
    size = (max(4.2, 3.4 * columns), 2.8 * rows)
    figure, axes = plots.pyplot().subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(sets) :]:
        axis.axis("off")
    for axis, spec in zip(axes.flat, sets, strict=False):
        score = results["ood"][spec].get("energy")
        title = f"{spec}, AUROC {100 * score['auroc']:.1f} %" if score else spec
        energies = evidence.energies[known], evidence.energies[spec]
        plots.draw_energy_pair(axis, *energies, _plain(title))
    return figure


def _plain(text: str) -> str:
    """Text that matplotlib takes for no formula."""
    return text.replace("$", r"\$")


def _samples(evidence: Evidence):
    count = min(len(evidence.samples), len(evidence.x))
    columns = int(np.ceil(np.sqrt(count)))
    figure, axes = plots.pyplot().subplots(1, 2, figsize=(8, 4.3), layout="constrained")
    for axis, images, title in zip(
        axes, (evidence.x, evidence.samples), ("known rows", "samples"), strict=True
    ):
        plots.draw_images(axis, images[:count], columns, title, (0.0, 255.0))
    return figure


def write_pictures(folder, pictures: dict[str, bytes]) -> None:
    """Writes each picture to `folder/NAME.png`."""
    folder = Path(folder)
    files.make_folder(folder)
    for name, content in pictures.items():
        files.write_bytes(folder / f"{name}.png", content)


def write(path, title: str, results: dict, pictures: dict[str, bytes]) -> None:
    """Writes the HTML file; see `page`."""
    files.write_text(path, page(title, results, pictures))


def page(title: str, results: dict, pictures: dict[str, bytes]) -> str:
    """The report as text.

    Every number is a `<data>` element whose `value` is that of the results, unrounded.

    Args:
        title: str, of what.
        results: what `trainers.evaluate.evaluate` returns.
        pictures: what `draw` returns.
    """
    parts = [pages.section("Known data", pages.measures(results, TITLES))]
    parts += [_picture("reliability", pictures)]
    if results["ood"]:
        overview = _overview(results["ood"])
        parts.append(pages.section("Foreign sets: AUROC in %", overview))
    parts += [_picture("energies", pictures)]
    if "samples" in results:
        samples = pages.measures(results["samples"], TITLES)
        parts.append(pages.section("Samples", samples))
    parts += [_picture("samples", pictures), _picture("density", pictures)]
    for spec, scores in results["ood"].items():
        parts.append(pages.section(f"Scores against {spec}", _details(scores)))
    return pages.page(f"Evaluation of {title}", parts)


def _picture(name: str, pictures: dict[str, bytes]) -> str:
    if name not in pictures:
        return ""
    return pages.picture(pictures[name], CAPTIONS[name])


def _overview(sets: dict) -> str:
    """AUROC of each score (row) against each set (column), coloured."""
    names = list(next(iter(sets.values())))
    head = "".join(f'<th class="number">{html.escape(spec)}</th>' for spec in sets)
    rows = []
    for name in names:
        aurocs = [scores[name]["auroc"] for scores in sets.values()]
        cells = "".join(
            f'<td class="number hue" style="background:{_colour(auroc)}">'
            f"{pages.percent(auroc)}</td>"
            for auroc in aurocs
        )
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    return pages.table(rows, f"<tr><th>Score</th>{head}</tr>")


def _colour(auroc: float) -> str:
    """From red at 0 over white at chance to green at 1."""
    hue = 130 if auroc > 0.5 else 0
    return f"hsl({hue}, 60%, {100 - 50 * abs(auroc - 0.5):.0f}%)"


def _details(scores: dict) -> str:
    head = "".join(
        f'<th class="number">{text}</th>' for text in ("AUROC", "AUPR", "FPR95", "Rows")
    )
    rows = []
    for name, value in scores.items():
        flag = "<small> worse than chance</small>" if value["worse_than_chance"] else ""
        cells = [f"<td>{html.escape(value['kind'])}{flag}</td>"]
        for key in ("auroc", "aupr", "fpr95"):
            low, high = (
                pages.percent(value[f"{key}_low"]),
                pages.percent(value[f"{key}_high"]),
            )
            interval = f"<small>[{low}, {high}]</small>"
            cells.append(
                f'<td class="number">{pages.percent(value[key])} {interval}</td>'
            )
        count = value["num_foreign"]
        cells.append(f'<td class="number">{pages.number(count, count)}</td>')
        title = f'<th scope="row">{html.escape(name)}</th>'
        rows.append(f"<tr>{title}{''.join(cells)}</tr>")
    note = "<p>In %, with 95 % bootstrap intervals; rows are foreign ones.</p>"
    head = f"<tr><th>Score</th><th>Kind</th>{head}</tr>"
    return f"{note}\n{pages.table(rows, head)}"
