r"""Anomalies in eight tables, training on half of the normal rows.

Normal rows in file order, permuted by `default_rng(seed)`; the first half, of at most
20,000 kept, trains; the rest and all anomalies test. The positive class is the anomaly;
AUPR is average precision. `keras_ebm.estimators.EnergyOutlierDetector` has one setting
for all sets, its default but for `calibration_share`, and keeps rows back for its
threshold and its scale; beside it stands the one with an energy, whose network is
trained. The distance to the nearest row in standardised columns and scikit-learn's
detectors at their defaults have all of the rows. Small tables are the first 60, 100 and
150 of the training rows, which the detector at its defaults calibrates by folds, and
half of them, kept back, before; what they are tested with is the same. Seconds are
those of a whole fit.

Settings were chosen on other tables, where some classes were normal and rows of the
others anomalies; what was seen of these sets before is in `docs/results.md`. Results of
earlier detectors are saved as `anomaly` (energy and nearest row, the mixture fitted on
all rows from the start), `anomaly_quantile`, `anomaly_standardise` (its energy learnt
from noise of many widths), `anomaly_jitter` (with the blend, and the mixture as a third
score) and `anomaly_one_fit` (a mixture fitted once, ten seeds); `--table` prints them
too. One file a run: what is there already is not repeated. From the top of the
checkout, for `NAME.npz` with `X` and `y` in a folder:

    python -m benchmarks.anomaly --data_dir=DIR --output=benchmarks/results/anomaly_fast

and `--table` prints the tables. `--sets` are other files of the folder, such as those
that `benchmarks.keel` writes; `--noenergy` leaves out the detector with a network, as
in two of the five seeds of `anomaly_fast`, and `--nosmall` the small tables too, as in
`anomaly_keel_fast` and, of 10,000 rows for their seconds, `anomaly_seconds`.
"""

import dataclasses
import time
import warnings
from pathlib import Path

import keras
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from benchmarks.machine import machine
from keras_ebm.estimators import EnergyOutlierDetector
from keras_ebm.layers.table_encoder import TRANSFORMS
from keras_ebm.ood import conformal_band, network_outputs
from keras_ebm.trainers.program import json_files, options, running

SETS = (
    "2_annthyroid",
    "6_cardio",
    "23_mammography",
    "27_PageBlocks",
    "30_satellite",
    "32_shuttle",
    "38_thyroid",
    "40_vowels",
)
MOST_ROWS = 20_000
RATE, CALIBRATION = 0.05, 0.1
SMALL = (60, 100, 150)
SCORES = {
    "nearest+mixture": "nearest row + mixture of Gaussians (default)",
    "energy+nearest": "energy + nearest row",
    "energy+nearest+mixture": "energy + nearest row + mixture",
    "energy": "energy alone",
    "nearest": "nearest row, of the detector's features",
    "mixture": "mixture of Gaussians alone",
    "raw": "nearest row, standardised, all rows",
    "gaussian": "one Gaussian (scikit-learn)",
    "forest": "isolation forest (scikit-learn)",
    "local": "local outlier factor (scikit-learn)",
    "support": "one-class SVM (scikit-learn)",
}
SMALL_SCORES = {
    "cross": "nearest row + mixture, calibrated by folds (default)",
    "split": "nearest row + mixture, calibrated by a split",
    **{key: SCORES[key] for key in ("raw", "gaussian", "forest", "local", "support")},
}


def load(path, seed: int):
    """`(train, test, truth)` by the protocol of the module; truth 1: an anomaly."""
    with np.load(path) as arrays:
        x, y = arrays["X"].astype(np.float32), arrays["y"]
    normal = x[y == 0]
    normal = normal[np.random.default_rng(seed).permutation(len(normal))][:MOST_ROWS]
    train, rest = np.split(normal, [len(normal) // 2])
    anomalies = x[y == 1]
    truth = np.repeat([0, 1], [len(rest), len(anomalies)])
    return train, np.concatenate([rest, anomalies]), truth


def run_one(name: str, seed: int, settings) -> dict:
    """Measures of every score on one set, and the refused share of normal rows."""
    train, test, truth = load(Path(settings.data_dir) / f"{name}.npz", seed)
    detector, times = timed_fit(train, settings, seed)
    scores = {detector.ood_score: -detector.score_samples(test)} | parts(detector, test)
    if settings.energy:
        other, more = timed_fit(train, settings, seed, ood_score="energy+nearest")
        times |= {f"{key}_energy": value for key, value in more.items()}
        scores["energy+nearest"] = -other.score_samples(test)
        scores["energy"] = parts(other, test)["energy"]
    scores |= alternatives(train, test, seed)
    refused = float(np.mean(detector.predict(test[truth == 0]) == -1))
    low, high = conformal_band(RATE, round(CALIBRATION * len(train)), sum(truth == 0))
    return {
        **measures(truth, scores),
        "false_alarms": {
            "share": refused,
            "band": [low, high],
            "inside": bool(low <= refused <= high),
        },
        "small": {
            str(count): run_small(train[:count], test, truth, seed)
            for count in (SMALL if settings.small else ())
        },
        "rows": {"train": len(train), "test": len(test), "anomalies": int(sum(truth))},
        **times,
    }


def timed_fit(train, settings, seed: int, **changed):
    """A fitted detector and the seconds that it took, of the clock and of cores."""
    keras.backend.clear_session()
    start, core_start = time.monotonic(), time.process_time()
    detector = EnergyOutlierDetector(
        RATE,
        calibration_share=CALIBRATION,
        feature_transform=settings.feature_transform,
        random_state=seed,
        **changed,
    ).fit(train)
    return detector, {
        "seconds": time.monotonic() - start,
        "core_seconds": time.process_time() - core_start,
    }


def run_small(train, test, truth, seed: int) -> dict:
    """Measures where few rows train: by folds, by a split, and of the others."""
    keras.backend.clear_session()
    scores, decisions = {}, {}
    for calibration in ("cross", "split"):
        detector = EnergyOutlierDetector(
            None if calibration == "split" else RATE,
            calibration=calibration,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # The split gives way, first in the share and then in the rate.
            warnings.simplefilter("ignore", UserWarning)
            detector.fit(train)
        scores[calibration] = -detector.score_samples(test)
        refused = scores[calibration] > -detector.offset_
        decisions[calibration] = {
            "rate": detector.target_fpr_,
            "false_alarm_bound": detector.false_alarm_bound_,
            "false_alarms": float(refused[truth == 0].mean()),
            "found": float(refused[truth == 1].mean()),
        }
    scores |= alternatives(train, test, seed)
    return {**measures(truth, scores), "decisions": decisions}


def measures(truth, scores: dict) -> dict:
    """AUROC and AUPR of scores by name."""
    rates = {"auroc": roc_auc_score, "aupr": average_precision_score}
    return {
        key: {name: float(rate(truth, score)) for name, score in scores.items()}
        for key, rate in rates.items()
    }


def parts(detector, x) -> dict:
    """The scores that the detector adds up, each alone."""
    whole = detector.detector_.score
    outputs = network_outputs(detector.detector_.model, x, requires=whole.requires)
    return {part.name: part.predict(outputs) for part in whole.scores}


def alternatives(train, test, seed: int) -> dict:
    """The nearest row and scikit-learn's detectors, in standardised columns."""
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    neighbours = NearestNeighbors(n_neighbors=1).fit(train)
    found = {"raw": neighbours.kneighbors(test)[0][:, 0]}
    detectors = {
        "gaussian": GaussianMixture(1),
        "forest": IsolationForest(random_state=seed),
        "local": LocalOutlierFactor(novelty=True),
        "support": OneClassSVM(),
    }
    # Of columns that are sums of others, float32 leaves no covariance.
    train, test = train.astype(np.float64), test.astype(np.float64)
    return found | {
        name: -detector.fit(train).score_samples(test)
        for name, detector in detectors.items()
    }


def table(folder: Path, sets, seeds: int, measure: str, count: int = 0) -> str:
    """Markdown of means ± standard deviations in %, over seeds.

    With `count`, of the detectors of so many rows.
    """
    runs = [
        [
            json_files.read_json(path)
            for seed in range(seeds)
            if (path := file_of(folder, name, seed)).is_file()
        ]
        for name in sets
    ]
    found = [
        [run["small"][str(count)][measure] if count else run[measure] for run in row]
        for row in runs
    ]
    rows = []
    for score, title in (SMALL_SCORES if count else SCORES).items():
        values = [[run[score] for run in row if score in run] for row in found]
        # The seeds that all sets have been run with.
        common = min(map(len, values))
        if common:
            name = title if common == seeds else f"{title}, {common} seeds"
            rows.append((name, [row[:common] for row in values]))
    return markdown("score", sets, rows)


def decisions_table(folder: Path, sets, seeds: int) -> str:
    """Markdown: of small tables, normal rows refused and anomalies found, in %."""
    rows = []
    for count in SMALL:
        for calibration in ("cross", "split"):
            for key in ("false_alarm_bound", "false_alarms", "found"):
                found = [
                    [
                        json_files.read_json(file_of(folder, name, seed))["small"][
                            str(count)
                        ]["decisions"][calibration][key]
                        for seed in range(seeds)
                    ]
                    for name in sets
                ]
                rows.append((f"{count} rows, {calibration}: {key}", found))
    return markdown("rows", sets, rows)


def markdown(head: str, sets, rows) -> str:
    """A table of means ± standard deviations in % of each set's values."""
    lines = [
        f"| {head} | "
        + " | ".join(name.split("_", 1)[1] for name in sets)
        + " | mean |",
        "|---|" + "---|" * (len(sets) + 1),
    ]
    for title, found in rows:
        values = 100 * np.array(found)
        cells = [f"{row.mean():.1f} ± {row.std():.1f}" for row in values]
        over = values.mean(axis=0)
        cells.append(f"**{over.mean():.1f}** ± {over.std():.1f}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def file_of(folder: Path, name: str, seed: int) -> Path:
    """Where one run's results are saved."""
    return folder / f"{name}-{seed}.json"


@dataclasses.dataclass(frozen=True)
class AnomalySettings:
    """Flags of the benchmark."""

    CHOICES = {"feature_transform": TRANSFORMS}

    data_dir: str = options.setting("", "Folder of NAME.npz.")
    output: str = options.setting("", "Folder to write to and to continue.")
    seeds: int = options.setting(5, "Seeds of each run.")
    sets: tuple = options.setting(SETS, "Files, with commas between them.")
    feature_transform: str = options.setting(
        "blend", "Of the columns, as the estimator's."
    )
    energy: bool = options.setting(True, "Whether a network is trained besides.")
    small: bool = options.setting(True, "Whether parts of few rows train too.")
    table: bool = options.setting(False, "Only print the tables of --output.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(AnomalySettings)
    folder = Path(options.require("output"))
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(0 if settings.table else settings.seeds):
        for name in settings.sets:
            path = file_of(folder, name, seed)
            if not path.is_file():
                results = run_one(name, seed, settings)
                json_files.write_json(path, {"machine": machine(), **results})
                print(path.name, results["auroc"], flush=True)
    report(folder, settings.sets, settings.seeds)


def report(folder: Path, sets, seeds: int) -> None:
    """Prints what a folder holds of some sets."""
    for measure in ("auroc", "aupr"):
        print(f"\n{measure}\n\n{table(folder, sets, seeds, measure)}")
    runs = [json_files.read_json(path) for path in sorted(folder.glob("*.json"))]
    inside = sum(run["false_alarms"]["inside"] for run in runs)
    print(f"\nfalse alarms inside the 95 % band: {inside} of {len(runs)}")
    for key in ("seconds", "core_seconds", "seconds_energy"):
        largest = [run[key] for run in runs if run["rows"]["train"] == 10_000]
        if key in runs[0] and largest:
            print(f"{key} of 10,000 rows: {min(largest):.1f} to {max(largest):.1f}")
    if not runs[0].get("small"):
        return
    for count in SMALL:
        for measure in ("auroc", "aupr"):
            lines = table(folder, sets, seeds, measure, count)
            print(f"\n{count} rows, {measure}\n\n{lines}")
    print(f"\n{decisions_table(folder, sets, seeds)}")


if __name__ == "__main__":
    options.define_flags(AnomalySettings)
    running.run_program(main)
