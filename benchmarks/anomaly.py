r"""Anomalies in eight tables, training on half of the normal rows.

Normal rows in file order, permuted by `default_rng(seed)`; the first half, of at most
20,000 kept, trains; the rest and all anomalies test. The positive class is the anomaly;
AUPR is average precision. `keras_ebm.estimators.EnergyOutlierDetector` has one setting
for all sets, its default but for `calibration_share`, and keeps rows back for its
threshold and its scale; the distance to the nearest row in standardised columns, which
stands beside it, and scikit-learn's detectors at their defaults have all of them.
Settings were chosen on other tables, where some classes were normal and rows of the
others anomalies; what was seen of these sets before is in `docs/results.md`. Results of
earlier detectors, whose energy was learnt from noise of many widths, are saved as
`anomaly_quantile`, `anomaly_standardise` (energy and nearest row), `anomaly_jitter`
(with the blend, and the mixture as a third score) and `anomaly_one_fit` (a mixture
fitted once, ten seeds); `--table` prints them too. One file a run: what is there
already is not repeated. From the top of the checkout, for `NAME.npz` with `X` and `y`
in a folder:

    python -m benchmarks.anomaly --data_dir=DIR --output=benchmarks/results/anomaly

and `--table` prints the tables. `--sets` are other files of the folder, such as those
that `benchmarks.keel` writes.
"""

import dataclasses
import time
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
from trainers.program import json_files, options, running

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
SCORES = {
    "energy+nearest": "energy + nearest row (default)",
    "energy+nearest+mixture": "energy + nearest row + mixture",
    "energy": "energy alone",
    "nearest": "nearest row, of the detector's features",
    "mixture": "the energy's mixture of Gaussians alone",
    "raw": "nearest row, standardised, all rows",
    "gaussian": "one Gaussian (scikit-learn)",
    "forest": "isolation forest (scikit-learn)",
    "local": "local outlier factor (scikit-learn)",
    "support": "one-class SVM (scikit-learn)",
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
    start = time.monotonic()
    keras.backend.clear_session()
    detector = EnergyOutlierDetector(
        RATE,
        calibration_share=CALIBRATION,
        feature_transform=settings.feature_transform,
        random_state=seed,
    ).fit(train)
    seconds = time.monotonic() - start
    scores = {detector.ood_score: -detector.score_samples(test)}
    scores |= parts(detector, test)
    scaler = StandardScaler().fit(train)
    known, new = scaler.transform(train), scaler.transform(test)
    neighbours = NearestNeighbors(n_neighbors=1).fit(known)
    scores["raw"] = neighbours.kneighbors(new)[0][:, 0]
    scores |= alternatives(known, new, seed)
    refused = float(np.mean(detector.predict(test[truth == 0]) == -1))
    low, high = conformal_band(RATE, round(CALIBRATION * len(train)), sum(truth == 0))
    return {
        "auroc": {key: float(roc_auc_score(truth, v)) for key, v in scores.items()},
        "aupr": {
            key: float(average_precision_score(truth, v)) for key, v in scores.items()
        },
        "false_alarms": {
            "share": refused,
            "band": [low, high],
            "inside": bool(low <= refused <= high),
        },
        "rows": {"train": len(train), "test": len(test), "anomalies": int(sum(truth))},
        "seconds": seconds,
    }


def parts(detector, x) -> dict:
    """The scores that the detector adds up, and its mixture, each alone."""
    whole = detector.detector_.score
    outputs = network_outputs(detector.detector_.model, x, requires=whole.requires)
    found = {part.name: part.predict(outputs) for part in whole.scores}
    # The network's last layer is the mixture that its energy is built on.
    base = detector.detector_.model.network.get_layer("base")
    found["mixture"] = -base.mixture.log_density(outputs["inputs"]).numpy()
    return found


def alternatives(train, test, seed: int) -> dict:
    """scikit-learn's detectors at their defaults, in standardised columns."""
    detectors = {
        "gaussian": GaussianMixture(1),
        "forest": IsolationForest(random_state=seed),
        "local": LocalOutlierFactor(novelty=True),
        "support": OneClassSVM(),
    }
    # Of columns that are sums of others, float32 leaves no covariance.
    train, test = train.astype(np.float64), test.astype(np.float64)
    return {
        name: -detector.fit(train).score_samples(test)
        for name, detector in detectors.items()
    }


def table(folder: Path, sets, seeds: int, measure: str) -> str:
    """Markdown of means ± standard deviations in %, over seeds."""
    lines = [
        "| score | " + " | ".join(name.split("_", 1)[1] for name in sets) + " | mean |",
        "|---|" + "---|" * (len(sets) + 1),
    ]
    runs = [
        [
            json_files.read_json(file_of(folder, name, seed))[measure]
            for seed in range(seeds)
        ]
        for name in sets
    ]
    for score, title in SCORES.items():
        if score not in runs[0][0]:
            continue
        values = np.array([[100 * run[score] for run in row] for row in runs])
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
    for measure in ("auroc", "aupr"):
        print(f"\n{measure}\n\n{table(folder, settings.sets, settings.seeds, measure)}")
    runs = [json_files.read_json(path) for path in sorted(folder.glob("*.json"))]
    inside = sum(run["false_alarms"]["inside"] for run in runs)
    print(f"\nfalse alarms inside the 95 % band: {inside} of {len(runs)}")


if __name__ == "__main__":
    options.define_flags(AnomalySettings)
    running.run_program(main)
