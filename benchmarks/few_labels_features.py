r"""Ten labels a class on the features of a frozen body: CIFAR-10, 16,000 training rows.

Heads are those of `python -m trainers.adopt --backbone=... --labels_per_class=10` with
600 steps, with and without `--pseudo_labels=label_spreading`, beside scikit-learn's
methods on the directions of the standardised features in their 128 first principal
components: logistic regression and an SVM of the labelled rows, and label spreading of
all rows. From the top of the checkout:

    python -m benchmarks.few_labels_features --data_dir=DIR --cache=features \
        --backbone=efficientnet_lite0.keras \
        --output=benchmarks/results/few_labels_features.json

Accuracies are on the 10,000 test images, and of methods that answer the unlabelled
training rows also on these. Settings were chosen on seeds 10 and 11, by the validation
rows. What is in the file already is not repeated; `--table` prints.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

from benchmarks.backbone import DATASET, split_settings
from benchmarks.machine import machine
from keras_ebm.estimators import PseudoLabels
from keras_ebm.trainers.adopt import HEAD
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.run import bodies, transforms
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.starting import build_body
from keras_ebm.trainers.settings.vera import ModelSettings, build_model
from keras_ebm.trainers.vera import FitSettings

LABELS_PER_CLASS = 10
COMPONENTS, NEIGHBOURS = 128, 30
FREE = {
    "logistic regression": lambda: LogisticRegression(max_iter=1000),
    "SVM, RBF": lambda: SVC(),
    "label spreading, 30 neighbours": lambda: LabelSpreading(
        "knn", n_neighbors=NEIGHBOURS, alpha=0.2, max_iter=200
    ),
}
SPREAD = "labels spread here, no network"
#: What each head passes beside `trainers.adopt`'s own settings.
HEADS = {
    "head": {},
    "head, label_spreading": {"pseudo_labels": "label_spreading"},
}


def features_of(settings, seed: int):
    """`RunData` of features, ten of whose training labels a class are known."""
    run = load(
        DataSettings(
            dataset=DATASET,
            data_dir=settings.data_dir,
            seed=seed,
            labels_per_class=LABELS_PER_CLASS,
        )
    )
    body = build_body(ModelSettings(backbone=settings.backbone), run.dataset)
    return bodies.of_features(run, body, Path(settings.cache))


def run_one(method: str, seed: int, settings) -> dict:
    """Accuracies of one method."""
    seen = features_of(settings, seed)
    x, labels = seen.rows("train")
    truth = seen.dataset.y[seen.splits.train]
    parts = {part: seen.rows(part) for part in ("validation", "test")}
    unknown, start = labels < 0, time.monotonic()
    if method in HEADS:
        found = _head(method, seed, settings, seen, parts)
    elif method == SPREAD:
        entries = StandardScaler().fit_transform(x)
        spread = PseudoLabels.spread(entries, labels)
        found = {"alpha": spread.alpha, "left_out": spread.accuracy}
        found["kernel_left_out"] = spread.kernel_accuracy
        right = spread.labels[unknown] == truth[unknown]
        found["unlabelled"] = float(np.mean(right))
    else:
        found = _free(method, x, labels, truth, parts)
    return {**found, "seconds": time.monotonic() - start}


def _head(method, seed, settings, seen, parts) -> dict:
    values = {**HEAD, **HEADS[method], "verbose": 0, "seed": seed}
    model_settings = split_settings(
        ModelSettings, {**values, "transform": "standardise"}
    )
    with tempfile.TemporaryDirectory() as folder:
        fit = split_settings(FitSettings, {**values, "workdir": folder})
        if settings.steps:
            fit = dataclasses.replace(fit, steps=settings.steps)
        model, _ = transforms.prepare(seen, model_settings, fit, build_model).perform()
    return {
        part: float(np.mean(np.argmax(model.logits(x), axis=1) == y))
        for part, (x, y) in parts.items()
    }


def _free(method, x, labels, truth, parts) -> dict:
    known = labels >= 0
    reduced = make_pipeline(
        StandardScaler(), PCA(COMPONENTS, random_state=0), Normalizer()
    ).fit(x)
    rows = reduced.transform(x)
    others = {part: (reduced.transform(own), y) for part, (own, y) in parts.items()}
    model = FREE[method]()
    if isinstance(model, LabelSpreading):
        model.fit(rows, labels)
    else:
        model.fit(rows[known], labels[known])
    found = {
        part: float(np.mean(model.predict(own) == y))
        for part, (own, y) in others.items()
    }
    if isinstance(model, LabelSpreading):
        right = model.transduction_[~known] == truth[~known]
        found["unlabelled"] = float(np.mean(right))
    return found


def table(runs: dict) -> str:
    """Markdown of means ± standard deviations over seeds, in %."""
    lines = [
        "| method | seeds | test | unlabelled training rows |",
        "|---|---|---|---|",
    ]
    for method in (*FREE, SPREAD, *HEADS):
        own = [run for key, run in runs.items() if key.rpartition("; ")[0] == method]
        if not own:
            continue
        cells = []
        for part in ("test", "unlabelled"):
            values = [100 * run[part] for run in own if part in run]
            told = f"{np.mean(values):.1f} ± {np.std(values):.1f}" if values else ""
            cells.append(told)
        lines.append(f"| {method} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class FeatureSettings:
    """Flags of the benchmark."""

    backbone: str = options.setting("", "The body, a .keras file.")
    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    cache: str = options.setting("features", "Folder that keeps features.")
    first_seed: int = options.setting(0, "First seed; 10 to choose.")
    seeds: int = options.setting(3, "Seeds of each method.")
    methods: str = options.setting("", "Methods to run, with semicolons; default all.")
    steps: int = options.setting(600, "Steps of a head; 0: those of trainers.adopt.")
    output: str = options.setting("", "JSON file to write and to continue.")
    table: bool = options.setting(False, "Only print the table of --output.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(FeatureSettings)
    output = Path(options.require("output"))
    saved = {"machine": machine(), "runs": {}}
    if output.exists():
        saved = json_files.read_json(output)
    chosen = (
        settings.methods.split(";") if settings.methods else (*FREE, SPREAD, *HEADS)
    )
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    for seed in [] if settings.table else seeds:
        for method in chosen:
            key = f"{method}; {seed}"
            if key not in saved["runs"]:
                saved["runs"][key] = run_one(method, seed, settings)
                json_files.write_json(output, saved)
                print(key, saved["runs"][key], flush=True)
    print(table(saved["runs"]))


if __name__ == "__main__":
    options.define_flags(FeatureSettings)
    running.run_program(main)
