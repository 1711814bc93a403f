r"""Searches for the settings of `trainers.vera` and `trainers.langevin`.

Run from the top of the checkout:

    python -m trainers.tune --dataset=digits --tuner=random --trials=20 \
        --workdir=runs/tuned
    python -m trainers.tune --dataset=csv:table.csv --labels_per_class=10 \
        --method=vera+vat --trials=60 --workdir=runs/table
    python -m trainers.tune --dataset=toy:rings --method=chains --workdir=runs/rings

The space is that of the data's family in `trainers/search/spaces.py`; a flag of the
model that is passed keeps its value and leaves the space (`--method=chains --help`
lists those of chains). What is maximised is the accuracy on validation rows, of equals
the likelihood of their labels; of points in the plane without labels it is their
likelihood. The test rows are looked at once, when the best trial's `metrics.json` is
written.

`--workdir` becomes the run folder of the best trial, with `trials.csv` and
`trials.png` beside its model: the model whose validation is reported, as training
again on the same rows would give it again, and there are no others, for the
calibration rows belong to thresholds. The same command goes on with a search that was
interrupted, within a trial too.

Several processes share a search by keras-tuner's variables: the same command, with the
same `--workdir` on a disk that all of them see, and

    KERASTUNER_ORACLE_IP=127.0.0.1 KERASTUNER_ORACLE_PORT=8000 \
        KERASTUNER_TUNER_ID=chief    (one; of the others worker0, worker1, ...)

The chief hands out trials, trains none, and ends when all workers have. It waits for
a worker that dies: start that one again under its name, and it takes its trial up.
If the chief dies, end the workers and start all of them again.

With one process, `random` and `hyperband` ask for the same trials for a seed, however
often they are interrupted; `bayesian` draws other points once it goes on. Workers
train the trials of `random` in any order, the same ones; of the others, what is asked
next depends on which worker ends first. A trial is as deterministic as `trainers.vera`.
"""

import dataclasses
import importlib
import math
import os
import sys
from pathlib import Path

from absl import app

from keras_ebm import data, plots
from keras_ebm.arguments import listed, why_not_imported
from trainers import presets
from trainers.program import (
    errors,
    flag_errors,
    folders,
    json_files,
    keras_files,
    options,
    running,
    stopping,
)
from trainers.program.options import FLAGS, Checked, setting
from trainers.report.measures import measure
from trainers.run import defaults, jobs
from trainers.search import spaces, table
from trainers.settings import clashes
from trainers.settings.chains import ChainSettings, build_langevin
from trainers.settings.data import DataSettings, load
from trainers.settings.networks import build_preprocessor, is_convolutional
from trainers.settings.unlabelled import CHAIN_METHODS, VERA_METHODS
from trainers.settings.vera import ModelSettings, build_model

#: What a search is; another one must not go on in its folder.
SEARCH_FILE = "search.json"
TABLE_FILE = "trials.csv"
PICTURE_FILE = "trials.png"
#: Methods that ask nothing of labels.
_UNLABELLED = ("vera", "chains")
_VARIABLES = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")


@dataclasses.dataclass(frozen=True)
class TuneSettings(Checked):
    """How to search, and how long a trial is."""

    CHOICES = {
        "method": (*VERA_METHODS, *CHAIN_METHODS),
        "tuner": ("hyperband", "bayesian", "random"),
        "augment": jobs.FitSettings.CHOICES["augment"],
    }

    preset: str = setting(
        "",
        "A recipe for all flags that are not searched; default tabular for a csv, "
        "vera_2d or pcd for toy data.",
    )
    method: str = setting("vera", "As of trainers.vera and trainers.langevin.")
    workdir: str = setting("", "Folder of the search; created if absent.")
    tuner: str = setting(
        "hyperband",
        "How trials are chosen; hyperband gives the better ones more steps.",
    )
    trials: int = setting(30, "Trials in all, promotions of hyperband included.", low=1)
    steps: int = setting(600, "Steps of a trial, at most.", low=1)
    epoch_steps: int = setting(
        100, "Steps between validations and backups; what hyperband counts in.", low=1
    )
    batch_size: int = setting(64, "Rows a step.", low=1)
    augment: str = setting("none", "Moves training images, or mirrors half too.")
    augment_density: bool = setting(
        True, "Whether the energy sees them so too, or only the cross-entropy does."
    )
    energy_limit: float = setting(
        1e6, "Nats from 0 at which a mean energy counts as diverged.", above=0
    )
    picture: bool = setting(True, "Draw trials.png: parameters against the objective.")
    verbose: int = setting(1, "0: silent, 1: a line a trial.", low=0, high=2)


@dataclasses.dataclass(frozen=True)
class Program:
    """What one of the two trainers has of its own."""

    model_class: type
    presets: dict
    methods: dict
    build: object
    density_preset: str


VERA = Program(
    ModelSettings, presets.VERA_PRESETS, VERA_METHODS, build_model, "vera_2d"
)
CHAINS = Program(
    ChainSettings, presets.LANGEVIN_PRESETS, CHAIN_METHODS, build_langevin, "pcd"
)


def main(argv: list[str]) -> None:
    del argv
    program = program_of(FLAGS.method)
    with errors.usage_errors():
        role = role_of(os.environ)
        fixed = apply_flags(program)
    options.require("dataset")
    check_clashes(program, fixed)
    folders.require_folder("workdir")
    folders.check_workdir(FLAGS.dataset)
    with errors.usage_errors():
        trials = import_trials()
        if FLAGS.picture:
            plots.pyplot()
        task = make_task(program, fixed, trials.Task)
        tuner = open_search(task, role, trials)
    search(tuner, role)
    if role != "worker":
        finish(tuner)


def check_clashes(program: Program, fixed: set) -> None:
    """Refuses flags that nothing in the search gives an effect; see `clashes`."""
    searched = {
        parameter.flag for space in spaces.FAMILIES.values() for parameter in space
    }
    own = clashes.CHAINS if program is CHAINS else clashes.VERA
    clashes.check([*clashes.DATA, *clashes.TRAINING, *own], searched - fixed)


def program_of(method: str) -> Program:
    """The trainer that a method is of."""
    return CHAINS if method in CHAIN_METHODS else VERA


def role_of(environment) -> str:
    """`"alone"`, or `"chief"` or `"worker"` by keras-tuner's variables.

    Raises:
        ValueError: if some of the variables are missing.
    """
    given = [name for name in _VARIABLES if environment.get(name)]
    if not set(given) & set(_VARIABLES[:2]):
        return "alone"
    if len(given) < len(_VARIABLES):
        raise ValueError(
            f"A shared search needs {', '.join(_VARIABLES)}. Received: "
            f"{' and '.join(given)} alone."
        )
    # As keras-tuner tells one from the other.
    return "chief" if "chief" in environment["KERASTUNER_TUNER_ID"] else "worker"


def import_trials():
    """Imports `trainers.search.trials`, which needs keras-tuner.

    Raises:
        ImportError: with the pip command, if keras-tuner is not installed.
    """
    try:
        return importlib.import_module("trainers.search.trials")
    except ImportError as error:
        if "keras_tuner" not in str(error):
            raise
        raise ImportError(
            "trainers.tune needs keras-tuner, which "
            f"{why_not_imported('keras_tuner', error)}. "
            'Run `pip install "keras_ebm[tune]"`.'
        ) from error


def apply_flags(program: Program) -> set:
    """Gives flags the values of the preset and the method.

    Returns:
        Names of the flags that were passed; `auto` leaves a choice to the search.

    Raises:
        ValueError: if there is no such preset.
    """
    fixed = {
        name for name in FLAGS if FLAGS[name].present and FLAGS[name].value != "auto"
    }
    if not FLAGS.preset:
        kind = data.parse_spec(FLAGS.dataset).source
        defaults = {"csv": "tabular", "toy": program.density_preset}
        FLAGS.preset = defaults.get(kind, "")

    if FLAGS.preset and FLAGS.preset not in program.presets:
        raise ValueError(
            f"`preset` of method {FLAGS.method} must be one of "
            f"{listed(program.presets)}. Received: preset={FLAGS.preset}."
        )

    def known(recipes):
        """Without the flags that only the trainers have, such as their epochs."""
        return {
            name: {key: value for key, value in recipe.items() if key in FLAGS}
            for name, recipe in recipes.items()
        }

    options.apply_preset(known(program.presets), known(program.methods))
    return fixed


def make_task(program: Program, fixed: set, task_class):
    """Loads the data, chooses the space, and checks all that can be before a trial.

    Raises:
        ValueError: if there is nothing to search, or nothing to search by.
    """
    if FLAGS.steps > 0:
        defaults.adapt_parts(FLAGS.steps, 3 if FLAGS.tuner == "hyperband" else 1)
    check_lengths(options.from_flags(TuneSettings))
    run = load(options.from_flags(DataSettings))
    defaults.adapt_batch(run.rows("train")[1])
    defaults.adapt_buffer()
    tune = options.from_flags(TuneSettings)
    settings = options.from_flags(program.model_class)
    check_objective(run, tune.method, settings)
    space = find_space(run, tune, settings, fixed)
    fit = fit_settings(tune, spaces.family_of(run.dataset))
    return task_class(
        run, settings, fit, program.build, space, tune.tuner, tune.trials, tune.verbose
    )


def find_space(run, tune: TuneSettings, settings, fixed: set) -> tuple:
    """The parameters to search, see `spaces.space_of`.

    Raises:
        ValueError: if every flag of the space was passed.
    """
    family = spaces.family_of(run.dataset)
    train_x, _ = run.rows("train")
    flags = {**dataclasses.asdict(settings), **dataclasses.asdict(tune)}
    if settings.network == "auto":
        convolutional = is_convolutional(run.dataset, settings)
        flags["network"] = "convolutional" if convolutional else "mlp"
    _, shape, _ = build_preprocessor(run.dataset, train_x, settings)
    limits = {
        "batch_size": min(len(train_x), settings.buffer_size),
        "features": math.prod(shape),
    }
    space = spaces.space_of(family, tune.method, flags, limits, fixed)
    if not space:
        known = {parameter.flag for parameter in spaces.FAMILIES[family]}
        raise ValueError(
            "There is nothing to search, as every flag of the space was passed. "
            f"Received: {listed(sorted(known & fixed))}; leave one out."
        )
    return space


def fit_settings(tune: TuneSettings, family: str) -> jobs.FitSettings:
    """The trainers' settings that a trial starts from."""
    names = {field.name for field in dataclasses.fields(jobs.FitSettings)}
    values = {k: v for k, v in dataclasses.asdict(tune).items() if k in names}
    values |= {"tensorboard": False, "picture": False, "verbose": 0}
    return jobs.FitSettings(**values, keep_best=family != "density")


def check_lengths(tune: TuneSettings) -> None:
    """Raises ValueError if trials and steps make no search."""
    for name in ("trials", "steps", "epoch_steps"):
        if getattr(tune, name) < 1:
            raise ValueError(
                f"`{name}` must be at least 1. Received: {name}={getattr(tune, name)}."
            )
    if tune.steps % tune.epoch_steps:
        raise ValueError(
            "`epoch_steps` must divide `steps`. Received: "
            f"steps={tune.steps}, epoch_steps={tune.epoch_steps}."
        )
    if tune.tuner == "hyperband" and tune.steps < 3 * tune.epoch_steps:
        raise ValueError(
            "`tuner` hyperband needs `steps` of three `epoch_steps` at least, to stop "
            f"trials early. Received: steps={tune.steps}, epoch_steps="
            f"{tune.epoch_steps}; lower epoch_steps, or use tuner=random."
        )


def check_objective(run, method: str, settings) -> None:
    """Raises ValueError where validation rows cannot tell a good trial from a bad one.

    An energy that is trained against samples is no likelihood until it is normalised,
    and a low energy of validation rows alone says nothing: it costs nothing to lower
    all energies. In the plane `log Z` is summed on a grid; elsewhere it cannot be had
    well enough to choose by.
    """
    if run.dataset.num_classes > 1:
        if not jobs.enough_labels(run):
            labels = int((run.rows("validation")[1] >= 0).sum())
            raise ValueError(
                f"`dataset` needs {jobs.ENOUGH_LABELS} labelled validation rows at "
                f"least, whose accuracy chooses. Received: {run.dataset.name}, which "
                f"has {labels}."
            )
        return
    if not run.is_plane:
        raise ValueError(
            "`dataset` needs labels, as an energy that is not normalised has no "
            f"likelihood of validation rows to choose by. Received: {run.dataset.name} "
            f"of shape {run.dataset.input_shape} without; only in the plane can it be "
            "normalised."
        )
    if method not in _UNLABELLED:
        raise ValueError(
            f"`method` {method} needs labels. Received: {run.dataset.name}, which has "
            "none; use method=vera or method=chains."
        )
    if settings.objective not in ("auto", "contrastive"):
        raise ValueError(
            "`objective` must be contrastive where there are no labels: the likelihood "
            f"chooses. Received: objective={settings.objective}."
        )


def open_search(task, role: str, trials):
    """Opens the search in the folder of a task, or a new one.

    Returns:
        `trials.Tuner`. A worker waits for its chief here.

    Raises:
        ValueError: if the folder holds another search, or anything else.
    """
    identity = identity_of(task)
    path = Path(task.fit.workdir) / SEARCH_FILE
    if role != "worker":
        if path.is_file():
            check_same(identity, path)
        elif (path.parent / folders.MODEL_FILE).exists():
            raise ValueError(
                "`workdir` must be a folder of its own. Received: "
                f"{path.parent}, which is the folder of a run."
            )
    tuner = trials.open_tuner(task, role == "worker")
    if role == "worker":
        tuner.oracle.get_space()
        check_same(identity, path)
    elif not path.is_file():
        json_files.write_json(path, identity)
    return tuner


def identity_of(task) -> dict:
    """What may not change while a search goes on, by name; `trials` may."""
    data = dataclasses.asdict(task.run.settings)
    # Where the rows lie does not matter, which ones they are does.
    rows = {k: v for k, v in data.items() if k not in ("dataset", "data_dir")}
    fit = {k: v for k, v in dataclasses.asdict(task.fit).items() if k != "workdir"}
    space = {p.name: dataclasses.asdict(p) for p in task.space}
    return {
        "dataset": task.run.splits.fingerprint,
        **rows,
        **dataclasses.asdict(task.model_settings),
        **fit,
        "tuner": task.tuner,
        "space": space,
    }


def check_same(identity: dict, path: Path) -> None:
    """Raises ValueError if the search that `path` is of has another identity."""
    if not path.is_file():
        raise ValueError(
            "`workdir` must be on a disk that chief and workers share. Received: "
            f"{path.parent}, where the chief has written nothing."
        )
    remedy = "restore it, or use another folder for a new search"
    before = json_files.read_shaped(path, {"dataset": str, "space": dict}, remedy)
    # A list is what JSON makes of a tuple.
    now = {key: _plain(value) for key, value in identity.items()}
    changed = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    if changed:
        raise ValueError(
            f"`workdir` holds another search. Received: {path.parent} with another "
            f"{listed(changed)}; use the flags it began with, or another folder."
        )


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def search(tuner, role: str) -> None:
    """Runs trials until there are enough, or hands them out.

    A chief or worker that cannot reach the others is a usage error.
    """
    if role == "chief":
        address = ":".join(os.environ[name] for name in _VARIABLES[:2])
        print(
            f"chief: {tuner.task.trials} trials at {address}; a worker that dies is "
            "waited for: start it again with its KERASTUNER_TUNER_ID",
            flush=True,
        )
    try:
        tuner.search()
    except KeyboardInterrupt as error:
        stopping.leave(error, "the same command goes on")
    except Exception as error:
        if isinstance(error.__cause__, OSError):
            # Of a trial, which keras-tuner ends the search for, as of a full disk.
            raise error.__cause__ from None
        # The chief's port is taken, or a worker's chief has gone.
        if role == "chief" and "bind" in str(error):
            raise app.UsageError(f"{address} is taken: {error}.") from error
        if type(error).__module__.partition(".")[0] != "grpc":
            raise
        sys.stderr.write(f"tune: error: the chief does not answer ({error.code()})\n")
        sys.exit(1)


def finish(tuner) -> None:
    """Makes the folder that of the best trial, measures it, and reports all.

    Exits with status 1 if no trial was good.
    """
    task, workdir = tuner.task, Path(tuner.task.fit.workdir)
    rows = table.table_of(tuner)
    print(table.markdown(rows, task.objective))
    table.write_table(workdir / TABLE_FILE, rows)
    failed = sum("completed" != row["status"] for row in rows)
    if failed == len(rows):
        sys.stderr.write(f"tune: error: all {failed} trials failed; see {TABLE_FILE}\n")
        sys.exit(1)
    if FLAGS.picture:
        table.draw(workdir / PICTURE_FILE, task, rows)
    best = table.by_merit(rows, task.objective)[0]["trial"]
    tuner.keep(best)
    model = keras_files.load_model(workdir / folders.MODEL_FILE)
    metrics = measure(model, task.run)
    json_files.write_json(workdir / "metrics.json", metrics)
    print(f"best: trial {best}")
    json_files.print_metrics(metrics)


def method_in(arguments: list[str]) -> str:
    """`--method` among a program's arguments, as it decides which flags there are."""
    found = ""
    try:
        arguments = FLAGS.read_flags_from_files(arguments, force_gnu=False)
    except flag_errors.UNREADABLE:
        return found  # As it is refused when all flags are parsed.
    for index, argument in enumerate(arguments):
        name, sign, value = argument.lstrip("-").partition("=")
        if name == "method" and argument.startswith("-"):
            found = value if sign else "".join(arguments[index + 1 : index + 2])
    return found


if __name__ == "__main__":
    program = program_of(method_in(sys.argv[1:]))
    for settings_class in (DataSettings, program.model_class, TuneSettings):
        options.define_flags(settings_class)
    running.run_program(main)
