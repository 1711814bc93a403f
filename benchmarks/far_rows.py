r"""What is accepted far from a table's training rows, column by column.

`trainers.vera`, else at its defaults, trains for 20 passes on 1,400 rows of each table.
Then 100 test rows are moved in one numeric column, up and down, by some standard
deviations of the training rows, in each column in turn, and the share that passes a
threshold at a false-alarm rate of 5 % is counted: for the energy as the trainers and
exporters have it (features bounded, rows far outside a column's range refused), without
the refusal, without both, and for the distance to the nearest training row. One file a
run; what is there already is not repeated. From the top of the checkout, for
`NAME.csv.gz` in a folder:

    python -m benchmarks.far_rows --data_dir=DIR --output=benchmarks/results/far_rows

and `--table` prints the table.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from keras_ebm.ood import Detector
from keras_ebm.trainers import vera
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.vera import ModelSettings

SETS = (
    "letter",
    "magic_gamma",
    "page_blocks",
    "segment",
    "spambase",
    "waveform5000",
)
DISTANCES = (0.0, 2.0, 10.0, 100.0, 1e6)
TRAIN_ROWS, MOVED_ROWS, RATE = 1_400, 100, 0.05
#: By name: the score, whether features are bounded, whether far rows are refused.
KINDS = {
    "energy (as served)": ("energy", True, True),
    "energy, bounded features alone": ("energy", True, False),
    "energy, neither": ("energy", False, False),
    "nearest row": ("nearest", False, False),
}


@dataclasses.dataclass(frozen=True)
class FarRowsSettings:
    """Which runs, or the table of those that are there."""

    data_dir: str = options.setting("", "Folder of the csv files.")
    output: str = options.setting("", "Folder of the results.")
    sets: tuple = options.setting(SETS, "Names of the tables.")
    seeds: int = options.setting(1, "Seeds of each run.")
    epochs: int = options.setting(20, "Passes over the training rows.")
    table: bool = options.setting(False, "Print the table of what is there.")


def measure(path: Path, seed: int, epochs: int) -> dict:
    """Shares accepted by kind and distance, and false alarms, on one table."""
    settings = DataSettings(dataset=f"csv:{path}", seed=seed, train_size=TRAIN_ROWS)
    run = load(settings)
    with tempfile.TemporaryDirectory() as workdir:
        fit = vera.FitSettings(
            workdir=workdir, tensorboard=False, verbose=0, epochs=epochs
        )
        model, metrics = vera.train(run, ModelSettings(negatives="generator"), fit)
    found = {"accuracy": metrics["accuracy"], "accepted": {}, "false_alarms": {}}
    test = run.rows("test")[0]
    for kind, (score, bounded, guard) in KINDS.items():
        model.preprocessor.bounded = bounded
        detector = Detector.calibrate(
            model,
            run.rows("calibration")[0],
            score=score,
            target_fpr=RATE,
            train=run.rows("train"),
            validation=run.rows("validation"),
            guard=guard,
        )
        found["false_alarms"][kind] = float(np.mean(~detector.predict(test)["accept"]))
        found["accepted"][kind] = {
            f"{distance:g}": share_accepted(detector, test[:MOVED_ROWS], distance)
            for distance in DISTANCES
        }
    return found


def share_accepted(detector: Detector, rows: np.ndarray, distance: float) -> float:
    """Mean over columns and both directions of the share of moved rows that pass."""
    encoder, shares = detector.model.preprocessor, []
    for column in encoder.entry_columns[: encoder.num_numeric]:
        for side in (-1.0, 1.0):
            moved = rows.copy()
            moved[:, column] += side * distance * encoder.stddev[column]
            shares.append(np.mean(detector.predict(moved)["accept"]))
    return float(np.mean(shares))


def table(folder: Path, sets, seeds: int) -> str:
    """Markdown of shares accepted in %, by table and kind."""
    distances = [f"{distance:g}" for distance in DISTANCES]
    lines = [
        f"| table | score | false alarms | {' sd | '.join(distances)} sd |",
        f"|---|---|---|{'---|' * len(distances)}",
    ]
    for name in sets:
        runs = [
            json_files.read_json(folder / f"{name}-{seed}.json")
            for seed in range(seeds)
        ]
        for kind in KINDS:
            cells = [np.mean([r["false_alarms"][kind] for r in runs])]
            cells += [
                np.mean([r["accepted"][kind][d] for r in runs]) for d in distances
            ]
            texts = " | ".join(f"{100 * cell:.1f}" for cell in cells)
            lines.append(f"| {name} | {kind} | {texts} |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(FarRowsSettings)
    folder = Path(options.require("output"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in () if settings.table else settings.sets:
        for seed in range(settings.seeds):
            path = folder / f"{name}-{seed}.json"
            if not path.exists():
                rows = Path(settings.data_dir) / f"{name}.csv.gz"
                found = measure(rows, seed, settings.epochs)
                json_files.write_json(path, {**found, "machine": machine()})
    print(table(folder, settings.sets, settings.seeds))


if __name__ == "__main__":
    options.define_flags(FarRowsSettings)
    running.run_program(main)
