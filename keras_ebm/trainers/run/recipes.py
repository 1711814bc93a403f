"""What each trainer trains: its settings, presets and methods, in one table."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_ebm.trainers import presets
from keras_ebm.trainers.program import options
from keras_ebm.trainers.program.options import FLAGS, setting
from keras_ebm.trainers.run import bodies, defaults, density_fitting, fitting
from keras_ebm.trainers.settings import clashes
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.density import DensitySettings
from keras_ebm.trainers.settings.unlabelled import CHAIN_METHODS, VERA_METHODS
from keras_ebm.trainers.settings.vera import ModelSettings, build_model


class Recipe(NamedTuple):
    """A way of training.

    Args:
        name: of its program.
        settings: class of the model's settings.
        fit: class of the training's settings.
        presets: dict of the flags that each `--preset` sets.
        methods: likewise of each `--method`, which overrides the preset.
        rules: `clashes.Rule`s of its flags.
        build: callable `(dataset, train_x, settings, seed)` to an uncompiled model.
        prepare: callable `(run, settings, fit, strategy)` to a job.
        adapt: callable `(run, strategy)` that changes defaults which the rows do not
            allow.
        plane_preset: of `presets`, for points in the plane.
    """

    name: str
    settings: type
    fit: type
    presets: dict
    methods: dict
    rules: list
    build: Callable
    prepare: Callable
    adapt: Callable
    plane_preset: str = ""


@dataclasses.dataclass(frozen=True)
class VeraFit(fitting.FitSettings):
    CHOICES = {
        **fitting.FitSettings.CHOICES,
        "preset": ("", *presets.VERA_PRESETS),
        "method": ("", *VERA_METHODS),
    }


@dataclasses.dataclass(frozen=True)
class ChainFit(fitting.FitSettings):
    CHOICES = {
        **fitting.FitSettings.CHOICES,
        "preset": ("", *presets.LANGEVIN_PRESETS),
        "method": ("", *CHAIN_METHODS),
    }
    SUBJECTS = {**fitting.FitSettings.SUBJECTS, "watch_labels": "Labels of samples"}

    watch_labels: int = setting(
        0,
        "Samples of each epoch by which class-conditional training is watched: how "
        "often an energy knows the label of a sample is logged beside that of a "
        "validation row, and a fall is warned of. With --keep_best the weights are "
        "kept by it.",
        low=0,
    )


def _prepare_by(build):
    def prepare(run, settings, fit, strategy=None):
        return bodies.prepare(run, settings, fit, build, strategy)

    return prepare


def _adapt_density(run, strategy):
    count = sum(len(run.rows(part)[1]) for part in ("train", "validation"))
    defaults.adapt_batch(np.full(count, -1), strategy)
    defaults.adapt_buffer()
    if FLAGS.steps > 0 and FLAGS.validate_every > FLAGS.steps:
        defaults.adapt("validate_every", FLAGS.steps, "there are no more steps")


VERA = Recipe(
    name="vera",
    settings=ModelSettings,
    fit=VeraFit,
    presets=presets.VERA_PRESETS,
    methods=VERA_METHODS,
    rules=clashes.VERA,
    build=build_model,
    prepare=_prepare_by(build_model),
    adapt=lambda run, strategy: defaults.adapt_training(run, VeraFit, strategy),
    plane_preset="vera_2d",
)
CHAINS = Recipe(
    name="langevin",
    settings=ChainSettings,
    fit=ChainFit,
    presets=presets.LANGEVIN_PRESETS,
    methods=CHAIN_METHODS,
    rules=clashes.CHAINS,
    build=build_langevin,
    prepare=_prepare_by(build_langevin),
    adapt=lambda run, strategy: defaults.adapt_training(run, ChainFit, strategy),
    plane_preset="pcd",
)
DENSITY = Recipe(
    name="likelihood",
    settings=DensitySettings,
    fit=density_fitting.StepSettings,
    presets=presets.LIKELIHOOD_PRESETS,
    methods={},
    rules=clashes.LIKELIHOOD,
    build=density_fitting.build,
    prepare=density_fitting.prepare,
    adapt=_adapt_density,
)


def choose(argv: list[str], default: Recipe, *others: Recipe) -> Recipe:
    """The recipe that `--method` or `--preset` asks for among a program's arguments.

    Args:
        argv: the program's name and arguments; a `--flagfile` in them is read.
        default: what the program is of.
        *others: what it hands over to, where the default has no such method or preset.
    """
    given = options.peek(argv, "method", "preset")
    for recipe in (default, *others):
        if given["method"] in recipe.methods:
            return recipe
    for recipe in (default, *others):
        if given["preset"] in recipe.presets:
            return recipe
    return default
