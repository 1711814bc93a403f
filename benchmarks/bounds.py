r"""How far apart annealing leaves the bounds of a likelihood, and what they cost.

Normalised networks, whose likelihood is known, of 8x8 and of 28x28 pixels stand beside
energies of images of the same sizes that persistent chains trained. Run from the top of
the checkout; it takes about ten minutes:

    python -m benchmarks.bounds --data_dir=DIR --output=benchmarks/results/bounds.json

What is in the file already is not repeated.
"""

import dataclasses
import os
import tempfile
from pathlib import Path

from benchmarks.machine import machine
from keras_ebm.trainers import bounds, langevin, likelihood
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.program.options import setting
from keras_ebm.trainers.run import density_fitting
from keras_ebm.trainers.settings.chains import ChainSettings
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.density import DensitySettings

#: Temperatures of each direction.
STEPS = (100, 1_000)
CHAINS = 32
#: Training rows; 0: all.
TRAIN = {"digits": 0, "tfds:mnist": 10_000}
ROWS = {"digits": 361, "tfds:mnist": 1_000}


@dataclasses.dataclass(frozen=True)
class BoundsBenchmark(options.Checked):
    """What is measured."""

    data_dir: str = setting("", "Folder of prepared tensorflow-datasets, with MNIST.")
    datasets: tuple = setting(tuple(ROWS), "Of them those to measure.")
    output: str = setting("benchmarks/results/bounds.json", "JSON file to write.")


def _rows_of(dataset: str, data_dir: str):
    size = TRAIN[dataset]
    return load(DataSettings(dataset=dataset, data_dir=data_dir, train_size=size))


def nice(dataset: str, data_dir: str, workdir: Path) -> str:
    """A NICE trained for a short while; the path of its model."""
    run = _rows_of(dataset, data_dir)
    settings = DensitySettings(network="nice", hidden=("256", "256"), num_couplings=4)
    fit = density_fitting.StepSettings(workdir=str(workdir), steps=1_000, verbose=0)
    likelihood.train(run, settings, fit)
    return str(workdir / "model.keras")


def chains(dataset: str, data_dir: str, workdir: Path) -> str:
    """An image energy trained by persistent chains at temperature 1."""
    run = _rows_of(dataset, data_dir)
    settings = ChainSettings(
        network="strided",
        classes="none",
        moves="langevin",
        num_steps=20,
        step_size=5e-4,
        noise_stddev=-1.0,
        data_stddev=0.1,
        learning_rate=3e-4,
    )
    fit = langevin.FitSettings(
        workdir=str(workdir), epochs=10, verbose=0, tensorboard=False, keep_best=False
    )
    langevin.train(run, settings, fit)
    return str(workdir / "model.keras")


def rows(settings: BoundsBenchmark, kind: str, dataset: str, done: list) -> list[dict]:
    """The bounds of one model, at each number of temperatures that is not done."""
    wanted = [
        steps
        for steps in STEPS
        if not any(_same(r, kind, dataset, steps) for r in done)
    ]
    if not wanted:
        return []
    make = {"nice": nice, "chains": chains}[kind]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        model = make(dataset, settings.data_dir, Path(folder) / "run")
        for steps in wanted:
            result = bounds.bounds(
                bounds.BoundSettings(
                    model=model,
                    data_dir=settings.data_dir,
                    rows=ROWS[dataset],
                    chains=CHAINS,
                    steps=steps,
                    starts="exact" if kind == "nice" else "chains",
                )
            )
            found.append({"kind": kind, "dataset": dataset, "steps": steps, **result})
    return found


def _same(row, kind, dataset, steps) -> bool:
    return (row["kind"], row["dataset"], row["steps"]) == (kind, dataset, steps)


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BoundsBenchmark)
    done = []
    if os.path.exists(settings.output):
        done = json_files.read_json(settings.output)["rows"]
    for dataset in settings.datasets:
        for kind in ("nice", "chains"):
            done += rows(settings, kind, dataset, done)
            values = {"machine": machine(), "chains": CHAINS, "rows": done}
            json_files.write_json(settings.output, values)
    for row in done:
        print(
            f"{row['kind']:7s}{row['dataset']:11s}{row['steps']:6d} steps  "
            f"log Z {row['log_z_lower']:9.1f} to {row['log_z_upper']:9.1f}  "
            f"log p {row['log_likelihood_lower']:9.1f} to "
            f"{row['log_likelihood_upper']:9.1f}  "
            f"exact {row.get('log_likelihood_exact', float('nan')):9.1f}  "
            f"{row['gradients']:,} gradients, {row['seconds']:.0f} s"
        )


if __name__ == "__main__":
    options.define_flags(BoundsBenchmark)
    running.run_program(main)
