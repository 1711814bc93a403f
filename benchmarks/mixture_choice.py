r"""How the mixture under `EnergyOutlierDetector` was chosen: tables with classes.

Some classes are normal, rows of the others are anomalies, a tenth as many as normal
rows. Normal rows are permuted by the seed; half train, of which a tenth is kept aside
as for a threshold and a tenth of the rest chooses and scales, as in the detector; the
rest and the anomalies test. Small variants have 400 normal rows to train on. Scores are
minus the log-density of one fit of at most ten components, and of
`mixtures.select_mixture`, each alone and with the distance to the nearest row, in
standard deviations of the held-out rows. No network is trained. None of these tables is
among the eight of `benchmarks.anomaly`. From the top of the checkout, for `NAME.csv.gz`
with the class in the last column in a folder:

    python -m benchmarks.mixture_choice --data_dir=DIR \
        --output=benchmarks/results/mixture_choice.json
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from benchmarks.machine import machine
from keras_ebm import mixtures
from keras_ebm.estimators.training import build_encoder
from keras_ebm.trainers.program import json_files, options, running

COMPONENTS, SMALL, MOST_ROWS = 10, 400, 20_000
#: Table and the places of its normal classes in the order of their names.
TASKS = {
    "letter, A to C": ("letter", range(3)),
    "letter, O": ("letter", [14]),
    "letter, A to M": ("letter", range(13)),
    "segment, first three": ("segment", range(3)),
    "segment, last four": ("segment", range(3, 7)),
    "waveform5000, 0 and 1": ("waveform5000", [0, 1]),
    "waveform5000, 1 and 2": ("waveform5000", [1, 2]),
    "spambase, 0": ("spambase", [0]),
    "magic_gamma, g": ("magic_gamma", [0]),
    "breast cancer, benign": ("load_breast_cancer", [1]),
    "wine, 0 and 1": ("load_wine", [0, 1]),
    "digits, 0 to 4": ("load_digits", range(5)),
    "digits, 5 to 9": ("load_digits", range(5, 10)),
    "digits, 3": ("load_digits", [3]),
}


def load(name: str, normal, data_dir: str):
    """Rows `(n, features)` and whether each is normal."""
    if name.startswith("load_"):
        x, y = getattr(datasets, name)(return_X_y=True)
    else:
        frame = pd.read_csv(Path(data_dir) / f"{name}.csv.gz")
        x, y = frame.iloc[:, :-1].to_numpy(), frame.iloc[:, -1].astype(str).to_numpy()
    names = np.unique(y)
    return x.astype(np.float32), np.isin(y, names[list(normal)])


def split(x, normal, seed: int, most: int):
    """`(train, held_out, test, truth)` by the protocol of the module."""
    rng = np.random.default_rng(100 + seed)
    rows = x[normal]
    rows = rows[rng.permutation(len(rows))][:most]
    train, rest = np.split(rows, [len(rows) // 2])
    train = train[round(0.1 * len(train)) :]
    held_out = max(2, len(train) // 10)
    others = x[~normal]
    others = others[rng.permutation(len(others))][: max(20, len(rows) // 10)]
    truth = np.repeat([0, 1], [len(rest), len(others)])
    return train[held_out:], train[:held_out], np.concatenate([rest, others]), truth


def measure(train, held_out, test, truth) -> dict:
    """`{score: (AUROC, AUPR)}`, in %."""
    encoder = build_encoder(train, "blend")
    train, held_out, test = (encoder(x).numpy() for x in (train, held_out, test))
    nearest = NearestNeighbors(n_neighbors=1).fit(train)
    fits = {
        "one fit": mixtures.fit_mixture(train, COMPONENTS),
        "selected": mixtures.select_mixture(train, held_out, COMPONENTS),
    }
    found = {"nearest": [nearest.kneighbors(x)[0][:, 0] for x in (held_out, test)]}
    for name, mixture in fits.items():
        found[name] = [-mixture.log_density(x).numpy() for x in (held_out, test)]
    scaled = {
        k: (new - known.mean()) / known.std() for k, (known, new) in found.items()
    }
    scaled |= {f"{name} + nearest": scaled[name] + scaled["nearest"] for name in fits}
    return {
        name: [
            100 * float(rate(truth, score))
            for rate in (roc_auc_score, average_precision_score)
        ]
        for name, score in scaled.items()
    }


def table(results: dict) -> str:
    """Markdown: means over tasks and seeds, of all their rows and of few."""
    lines = [
        "| score | runs | AUROC | AUPR | runs of 400 rows | AUROC | AUPR |",
        "|---|---|---|---|---|---|---|",
    ]
    for score in next(iter(results.values())):
        cells = []
        for small in (False, True):
            runs = [
                r[score] for k, r in results.items() if k.endswith("small") == small
            ]
            cells += [str(len(runs)), *(f"{v:.1f}" for v in np.mean(runs, axis=0))]
        lines.append(f"| {score} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class ChoiceSettings:
    """Flags of the benchmark."""

    data_dir: str = options.setting("", "Folder of NAME.csv.gz.")
    output: str = options.setting("", "JSON file to write.")
    seeds: int = options.setting(2, "Seeds of each task.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(ChoiceSettings)
    results = {}
    for name, (source, normal) in TASKS.items():
        x, is_normal = load(source, normal, settings.data_dir)
        sizes = {"all": MOST_ROWS}
        # As many again test, and where there are hardly more it is the same task.
        if is_normal.sum() > 2.6 * SMALL:
            sizes["small"] = 2 * SMALL
        for size, most in sizes.items():
            for seed in range(settings.seeds):
                parts = split(x, is_normal, seed, most)
                results[f"{name} | {seed} | {size}"] = measure(*parts)
    if settings.output:
        json_files.write_json(
            settings.output, {"machine": machine(), "results": results}
        )
    print(table(results))


if __name__ == "__main__":
    options.define_flags(ChoiceSettings)
    running.run_program(main)
