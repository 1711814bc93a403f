r"""Measures a trained model: accuracy, calibration, foreign sets, and its samples.

Run it as:

    keras-ebm evaluate --model=runs/digits/model.keras \
        --dataset=digits --ood=noise:uniform --ood=rotate:90 \
        --samples=1000 --feature_extractor=digits.keras \
        --output=runs/digits/evaluation.json --report=runs/digits/report.html

Runs side by side, with intervals of the differences from the first of them:

    keras-ebm evaluate --compare runs/a runs/b --ood=noise:uniform \
        --output=compared.json --report=compared.html
"""

import dataclasses

import numpy as np
from absl import flags

from keras_ebm import files, metrics, ood, plots
from keras_ebm.rows import num_rows
from keras_ebm.trainers.program import (
    errors,
    folders,
    json_files,
    options,
    running,
)
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.program.options import SEED, Checked, setting
from keras_ebm.trainers.report import html, side_by_side
from keras_ebm.trainers.report.measures import classification_measures
from keras_ebm.trainers.report.samples import (
    prepare_samples,
    sample_images,
    sample_measures,
)
from keras_ebm.trainers.run import comparing
from keras_ebm.trainers.run.scoring import ENERGY_SCORES, open_run, score_rows
from keras_ebm.trainers.settings import clashes

FLAGS = flags.FLAGS

#: Flags that mean nothing where runs are compared.
OF_ONE_RUN = (
    "model",
    "choose_score",
    "samples",
    "feature_extractor",
    "reference",
    "reference_split",
    "sample_noise",
    "pictures",
)
#: Samples of a report where `--samples` asks for none, and at most.
SHOWN = 64


@dataclasses.dataclass(frozen=True)
class EvaluateSettings(Checked):
    """What to measure, on what."""

    CHOICES = {"reference_split": ("test", "train")}

    model: str = setting("", "model.keras in the folder of its run.")
    dataset: str = setting(
        "", "Known data; the training data's spec takes the run's test split."
    )
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    target: str | None = setting(
        None, "Label column of a csv; default that of the run. Empty if there is none."
    )
    scores: str = setting(
        "",
        "Scores to report, separated by commas, each a name or names joined by +; "
        "default all single ones (mixture for tables only), energy+knn and "
        "energy+class_gaussian.",
    )
    choose_score: bool = setting(
        False,
        "Also rank scores on stand-ins for foreign rows, made of the run's validation "
        "rows, and write the best into score.json beside the model, which the "
        "exporters take by --score=chosen. Real foreign inputs may rank otherwise.",
    )
    resamples: int = setting(200, "Bootstrap resamples of each interval.", low=2)
    samples: int = setting(
        0, "Samples of an image model to draw and measure; 0: none.", low=0
    )
    sample_noise: bool = setting(
        True, "Whether a generator's samples carry its Gaussian noise, sigma."
    )
    feature_extractor: str = setting(
        "",
        "With --samples: .keras file of a classifier of the run's images (pixel values "
        "0 to 255) to logits, or a trained energy model; default Keras's InceptionV3.",
    )
    reference: str = setting(
        "",
        "With --samples: npz file that statistics of real images are kept in; read if "
        "it exists, else written.",
    )
    reference_split: str = setting("test", "The run's split that they are of.")
    seed: int = setting(
        0, "Seed of the noise sets, the bootstrap and the samples.", **SEED
    )
    output: str = setting("", "JSON file to write.")
    report: str = setting("", "HTML file to write, pictures included; optional.")
    pictures: str = setting("", "Folder for the report's pictures as PNG; optional.")
    skip_broken_images: bool = setting(
        False, "Whether files of images:DIR that cannot be decoded are left out."
    )


def define_flags() -> None:
    for settings_class in (EvaluateSettings, ImportSettings):
        options.define_flags(settings_class)
    flags.DEFINE_multi_string(
        "ood",
        [],
        "Foreign set, repeatable: a dataset spec, noise:uniform, noise:gaussian, "
        "rotate:90, interpolate, phase_scramble, or holdout.",
    )
    flags.DEFINE_multi_string(
        "compare",
        [],
        "Folders of runs of the same data, which are set side by side, in place of "
        "--model: --compare runs/a runs/b.",
    )


def define(argv: list[str]) -> None:
    """Defines the flags; `--compare` takes all that stands behind it."""
    define_flags()
    argv[1:] = options.spread(argv[1:], "compare")


def evaluate(settings: EvaluateSettings, foreign_specs) -> dict:
    """Measures a model on known and foreign data.

    Args:
        settings: `EvaluateSettings`.
        foreign_specs: list of specs for `keras_ebm.data.foreign`.

    Returns:
        Flat dict: `accuracy`, `nll` (nats), `ece`, `brier` where known rows are
        labelled, `num_known`, and `ood`: foreign set -> score -> `auroc`, `aupr`,
        `fpr95`, each with `_low` and `_high` (95 % bootstrap), `kind` (`"energy"`,
        `"baseline"` or `"combined"`) and `worse_than_chance`. With `samples`
        also `samples`: see `sample_measures`. With `choose_score` also
        `score_choice`: see `keras_ebm.ood.ScoreChoice`.

    Raises:
        ValueError: if the model or the data cannot be used.
        OSError: if no feature extractor can be had.
    """
    return examine(settings, foreign_specs)[0]


def examine(settings: EvaluateSettings, foreign_specs):
    """Does what `evaluate` does, and keeps what a report is drawn from.

    Returns:
        `(results, evidence)`: the dict of `evaluate`, and `html.Evidence`.
    """
    model, run, (x, y) = open_run(settings)
    # What can be refused is, before the work of the scores.
    sampled = prepare_samples(model, run, settings)
    choice = choose_score(model, run, settings) if settings.choose_score else None
    scored = score_rows(model, run, x, y, foreign_specs, settings)
    results = {"num_known": num_rows(x)}
    if model.num_classes > 1:
        results |= classification_measures(model, scored.logits, y)
    if choice is not None:
        results["score_choice"] = choice.to_json()
    results["ood"] = {
        spec: {
            name: detection(scored.known[name], values, name, settings)
            for name, values in own.items()
        }
        for spec, own in scored.foreign.items()
    }
    images = None
    if sampled:
        images = sample_images(model, settings.samples, settings)
        results["samples"] = sample_measures(model, images, *sampled, settings)
    elif (settings.report or settings.pictures) and run.dataset.kind == "image":
        images = sample_images(model, SHOWN, settings) if model.can_sample else None
    images = None if images is None else images[:SHOWN]
    return results, html.Evidence(model, x, y, scored.logits, scored.energies, images)


def choose_score(model, run, settings: EvaluateSettings) -> ood.ScoreChoice:
    """The score to serve, by the run's training and validation rows alone.

    Raises:
        ValueError: if it has too few validation rows.
    """
    parts = {name: run.rows(name) for name in ("train", "validation")}
    names = settings.scores.split(",") if settings.scores else None
    return ood.choose_score(
        model,
        parts["validation"],
        train=parts["train"],
        scores=names,
        seed=settings.seed,
    )


def detection(known: np.ndarray, foreign: np.ndarray, name: str, settings) -> dict:
    """Detection measures of one score on one foreign set, with intervals."""
    measures = metrics.detection_report(
        known, foreign, num_resamples=settings.resamples, seed=settings.seed
    )
    values = {}
    for measure, value in measures.items():
        values[measure] = value["value"]
        values[f"{measure}_low"] = value["low"]
        values[f"{measure}_high"] = value["high"]
    kind = "energy" if name in ENERGY_SCORES else "baseline"
    return {
        **values,
        "kind": "combined" if "+" in name else kind,
        "worse_than_chance": values["auroc"] < 0.5,
        "num_foreign": len(foreign),
    }


def table(results: dict) -> str:
    """The results as the text that the program prints."""
    lines = []
    for name in ("num_known", "accuracy", "nll", "ece", "brier"):
        if name in results:
            lines.append(f"{name:12s} {results[name]:.6g}")
    if "samples" in results:
        lines.append("\nsamples")
        for name, value in results["samples"].items():
            text = f"{value:.6g}" if isinstance(value, float) else value
            lines.append(f"  {name:24s} {text}")
    for spec, scores in results["ood"].items():
        lines.append(f"\n{spec}: AUROC, AUPR, FPR95 in % with 95 % intervals")
        for name, value in scores.items():
            cells = [
                f"{100 * value[key]:5.1f} [{100 * value[key + '_low']:5.1f}, "
                f"{100 * value[key + '_high']:5.1f}]"
                for key in ("auroc", "aupr", "fpr95")
            ]
            flag = "  WORSE THAN CHANCE" if value["worse_than_chance"] else ""
            lines.append(f"  {name:24s} {value['kind']:9s} {'  '.join(cells)}{flag}")
    if "score_choice" in results:
        lines.append(f"\n{choice_of(results).table()}")
    return "\n".join(lines)


def choice_of(results: dict) -> ood.ScoreChoice:
    """The `ScoreChoice` in the results of `evaluate`."""
    names = [field.name for field in dataclasses.fields(ood.ScoreChoice)]
    return ood.ScoreChoice(**{name: results["score_choice"][name] for name in names})


def compare() -> None:
    """Sets the runs of `--compare` side by side."""
    clashes.check(clashes.COMPARE)
    clashes.check_without("compare", OF_ONE_RUN)
    output = folders.require_file("output")
    if FLAGS.report:
        folders.require_file("report")
    with errors.usage_errors():
        paths = comparing.check_runs(FLAGS.compare, FLAGS.dataset)
    read = {path: path for path in paths}
    folders.check_apart({"output": FLAGS.output, "report": FLAGS.report}, read)
    settings = options.from_flags(EvaluateSettings)
    with errors.usage_errors():
        results = comparing.compare(settings, FLAGS.compare, FLAGS.ood)
    for path in (output, settings.report or output):
        folders.make_parent(path)
    json_files.write_json(output, results)
    if settings.report:
        files.write_text(settings.report, side_by_side.page(results))
    print(side_by_side.text(results))


def main(argv: list[str]) -> None:
    del argv
    if FLAGS.compare:
        return compare()
    for name in ("model", "dataset"):
        options.require(name)
    clashes.check(clashes.EVALUATE)
    if not FLAGS.choose_score:
        clashes.check(clashes.EVALUATE_SCORES)
    output = folders.require_file("output")
    for name in ("report", "reference"):
        if FLAGS[name].value:
            folders.require_file(name)
    if FLAGS.pictures:
        folders.require_folder("pictures")
    chosen = {}
    if FLAGS.choose_score:
        path = folders.beside_model(FLAGS.model, folders.SCORE_FILE)
        chosen = {str(path): str(path)}
    written = ("output", "report", "reference", "pictures")
    folders.check_apart(
        {name: FLAGS[name].value for name in written},
        {
            "feature_extractor": FLAGS.feature_extractor,
            **folders.files_of_run(FLAGS.model),
            **chosen,
            **folders.files_of_spec("dataset", FLAGS.dataset),
            **{k: v for s in FLAGS.ood for k, v in folders.files_of_spec(s, s).items()},
        },
    )
    settings = options.from_flags(EvaluateSettings)
    with errors.usage_errors():
        if settings.report or settings.pictures:
            plots.pyplot()
        results, evidence = examine(settings, FLAGS.ood)
    for path in (output, settings.report or output):
        folders.make_parent(path)
    json_files.write_json(output, results)
    for path in chosen:
        json_files.write_json(path, results["score_choice"])
    if settings.report or settings.pictures:
        pictures = html.draw(results, evidence)
        if settings.pictures:
            html.write_pictures(settings.pictures, pictures)
        if settings.report:
            html.write(settings.report, f"{settings.model}", results, pictures)
    print(table(results))


if __name__ == "__main__":
    running.run_program(main, define)
