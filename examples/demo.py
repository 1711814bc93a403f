r"""From real digits to a served decision that knows when not to answer.

Trains a joint energy classifier with VERA on scikit-learn's digits, calibrates
it, exports a SavedModel, and scores known and foreign inputs with what was
exported. Run from the top of the checkout:

    python -m examples.demo --output=demo
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_ebm import metrics, ood, plots
from keras_ebm.data import fit_images
from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.serving import export_classifier
from keras_ebm.trainers.program import folders, json_files, options, running
from keras_ebm.trainers.run import record
from keras_ebm.trainers.run.scoring import fitted_scores
from keras_ebm.trainers.settings import data
from keras_ebm.trainers.settings.vera import ModelSettings
from keras_ebm.trainers.vera import FitSettings, train

TARGET_FPR = 0.05
FREE_SCORES = ("max_softmax", "energy", "knn")


def photographs(num_rows: int, size: int, seed: int = 0) -> np.ndarray:
    """Grey patches of scikit-learn's two sample photographs, uint8."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    patches = []
    for image in load_sample_images().images:
        for _ in range(num_rows // 2):
            top, left = (rng.integers(0, side - 32) for side in image.shape[:2])
            patch = image[top : top + 32, left : left + 32]
            # Averaging 4x4 blocks brings 32 pixels down to 8.
            blocks = patch.reshape(size, 32 // size, size, 32 // size, 3)
            patches.append(blocks.mean(axis=(1, 3)).round().astype(np.uint8))
    return fit_images(np.stack(patches), (size, size, 1))


def train_one(name: str, folder: Path, run, epochs: int, seed: int):
    """Trains one network: `"vera"`, or `"plain"` for the plain classifier."""
    negatives = {"vera": "generator", "plain": "none"}[name]
    workdir = folder / name
    workdir.mkdir(parents=True, exist_ok=True)
    fit = FitSettings(workdir=str(workdir), epochs=epochs, tensorboard=False)
    settings = ModelSettings(negatives=negatives)
    print(f"\ntraining {name} ({len(run.splits.train)} rows, seed {seed})")
    return train(run, settings, fit)


def serve(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """Answers of the exported model alone."""
    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    return {name: value.numpy() for name, value in function(tf.constant(x)).items()}


def run_demo(output: str, epochs: int = 60, seed: int = 0) -> dict:
    """Runs the whole demonstration and writes `report.png` and `report.json`.

    Args:
        output: folder to write to.
        epochs: int, length of both trainings.
        seed: int, of the split, the weights and the noise.

    Returns:
        The figures that are printed.
    """
    folder = Path(output)
    run = data.load(data.DataSettings(dataset="digits", seed=seed))
    plain, plain_metrics = train_one("plain", folder, run, epochs, seed)
    model, _ = train_one("vera", folder, run, epochs, seed)

    print("\ncalibrating, exporting, verifying")
    settings = ExportSettings(
        model=str(folder / "vera" / folders.MODEL_FILE),
        calibration="digits",
        target_fpr=TARGET_FPR,
    )
    detector, calibration = fit_detector(settings)
    path = export_classifier(detector, folder / "served" / "digits", calibration)

    x, y = run.rows("test")
    foreign = {
        "uniform noise": record.foreign("noise:uniform", run, seed),
        "digits turned by 90": record.foreign("rotate:90", run, seed),
        "photographs": photographs(len(x), x.shape[1], seed),
    }
    served = {name: serve(path, rows) for name, rows in foreign.items()}
    known = serve(path, x)
    figures = measure(known, y, served, detector, len(x))
    figures["plain_accuracy"] = plain_metrics["accuracy"]
    figures["plain_ece"] = plain_metrics["ece"]
    figures["auroc"] = aurocs(plain, run, x, foreign, known, served)
    json_files.write_json(folder / "report.json", figures)
    draw(folder / "report.png", model, x, known, foreign, served, detector)
    print_table(figures)
    print(f"\nSavedModel: {path}\npicture:    {folder / 'report.png'}")
    return figures


def measure(known, labels, served, detector, num_test) -> dict:
    """Quality of the exported model's answers and decisions."""
    band = ood.conformal_band(
        detector.target_fpr, int(detector.conformal.sizes.sum()), num_test
    )
    probabilities = known["probabilities"]
    return {
        "accuracy": float(np.mean(known["class_id"] == labels)),
        "ece": metrics.expected_calibration_error(probabilities, labels),
        "false_alarm_rate_asked": detector.target_fpr,
        "false_alarm_rate_got": float(np.mean(~known["accept"])),
        "false_alarm_band": list(band),
        "refused": {name: float(np.mean(~s["accept"])) for name, s in served.items()},
    }


def aurocs(plain, run, x, foreign, known, served) -> dict:
    """AUROC of the exported energy, and of the free scores of the plain network."""
    table = {
        "VERA energy (exported)": {
            name: metrics.auroc(known["ood_score"], answers["ood_score"])
            for name, answers in served.items()
        }
    }
    scores = fitted_scores(plain, run, ",".join(FREE_SCORES))
    needs = frozenset.union(*(score.requires for score in scores.values()))
    known_outputs = ood.network_outputs(plain, x, requires=needs)
    outputs = {
        name: ood.network_outputs(plain, rows, requires=needs)
        for name, rows in foreign.items()
    }
    for label, score in scores.items():
        known_scores = score.predict(known_outputs)
        table[f"plain network, {label}"] = {
            name: metrics.auroc(known_scores, score.predict(values))
            for name, values in outputs.items()
        }
    return table


def print_table(figures: dict) -> None:
    """Prints the figures of a demonstration."""
    low, high = figures["false_alarm_band"]
    print(f"\n{'':28s}{'VERA':>9s}{'plain':>9s}")
    for name in ("accuracy", "ece"):
        ours, theirs = figures[name], figures[f"plain_{name}"]
        print(f"{name:28s}{ours:9.4f}{theirs:9.4f}")
    print(
        f"false-alarm rate: asked {figures['false_alarm_rate_asked']:.3f}, got "
        f"{figures['false_alarm_rate_got']:.3f} (95 % band {low:.3f} to {high:.3f})"
    )
    sets = list(figures["refused"])
    print(f"\n{'AUROC, higher is better':28s}" + "".join(f"{s:>22s}" for s in sets))
    for label, row in figures["auroc"].items():
        print(f"{label:28s}" + "".join(f"{row[s]:22.4f}" for s in sets))
    refused = "".join(f"{figures['refused'][s]:22.4f}" for s in sets)
    print(f"{'refused by the export':28s}{refused}")


def draw(path, model, x, known, foreign, served, detector) -> None:
    """Draws data, samples, energies, and what is accepted and refused."""
    pyplot = plots.pyplot()
    figure = pyplot.figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplot_mosaic([["data", "samples", "energy"], ["yes", "no", "far"]])
    scale = model.preprocess
    plots.draw_images(axes["data"], scale(x[:48]), 8, "test digits")
    samples = model.sample(48, noise=False, candidates=50)
    plots.draw_images(axes["samples"], samples, 8, "samples, resampled by exp(-E)")
    energies = {"test digits": known["energy"]}
    energies |= {name: answers["energy"] for name, answers in served.items()}
    threshold = detector.conformal.threshold(detector.target_fpr)
    plots.draw_energy_histograms(axes["energy"], energies, threshold)
    accepted, refused = x[known["accept"]], x[~known["accept"]]
    plots.draw_images(axes["yes"], scale(accepted[:48]), 8, "accepted digits")
    plots.draw_images(
        axes["no"],
        scale(refused[:48]),
        8,
        f"refused digits ({len(refused)} of {len(x)})",
    )
    strangers = np.concatenate(
        [rows[~served[name]["accept"]][:16] for name, rows in foreign.items()]
    )
    plots.draw_images(axes["far"], scale(strangers), 8, "refused foreign inputs")
    plots.save(figure, path)


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """Flags of the demonstration."""

    output: str = options.setting("demo", "Folder to write to.")
    epochs: int = options.setting(60, "Passes over the training rows.")
    seed: int = options.setting(0, "Seed of the split, the weights and the noise.")


def main(argv: list[str]) -> None:
    del argv
    start = time.monotonic()
    settings = options.from_flags(DemoSettings)
    folders.require_folder("output")
    run_demo(settings.output, settings.epochs, settings.seed)
    print(f"took {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    options.define_flags(DemoSettings)
    running.run_program(main)
