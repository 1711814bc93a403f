r"""Missing cells: known to the network, filled in with means, or not missing at all.

Three tables, ten labels a class by the protocol of `benchmarks.tabular`, of which a
share of all cells, drawn at random, is taken out of every split. `EnergyClassifier`,
at its defaults, either gets the gaps as they are (a missing cell is its column's mean,
with an indicator beside it), or rows whose gaps scikit-learn's `SimpleImputer` has
filled with means, or the rows before. Nothing was tuned. From the top of the checkout,
for `NAME.csv.gz` in a folder:

    python -m benchmarks.missing --data_dir=DIR --output=benchmarks/results/missing.json
"""

import dataclasses
from pathlib import Path

import keras
import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from benchmarks import tabular
from benchmarks.machine import machine
from keras_ebm.estimators import EnergyClassifier
from keras_ebm.trainers.program import folders, json_files, options, running

SETS = ("segment", "spambase", "waveform5000")
WAYS = ("complete", "known to be missing", "mean filled in")


def with_gaps(x: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A copy of rows in which each cell is missing with a probability."""
    gaps = np.random.default_rng(seed).random(x.shape) < share
    return np.where(gaps, np.float32("nan"), x)


def accuracies(rows: tabular.Rows, share: float, seed: int, steps: int) -> dict:
    """Test accuracy in each of the `WAYS`."""
    gaps = dataclasses.replace(
        rows,
        dataset=dataclasses.replace(
            rows.dataset, x=with_gaps(rows.dataset.x, share, seed)
        ),
    )
    classifier = EnergyClassifier(
        feature_transform="quantile",
        steps=steps,
        random_state=seed,
    )
    filled = make_pipeline(SimpleImputer(), classifier)
    found = {}
    ways = ((rows, classifier), (gaps, classifier), (gaps, filled))
    for way, (source, estimator) in zip(WAYS, ways, strict=True):
        keras.backend.clear_session()
        estimator.fit(source.of("train")[0], source.few_labels())
        found[way] = float(estimator.score(*source.of("test")))
    return found


@dataclasses.dataclass(frozen=True)
class MissingSettings:
    """Flags of the benchmark."""

    data_dir: str = options.setting("", "Folder of NAME.csv.gz.")
    output: str = options.setting("", "File to write.")
    seeds: int = options.setting(3, "Seeds of each run.")
    share: float = options.setting(0.3, "Share of cells to take out.")
    steps: int = options.setting(600, "Steps of a training.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(MissingSettings)
    output = folders.require_file("output")
    folders.make_parent(output)
    runs = {
        name: [
            accuracies(
                tabular.load(Path(settings.data_dir) / f"{name}.csv.gz", seed),
                settings.share,
                seed,
                settings.steps,
            )
            for seed in range(settings.seeds)
        ]
        for name in SETS
    }
    json_files.write_json(
        output, {"machine": machine(), "share": settings.share, "runs": runs}
    )
    print("| rows | " + " | ".join(SETS) + " |\n|---|" + "---|" * len(SETS))
    for way in WAYS:
        values = [[100 * run[way] for run in runs[name]] for name in SETS]
        cells = [f"{np.mean(row):.1f} ± {np.std(row):.1f}" for row in values]
        print(f"| {way} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    options.define_flags(MissingSettings)
    running.run_program(main)
