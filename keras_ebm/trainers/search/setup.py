"""A search before its first trial: its settings, its space, what it may not change."""

import dataclasses
import math
from pathlib import Path

from keras_ebm import data
from keras_ebm.arguments import listed
from keras_ebm.trainers.program import (
    folders,
    json_files,
    options,
)
from keras_ebm.trainers.program.options import FLAGS, Checked, setting
from keras_ebm.trainers.run import defaults, fitting, jobs
from keras_ebm.trainers.run.recipes import CHAINS, VERA, Recipe
from keras_ebm.trainers.search import spaces
from keras_ebm.trainers.settings import clashes
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.networks import build_preprocessor, is_convolutional

#: What a search is; another one must not go on in its folder.
SEARCH_FILE = "search.json"
#: Methods that ask nothing of labels.
_UNLABELLED = ("vera", "chains")


@dataclasses.dataclass(frozen=True)
class TuneSettings(Checked):
    """How to search, and how long a trial is."""

    CHOICES = {
        "method": (*VERA.methods, *CHAINS.methods),
        "tuner": ("hyperband", "bayesian", "random"),
        "augment": fitting.FitSettings.CHOICES["augment"],
    }

    SUBJECTS = {
        "preset": "Search",
        "steps": "Length and batches of a trial",
        "picture": "What is written",
    }

    preset: str = setting(
        "",
        "Recipe for all flags that are not searched. If it is not given, tabular for a "
        "csv, and vera_2d or pcd for toy data.",
    )
    method: str = setting(
        "vera",
        "What is asked of rows without labels, as of keras-ebm train-vera and "
        "keras-ebm train-langevin.",
    )
    workdir: str = setting("", "Folder of the search, created if absent.")
    tuner: str = setting(
        "hyperband",
        "How trials are chosen; hyperband gives the better ones more steps.",
    )
    trials: int = setting(30, "Trials in all, promotions of hyperband included.", low=1)
    steps: int = setting(600, "Steps of a trial, at most.", low=1)
    validate_every: int = setting(
        100, "Steps between validations and backups, which hyperband counts in.", low=1
    )
    batch_size: int = setting(64, "Rows of a step.", low=1)
    augment: str = setting(
        "none", "Moves training images by some pixels, or mirrors half of them too."
    )
    augment_density: bool = setting(
        True, "Shows the energy the moved images too, and not only the cross-entropy."
    )
    energy_limit: float = setting(
        1e6, "Nats from 0 at which a mean energy counts as diverged.", above=0
    )
    picture: bool = setting(True, "Draws trials.png: parameters against the objective.")
    verbose: int = setting(1, "0 is silent, 1 prints a line a trial.", low=0, high=2)


def check_clashes(recipe: Recipe, fixed: set) -> None:
    """Refuses flags that nothing in the search gives an effect; see `clashes`."""
    searched = {
        parameter.flag for space in spaces.FAMILIES.values() for parameter in space
    }
    clashes.check([*clashes.DATA, *clashes.TRAINING, *recipe.rules], searched - fixed)


def apply_flags(recipe: Recipe) -> set:
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
        defaults = {"csv": "tabular", "toy": recipe.plane_preset}
        FLAGS.preset = defaults.get(kind, "")

    if FLAGS.preset and FLAGS.preset not in recipe.presets:
        raise ValueError(
            f"`preset` of method {FLAGS.method} must be one of "
            f"{listed(recipe.presets)}. Received: preset={FLAGS.preset}."
        )

    def known(recipes):
        """Without the flags that only the trainers have, such as their epochs."""
        return {
            name: {key: value for key, value in recipe.items() if key in FLAGS}
            for name, recipe in recipes.items()
        }

    options.apply_preset(known(recipe.presets), known(recipe.methods))
    return fixed


def make_task(recipe: Recipe, fixed: set, task_class):
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
    settings = options.from_flags(recipe.settings)
    check_objective(run, tune.method, settings)
    space = find_space(run, tune, settings, fixed)
    fit = fit_settings(tune, spaces.family_of(run.dataset))
    return task_class(
        run, settings, fit, recipe.build, space, tune.tuner, tune.trials, tune.verbose
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


def fit_settings(tune: TuneSettings, family: str) -> fitting.FitSettings:
    """The trainers' settings that a trial starts from."""
    names = {field.name for field in dataclasses.fields(fitting.FitSettings)}
    values = {k: v for k, v in dataclasses.asdict(tune).items() if k in names}
    values |= {"tensorboard": False, "picture": False, "verbose": 0}
    return fitting.FitSettings(**values, keep_best=family != "density", doctor="off")


def check_lengths(tune: TuneSettings) -> None:
    """Raises ValueError if trials and steps make no search."""
    for name in ("trials", "steps", "validate_every"):
        if getattr(tune, name) < 1:
            raise ValueError(
                f"`{name}` must be at least 1. Received: {name}={getattr(tune, name)}."
            )
    if tune.steps % tune.validate_every:
        raise ValueError(
            "`validate_every` must divide `steps`. Received: "
            f"steps={tune.steps}, validate_every={tune.validate_every}."
        )
    if tune.tuner == "hyperband" and tune.steps < 3 * tune.validate_every:
        raise ValueError(
            "`tuner` hyperband needs `steps` of three `validate_every` at least, to "
            f"stop trials early. Received: steps={tune.steps}, validate_every="
            f"{tune.validate_every}; lower validate_every, or use tuner=random."
        )


def check_objective(run, method: str, settings) -> None:
    """Raises ValueError where validation rows cannot tell a good trial from a bad one.

    An energy that is trained against samples is no likelihood until it is normalised,
    and a low energy of validation rows alone says nothing: it costs nothing to lower
    all energies. In the plane `log Z` is summed on a grid; elsewhere it cannot be had
    well enough to choose by.
    """
    if run.dataset.kind == "inputs":
        raise ValueError(
            "`dataset` must have images, points or a table, of which networks are "
            f"built. Received: {run.dataset.name}, whose rows are inputs of a network "
            "of your own; train that by keras-ebm adopt and keras-ebm train-vera "
            "--init."
        )
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
    # Under the names that searches of earlier versions have written.
    fit["epoch_steps"] = fit.pop("validate_every")
    model = dataclasses.asdict(task.model_settings)
    if "initial_step_size" in model:
        model["move_step_size"] = model.pop("initial_step_size")
    space = {p.name: dataclasses.asdict(p) for p in task.space}
    return {
        "dataset": task.run.splits.fingerprint,
        **rows,
        **model,
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
