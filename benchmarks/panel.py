r"""Energies against a panel of foreign inputs, some to choose on and some sealed.

Images: MNIST, 10,000 training images, the small convolutional network, ten epochs.
Tables: all training rows (of letter 4,000) with labels, the mlp, ten epochs. All else
is as `trainers.vera` has it. The foreign sets are those of `benchmarks.foreign_sets`,
photographs of CIFAR, and classes that are held out of training. Settings may be chosen
by what the open half says:

    python -m benchmarks.panel --data_dir=DIR --models=DIR \
        --output=benchmarks/results/panel

The sealed half is measured once, of the same trained networks, when all is chosen:

    python -m benchmarks.panel --sealed --data_dir=DIR --models=DIR \
        --output=benchmarks/results/panel

with `--kind=tables --tables=FOLDER`, a folder of `letter.csv.gz` and the like, and with
`--kind=features --backbone=BODY.keras --cache=FOLDER`: CIFAR-10, the foreign sets of
images, and heads as `trainers.adopt` has them on the features of a frozen body. What
is in the files already is not repeated; `--table` prints the tables. Against classes
that are held out networks are trained without them; those of the sealed half, and its
tables, are trained by the second command alone.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from benchmarks import foreign_sets
from benchmarks.backbone import split_settings
from benchmarks.machine import machine
from benchmarks.saved import read_saved, spread
from keras_ebm import data, metrics, ood
from keras_ebm.networks import body_features
from keras_ebm.rows import take
from keras_ebm.trainers.adopt import HEAD
from keras_ebm.trainers.program import (
    folders,
    json_files,
    keras_files,
    options,
    running,
)
from keras_ebm.trainers.run import bodies, transforms
from keras_ebm.trainers.settings.data import DataSettings, RunData, load
from keras_ebm.trainers.settings.negatives import bank_of
from keras_ebm.trainers.settings.starting import build_body
from keras_ebm.trainers.settings.vera import ModelSettings, build_model
from keras_ebm.trainers.vera import FitSettings, train

#: Foreign rows of a set and known ones at most, and training rows of letters.
ROWS, KNOWN, LETTERS = 2000, 5000, 4000
#: Foreign images of a set whose features are taken.
SEEN = 500


class Task(NamedTuple):
    """What networks are trained for.

    Args:
        dataset: of tensorflow-datasets, or the name of a table.
        methods: those that are trained for it.
        holdout: names of the classes that are held out.
        sealed: bool, whether it belongs to the sealed half alone.
    """

    dataset: str
    methods: tuple
    holdout: tuple = ()
    sealed: bool = False

    @property
    def is_open_alone(self) -> bool:
        """Whether the sealed half has nothing to ask of it."""
        return bool(self.holdout) and not self.sealed


#: Flags of `trainers.vera` that make a method.
METHODS = {
    "plain": {"negatives": "none"},
    "default": {},
    "generator": {"negatives": "generator"},
    "mixed": {"negatives": "mixed"},
    "cut and blend": {"negatives": "batch"},
    "shuffle": {"negatives": "shuffle"},
    "generator and shuffle": {"negatives": "generator+shuffle"},
    "scrambled images": {"negatives": "bank", "bank": "phase_scramble"},
}
OF_IMAGES = ("plain", "default", "generator", "mixed", "cut and blend")
OF_PAIRS = ("plain", "default", "mixed")
OF_FEATURES = ("plain", "generator", "shuffle", "scrambled images")
OF_TABLES = ("plain", "generator", "generator and shuffle", "shuffle")


def _pair(*names: str, sealed: bool = False) -> Task:
    return Task("tfds:mnist", OF_PAIRS, names, sealed)


TASKS = {
    "images": {
        "ten classes": Task("tfds:mnist", OF_IMAGES),
        "8 and 9": _pair("8", "9"),
        "3 and 5": _pair("3", "5"),
        "4 and 7": _pair("4", "7", sealed=True),
        "0 and 6": _pair("0", "6", sealed=True),
    },
    "tables": {
        "letter without A to F": Task("letter", OF_TABLES, tuple("ABCDEF")),
        "segment": Task("segment", OF_TABLES),
        "waveform5000": Task("waveform5000", OF_TABLES),
        "spambase": Task("spambase", OF_TABLES, sealed=True),
        "page_blocks": Task("page_blocks", OF_TABLES, sealed=True),
        "letter without U to Z": Task("letter", OF_TABLES, tuple("UVWXYZ"), True),
    },
    "features": {"CIFAR-10": Task("tfds:cifar10", OF_FEATURES)},
}
#: The photographs of another data set that each half of a data set has.
OTHERS = {
    "tfds:mnist": ("tfds:cifar10", "tfds:cifar100"),
    "tfds:cifar10": ("tfds:mnist", "tfds:cifar100"),
}
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
CHOSEN, BOTH = "chosen", ("energy", "class_gaussian")
#: The scores that a table shows: of the plain classifier what is free, of others the
#: energy, and of what is served the chosen score too.
SHOWN = {
    "plain": ("energy", "max_softmax", "knn", BOTH[1], "vim", "+".join(BOTH), CHOSEN),
    "default": ("energy", "+".join(BOTH), CHOSEN),
    "generator and shuffle": ("energy", "+".join(BOTH), CHOSEN),
}


@dataclasses.dataclass(frozen=True)
class PanelSettings:
    """Flags of the benchmark."""

    CHOICES = {"kind": tuple(TASKS)}

    kind: str = options.setting("images", "What the foreign inputs are of.")
    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    tables: str = options.setting("", "Folder of tables, each NAME.csv.gz.")
    backbone: str = options.setting("", "The body of features, a .keras file.")
    cache: str = options.setting("features", "Folder that keeps features.")
    output: str = options.setting("", "Folder to write to and to continue.")
    models: str = options.setting("", "Folder that the trained networks are kept in.")
    sealed: bool = options.setting(False, "Measure the sealed half, once.")
    seeds: int = options.setting(3, "Seeds of each run.")
    first_seed: int = options.setting(0, "The first of them.")
    train_size: int = options.setting(10_000, "Training images.")
    epochs: int = options.setting(10, "Passes over them.")
    only: str = options.setting("", "Methods, separated by commas; default all.")
    table: bool = options.setting(False, "Only print the tables of --output.")


def load_run(task: Task, seed: int, settings) -> RunData:
    """The split rows of a task."""
    place = {"dataset": task.dataset, "data_dir": settings.data_dir}
    size = settings.train_size
    if settings.kind == "tables":
        place = {"dataset": f"csv:{settings.tables}/{task.dataset}.csv.gz"}
        size = LETTERS if task.dataset == "letter" else 0
    if settings.kind == "features":
        size = 0
    place["train_size"] = size
    return load(DataSettings(holdout_classes=task.holdout, seed=seed, **place))


def trained(run: RunData, task: str, method: str, seed: int, settings):
    """`(model, seconds of its training)`; read from its file where there is one.

    A run of images whose features are taken is of these, with its bank.
    """
    name = name_of(task, method, seed)
    folder = Path(settings.models) / name
    times = folder / "seconds.json"
    if not times.is_file():
        fit = FitSettings(
            workdir=str(folder), epochs=settings.epochs, tensorboard=False, verbose=0
        )
        start = time.process_time()
        if settings.kind == "features":
            train_head(run, METHODS[method], fit, settings)
        else:
            train(run, ModelSettings(**METHODS[method]), fit)
        json_files.write_json(times, {"seconds": time.process_time() - start})
    model = keras_files.load_model(folder / folders.MODEL_FILE)
    return model, json_files.read_json(times)["seconds"]


def body_of(run: RunData, settings):
    """The frozen body whose features are taken."""
    return build_body(ModelSettings(backbone=settings.backbone), run.dataset)


def train_head(run: RunData, changes: dict, fit: FitSettings, settings) -> None:
    """Trains a head on the features of images, as `trainers.adopt --backbone` does."""
    values = {**HEAD, **changes, **vars(fit), "epochs": HEAD["epochs"]}
    model_settings = split_settings(ModelSettings, values)
    body, cache = body_of(run, settings), Path(settings.cache)
    bank = bank_of(run, model_settings)
    if bank is not None:
        bank = body_features(body, bank, cache=cache)
    seen = bodies.of_features(run, body, cache)
    build = functools.partial(build_model, bank=bank)
    fit = split_settings(FitSettings, values)
    transforms.prepare(seen, model_settings, fit, build).perform()


def foreign_rows(run: RunData, task: Task, sealed: bool, settings) -> dict:
    """Foreign sets of a half, by name."""
    if task.holdout:
        return {"held out": run.rows("holdout")[0][:ROWS]}
    rows = SEEN if settings.kind == "features" else ROWS
    x, y = (values[:rows] for values in run.rows("test"))
    images = settings.kind != "tables"
    makers = foreign_sets.OPEN if images else foreign_sets.OPEN_ROWS
    if sealed:
        makers = foreign_sets.SEALED if images else foreign_sets.SEALED_ROWS
    # A set stays the same whatever stands beside it.
    made = {
        name: make(x, np.random.default_rng([7, place]))
        for place, (name, make) in enumerate(makers.items())
    }
    if images:
        known = dataclasses.replace(run.dataset, x=x, y=y, num_test=0)
        other = OTHERS[task.dataset][sealed]
        made[other] = data.foreign(other, known, data_dir=settings.data_dir)[:rows]
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
    parts["test"] = take(parts["test"], slice(KNOWN))
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


def shown(method: str) -> tuple:
    """Names of the scores of a method that a table has."""
    return SHOWN.get(method, ("energy",))


def tables(folder: Path, sealed: bool, settings) -> str:
    """Markdown: accuracy and ECE, and AUROC by set and score, in %."""
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    runs = {
        (task, method): read_saved(
            file_of(folder, task, method, seed, sealed) for seed in seeds
        )
        for task in TASKS[settings.kind]
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
            f"| {task} | {method} | {len(found)} | {spread(cells[0], 2)} "
            f"| {spread(cells[1], 2)} | {np.mean(seconds):.0f} |"
        )
    names = [f"{method}: {score}" for method in METHODS for score in shown(method)]
    sets, means = {}, {}
    for (task, method), found in runs.items():
        for place in found[0]["auroc"]["energy"]:
            row = sets.setdefault(f"{task}, {place}", {})
            for score in shown(method):
                values = [100 * run["auroc"][score][place] for run in found]
                row[f"{method}: {score}"] = spread(values)
                means.setdefault(f"{method}: {score}", []).append(np.mean(values))
    names = [name for name in names if any(name in row for row in sets.values())]
    lines += ["", "| foreign set | " + " | ".join(names) + " |"]
    lines.append("|---|" + "---|" * len(names))
    for place, row in sets.items():
        cells = [row.get(name, "") for name in names]
        lines.append(f"| {place} | " + " | ".join(cells) + " |")
    # Of a method that was not trained for all tasks it would be of other sets.
    cells = [
        f"**{np.mean(means[name]):.1f}**" if len(means[name]) == len(sets) else ""
        for name in names
    ]
    lines.append("| mean | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
        for name, task in TASKS[settings.kind].items():
            if task.is_open_alone if settings.sealed else task.sealed:
                continue
            for method in (method for method in task.methods if method in only):
                path = file_of(folder, name, method, seed, settings.sealed)
                if not path.is_file():
                    run_one(path, name, method, seed, settings)


def run_one(path: Path, name: str, method: str, seed: int, settings) -> None:
    """Trains a network, or reads it, and writes what it measures to a file."""
    keras.backend.clear_session()
    task = TASKS[settings.kind][name]
    run = load_run(task, seed, settings)
    model, seconds = trained(run, name, method, seed, settings)
    sets = foreign_rows(run, task, settings.sealed, settings)
    if settings.kind == "features":
        body, cache = body_of(run, settings), Path(settings.cache)
        sets = {k: body_features(body, x, cache=cache) for k, x in sets.items()}
        run = bodies.of_features(run, body, cache)
    results = measure(model, run, sets)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine(), "train_seconds": seconds, **results}
    json_files.write_json(path, found)
    print(path.name, results["accuracy"], results["chosen"], flush=True)


if __name__ == "__main__":
    options.define_flags(PanelSettings)
    running.run_program(main)
