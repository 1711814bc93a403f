r"""Energies against a panel of foreign images, some to choose on and some sealed.

MNIST, 10,000 training images, the small convolutional network, ten epochs, the settings
of `trainers.vera`. The foreign sets are those of `benchmarks.foreign_sets`, photographs
of CIFAR, and pairs of classes that are held out of training. Settings may be chosen by
what the open half says:

    python -m benchmarks.panel --data_dir=DIR --models=DIR \
        --output=benchmarks/results/panel

The sealed half is measured once, of the same trained networks, when all is chosen:

    python -m benchmarks.panel --sealed --data_dir=DIR --models=DIR \
        --output=benchmarks/results/panel

What is in the files already is not repeated; `--table` prints the tables. Against pairs
of classes networks are trained without them; the pairs of the sealed half are trained
by the second command alone.
"""

import dataclasses
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import foreign_sets
from benchmarks.machine import machine
from benchmarks.saved import read_saved
from keras_ebm import data, metrics, ood
from trainers.program import folders, json_files, keras_files, options, running
from trainers.settings.data import DataSettings, RunData, load
from trainers.settings.vera import ModelSettings
from trainers.vera import FitSettings, train

DATASET = "tfds:mnist"
#: Foreign rows of a set at most.
ROWS = 5000


class Task(NamedTuple):
    """What networks are trained for.

    Args:
        holdout: names of the classes that are held out.
        sealed: bool, whether it belongs to the sealed half alone.
    """

    holdout: tuple = ()
    sealed: bool = False


TASKS = {
    "ten classes": Task(),
    "8 and 9": Task(("8", "9")),
    "3 and 5": Task(("3", "5")),
    "4 and 7": Task(("4", "7"), sealed=True),
    "0 and 6": Task(("0", "6"), sealed=True),
}
#: Flags of `trainers.vera` that make a method.
METHODS = {
    "plain": {"negatives": "none"},
    "default": {},
    "cut and blend": {"negatives": "batch"},
    "generator": {"negatives": "generator"},
}
#: What is trained for each pair of classes.
OF_PAIRS = ("plain", "default", "cut and blend")
SCORES = (
    "energy",
    "max_softmax",
    "generalized_entropy",
    "knn",
    "class_gaussian",
    "vim",
    "react",
    "energy+knn",
    "energy+class_gaussian",
)
CHOSEN = "chosen"
#: The scores that a table shows.
SHOWN = ("energy", "max_softmax", "knn", "class_gaussian", CHOSEN)


@dataclasses.dataclass(frozen=True)
class PanelSettings:
    """Flags of the benchmark."""

    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    output: str = options.setting("", "Folder to write to and to continue.")
    models: str = options.setting("", "Folder that the trained networks are kept in.")
    sealed: bool = options.setting(False, "Measure the sealed half, once.")
    seeds: int = options.setting(3, "Seeds of each run.")
    first_seed: int = options.setting(0, "The first of them.")
    train_size: int = options.setting(10_000, "Training images.")
    epochs: int = options.setting(10, "Passes over them.")
    only: str = options.setting("", "Methods, separated by commas; default all.")
    table: bool = options.setting(False, "Only print the tables of --output.")


def load_run(task: str, seed: int, settings) -> RunData:
    """The split images of a task."""
    return load(
        DataSettings(
            dataset=DATASET,
            data_dir=settings.data_dir,
            holdout_classes=TASKS[task].holdout,
            train_size=settings.train_size,
            seed=seed,
        )
    )


def trained(run: RunData, task: str, method: str, seed: int, settings):
    """`(model, seconds of its training)`; read from its file where there is one."""
    name = name_of(task, method, seed)
    folder = Path(settings.models) / name
    times = folder / "seconds.json"
    if not times.is_file():
        fit = FitSettings(
            workdir=str(folder), epochs=settings.epochs, tensorboard=False, verbose=0
        )
        start = time.process_time()
        train(run, ModelSettings(**METHODS[method]), fit)
        json_files.write_json(times, {"seconds": time.process_time() - start})
    model = keras_files.load_model(folder / folders.MODEL_FILE)
    return model, json_files.read_json(times)["seconds"]


def foreign_images(run: RunData, task: str, sealed: bool, settings) -> dict:
    """Foreign sets of a half, by name."""
    if TASKS[task].holdout:
        return {"held out": run.rows("holdout")[0][:ROWS]}
    x, y = run.rows("test")
    x, y = x[:ROWS], y[:ROWS]
    makers = foreign_sets.SEALED if sealed else foreign_sets.OPEN
    # A set stays the same whatever stands beside it.
    made = {
        name: make(x, np.random.default_rng([7, place]))
        for place, (name, make) in enumerate(makers.items())
    }
    known = dataclasses.replace(run.dataset, x=x, y=y, num_test=0)
    other = "tfds:cifar100" if sealed else "tfds:cifar10"
    made[other] = data.foreign(other, known, data_dir=settings.data_dir)[:ROWS]
    return made


def measure(model, run: RunData, sets: dict) -> dict:
    """Accuracy, ECE in shares, and AUROC by score and foreign set."""
    parts = {
        name: ood.network_outputs(model, *run.rows(name), requires=("features",))
        for name in ("train", "validation", "test")
    }
    others = {
        name: ood.network_outputs(model, x, requires=("features",))
        for name, x in sets.items()
    }
    probabilities = np.asarray(model.probabilities(run.rows("test")[0]))
    labels = parts["test"]["labels"]
    found = {}
    for name in SCORES:
        score = ood.make_score(name)
        if score.fitted_names:
            score.fit(parts["train"], parts["validation"])
        known = score.predict(parts["test"])
        found[name] = {
            place: float(metrics.auroc(known, score.predict(outputs)))
            for place, outputs in others.items()
        }
    choice = ood.choose_score(
        model, run.rows("validation"), train=run.rows("train"), scores=SCORES
    )
    found[CHOSEN] = found[choice.score]
    return {
        "accuracy": float(np.mean(probabilities.argmax(-1) == labels)),
        "ece": float(metrics.expected_calibration_error(probabilities, labels)),
        "chosen": choice.score,
        "auroc": found,
    }


def name_of(task: str, method: str, seed: int) -> str:
    """The name of a run in files."""
    return f"{task} - {method} - {seed}".replace(" ", "_")


def file_of(folder: Path, task: str, method: str, seed: int, sealed: bool) -> Path:
    """Where the measures of one half are saved."""
    return (
        folder
        / ("sealed" if sealed else "open")
        / f"{name_of(task, method, seed)}.json"
    )


def tables(folder: Path, sealed: bool, settings) -> str:
    """Markdown: accuracy and ECE, and AUROC by set and score, in %."""
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    runs = {
        (task, method): read_saved(
            file_of(folder, task, method, seed, sealed) for seed in seeds
        )
        for task in TASKS
        for method in METHODS
    }
    runs = {key: found for key, found in runs.items() if found}
    lines = ["| task | method | seeds | accuracy, % | ECE, % | CPU seconds |"]
    lines.append("|---|---|---|---|---|---|")
    for (task, method), found in runs.items():
        cells = [
            100 * np.array([run[name] for run in found]) for name in ("accuracy", "ece")
        ]
        seconds = [run["train_seconds"] for run in found]
        lines.append(
            f"| {task} | {method} | {len(found)} | {_spread(cells[0], 2)} "
            f"| {_spread(cells[1], 2)} | {np.mean(seconds):.0f} |"
        )
    names = [f"{method}: {score}" for method in METHODS for score in SHOWN]
    sets = {}
    for (task, method), found in runs.items():
        for place in found[0]["auroc"]["energy"]:
            row = sets.setdefault(f"{task}, {place}", {})
            for score in SHOWN:
                values = [100 * run["auroc"][score][place] for run in found]
                row[f"{method}: {score}"] = _spread(values)
    names = [name for name in names if any(name in row for row in sets.values())]
    lines += ["", "| foreign set | " + " | ".join(names) + " |"]
    lines.append("|---|" + "---|" * len(names))
    for place, row in sets.items():
        cells = [row.get(name, "") for name in names]
        lines.append(f"| {place} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values, digits: int = 1) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(PanelSettings)
    folder = Path(options.require("output"))
    if settings.table:
        print(tables(folder, settings.sealed, settings))
        return
    options.require("models")
    only = settings.only.split(",") if settings.only else list(METHODS)
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        for task, wanted in TASKS.items():
            if wanted.sealed and not settings.sealed:
                continue
            for method in OF_PAIRS if wanted.holdout else METHODS:
                path = file_of(folder, task, method, seed, settings.sealed)
                if path.is_file() or method not in only:
                    continue
                if settings.sealed and wanted.holdout and not wanted.sealed:
                    continue
                run = load_run(task, seed, settings)
                model, seconds = trained(run, task, method, seed, settings)
                sets = foreign_images(run, task, settings.sealed, settings)
                results = measure(model, run, sets)
                path.parent.mkdir(parents=True, exist_ok=True)
                json_files.write_json(
                    path, {"machine": machine(), "train_seconds": seconds, **results}
                )
                print(path.name, results["accuracy"], results["chosen"], flush=True)


if __name__ == "__main__":
    options.define_flags(PanelSettings)
    running.run_program(main)
