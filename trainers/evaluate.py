r"""Measures a trained model: accuracy, calibration, scores against foreign sets.

Run from the top of the checkout:

    python -m trainers.evaluate --model=runs/digits/model.keras \
        --dataset=digits --ood=noise:uniform --ood=rotate:90 \
        --output=runs/digits/evaluation.json
"""

import dataclasses

import numpy as np
from absl import flags

from keras_ebm import metrics, ood
from trainers import common, data
from trainers.common import setting
from trainers.measures import classification_measures

FLAGS = flags.FLAGS

REQUIRES = ("logits", "features", "gradient_norm")
#: Scores of the energy model itself; the others are free on any classifier.
ENERGY_SCORES = ("energy", "approximate_mass")


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """What to measure, on what."""

    model: str = setting("", "model.keras in the folder of its run.")
    dataset: str = setting(
        "", "Known data; the training data's spec takes the run's test split."
    )
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    target: str = setting("", "Label column of a csv; default that of the run.")
    scores: str = setting(
        "",
        "Scores to report, separated by commas, each a name or A+B; default all "
        "single ones, energy+knn and energy+class_gaussian.",
    )
    resamples: int = setting(200, "Bootstrap resamples of each interval.")
    seed: int = setting(0, "Seed of the noise sets and of the bootstrap.")
    output: str = setting("", "JSON file to write.")


def define_flags() -> None:
    common.define_flags(EvaluateSettings)
    flags.DEFINE_multi_string(
        "ood",
        [],
        "Foreign set, repeatable: a dataset spec, noise:uniform, noise:gaussian, "
        "rotate:90, or holdout.",
    )


def evaluate(settings: EvaluateSettings, foreign_specs) -> dict:
    """Measures a model on known and foreign data.

    Args:
        settings: `EvaluateSettings`.
        foreign_specs: list of specs for `keras_ebm.data.foreign`.

    Returns:
        Flat dict: `accuracy`, `nll` (nats), `ece`, `brier`, `num_known`, and
        `ood`: foreign set -> score -> `auroc`, `aupr`, `fpr95`, each with
        `_low` and `_high` (95 % bootstrap), `kind` (`"energy"`,
        `"baseline"` or `"combined"`) and `worse_than_chance`.

    Raises:
        ValueError: if the model or the data cannot be used.
    """
    model = common.load_model(settings.model)
    run = data.recall(settings.model, data_dir=settings.data_dir)
    x, y = known_rows(settings, run)
    foreign = {spec: data.foreign(spec, run, settings.seed) for spec in foreign_specs}
    known = ood.network_outputs(model, x, y, requires=REQUIRES)
    results = {"num_known": len(x)}
    if model.num_classes > 1:
        results |= classification_measures(known["logits"], y)
    scores = fitted_scores(model, run, settings.scores)
    known_scores = {name: score.predict(known) for name, score in scores.items()}
    results["ood"] = {}
    for spec, rows in foreign.items():
        outputs = ood.network_outputs(model, rows, requires=REQUIRES)
        results["ood"][spec] = {
            name: report(known_scores[name], score.predict(outputs), name, settings)
            for name, score in scores.items()
        }
    return results


def known_rows(settings, run):
    """The run's test split, or all rows of other data."""
    spec = settings.dataset
    if data.is_training_data(settings.model, spec, settings.data_dir):
        return run.rows("test")
    other = data.load_like(settings.model, spec, settings.data_dir, settings.target)
    rows = slice(len(other.x) - other.num_test if other.num_test else 0, None)
    return other.x[rows], other.y[rows]


def fitted_scores(model, run, names: str = "") -> dict:
    """Scores by name, fitted on the run's training and validation rows."""
    if names:
        wanted = names.split(",")
    else:
        wanted = [*ood.SCORES, "energy+knn", "energy+class_gaussian"]
        if model.num_classes < 2:
            wanted = [*ENERGY_SCORES, "knn"]
    scores = {name: ood.make_score(name) for name in wanted}
    learned = [score for score in scores.values() if score.fitted_names]
    if learned:
        needs = frozenset.union(*(score.requires for score in learned))
        parts = [
            ood.network_outputs(model, *run.rows(part), requires=needs)
            for part in ("train", "validation")
        ]
    for score in learned:
        score.fit(*parts)
    return scores


def report(known: np.ndarray, foreign: np.ndarray, name: str, settings) -> dict:
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
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    del argv
    for name in ("model", "dataset"):
        common.require(name)
    output = common.require_file("output")
    with common.usage_errors():
        results = evaluate(common.from_flags(EvaluateSettings), FLAGS.ood)
    common.write_json(output, results)
    print(table(results))


if __name__ == "__main__":
    define_flags()
    common.run_program(main)
