r"""Accuracy, calibration and foreign-input scores on MNIST, 10,000 training images.

The small convolutional network, 10 epochs, batch 64, Adam at 2e-3 with a
cosine to 0, for every method; three seeds. Tasks: all ten classes (foreign:
rotated MNIST, grey CIFAR-10, uniform noise), classes 8 and 9 held out, and
classes 3 and 5 held out. One file a run: what is there already is not
repeated, and several processes can share the work (`--tasks`). Run from the
top of the checkout:

    python -m benchmarks.foreign_scores --data_dir=DIR \
        --output=benchmarks/results/foreign_scores

and print the tables with `--table`.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.saved import read_saved, spread
from keras_ebm.trainers.evaluate import EvaluateSettings, evaluate
from keras_ebm.trainers.program import folders, json_files, options, running
from keras_ebm.trainers.settings import data
from keras_ebm.trainers.settings.vera import ModelSettings
from keras_ebm.trainers.vera import FitSettings, train

TASKS = {
    "ten classes": ((), ("rotate:90", "tfds:cifar10", "noise:uniform")),
    "8 and 9 held out": (("8", "9"), ("holdout",)),
    "3 and 5 held out": (("3", "5"), ("holdout",)),
}
METHODS = {
    "plain": {"negatives": "none"},
    "vera + batch": {"negatives": "both"},
    "vera": {"negatives": "generator"},
    "batch": {"negatives": "batch"},
}
#: The check that no setting was chosen on: the default and what it is held to.
METHODS_OF = {"3 and 5 held out": ("plain", "vera + batch")}


def run_one(task: str, method: str, seed: int, settings) -> dict:
    """Trains and evaluates one network; returns its measures."""
    classes, foreign = TASKS[task]
    run = data.load(
        data.DataSettings(
            dataset="tfds:mnist",
            data_dir=settings.data_dir,
            holdout_classes=classes,
            train_size=settings.train_size,
            seed=seed,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        fit = FitSettings(
            workdir=folder,
            epochs=settings.epochs,
            fit_temperature=False,
            tensorboard=False,
            verbose=0,
        )
        start = time.monotonic()
        train(run, ModelSettings(**METHODS[method]), fit)
        seconds = time.monotonic() - start
        results = evaluate(
            EvaluateSettings(
                model=str(Path(folder) / folders.MODEL_FILE),
                dataset="tfds:mnist",
                data_dir=settings.data_dir,
                resamples=2,
            ),
            foreign,
        )
    rows = {
        spec: {name: [v["auroc"], v["fpr95"]] for name, v in scores.items()}
        for spec, scores in results.pop("ood").items()
    }
    return {**results, "train_seconds": seconds, "ood": rows}


def saved_runs(folder: Path, task: str, method: str, seeds: int) -> list[dict]:
    """Measures of the runs that are saved, in the order of their seeds."""
    paths = [file_of(folder, task, method, seed) for seed in range(seeds)]
    return read_saved(paths)


def tables(folder: Path, seeds: int, scores=None) -> str:
    """Markdown tables: mean ± standard deviation over seeds, in %.

    Args:
        folder: where the runs are saved.
        seeds: int, seeds 0, 1, ... to read.
        scores: names of the scores to show; default all.
    """
    lines = ["Accuracy and ECE in %, NLL in nats.\n"]
    lines += ["| task | method | seeds | accuracy | ECE | NLL |"]
    lines += ["|---|---|---|---|---|---|"]
    cells = {}
    for task in TASKS:
        for method in METHODS:
            runs = saved_runs(folder, task, method, seeds)
            if runs:
                lines.append(_quality_row(task, method, runs))
                for foreign in runs[0]["ood"]:
                    cells.setdefault((task, foreign), {})[method] = runs
    for (task, foreign), by_method in cells.items():
        shown = scores or list(next(iter(by_method.values()))[0]["ood"][foreign])
        lines.append(f"\n{task}, against {foreign}: AUROC / FPR95\n")
        lines.append("| score | " + " | ".join(by_method) + " |")
        lines.append("|---|" + "---|" * len(by_method))
        for score in shown:
            row = [_auroc_and_fpr(r, foreign, score) for r in by_method.values()]
            lines.append(f"| {score} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _quality_row(task, method, runs):
    values = {name: [run[name] for run in runs] for name in ("accuracy", "ece", "nll")}
    return (
        f"| {task} | {method} | {len(runs)} "
        f"| {spread(100 * np.array(values['accuracy']), 2)} "
        f"| {spread(100 * np.array(values['ece']), 2)} "
        f"| {spread(values['nll'], 4)} |"
    )


def _auroc_and_fpr(runs, spec, score):
    values = 100 * np.array([run["ood"][spec][score] for run in runs])
    return f"{spread(values[:, 0])} / {spread(values[:, 1])}"


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings:
    """Flags of the benchmark."""

    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    output: str = options.setting("", "Folder to write to and to continue.")
    seeds: int = options.setting(3, "Seeds 0, 1, ... of each run.")
    train_size: int = options.setting(10_000, "Training images.")
    epochs: int = options.setting(10, "Passes over them.")
    tasks: str = options.setting("", "Tasks to run, separated by commas; default all.")
    scores: str = options.setting("", "Scores of --table, likewise.")
    table: bool = options.setting(False, "Only print the tables of --output.")


def file_of(folder: Path, task: str, method: str, seed: int) -> Path:
    """Where one run's measures are saved."""
    name = f"{task} - {method} - {seed}".replace(" ", "_").replace(",", "")
    return folder / f"{name}.json"


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BenchmarkSettings)
    folder = Path(options.require("output"))
    if settings.table:
        scores = settings.scores.split(",") if settings.scores else None
        print(tables(folder, settings.seeds, scores))
        return
    folder.mkdir(parents=True, exist_ok=True)
    tasks = settings.tasks.split(",") if settings.tasks else list(TASKS)
    for seed in range(settings.seeds):
        for task in tasks:
            for method in METHODS_OF.get(task, METHODS):
                path = file_of(folder, task, method, seed)
                if not path.is_file():
                    results = run_one(task, method, seed, settings)
                    json_files.write_json(path, {"machine": machine(), **results})
                    print(path.name, results["accuracy"], flush=True)


if __name__ == "__main__":
    options.define_flags(BenchmarkSettings)
    running.run_program(main)
