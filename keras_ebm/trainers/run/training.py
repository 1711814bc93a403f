"""What the programs that train do with their flags."""

import dataclasses
import sys

from keras_ebm import data
from keras_ebm.trainers.program import devices, errors, folders, options, running
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.program.options import FLAGS
from keras_ebm.trainers.run import dry_run, jobs
from keras_ebm.trainers.run.recipes import Recipe, choose
from keras_ebm.trainers.settings import clashes
from keras_ebm.trainers.settings.data import DataSettings, load


def run_program(default: Recipe, *others: Recipe) -> None:
    """Runs the trainer of a recipe, or of another that its arguments ask for."""
    chosen = []

    def define_chosen(argv):
        chosen.append(choose(argv, default, *others))
        return define(chosen[-1])

    running.run_program(lambda argv: train(chosen[-1]), define_chosen)


def define(recipe: Recipe, defaults: dict | None = None) -> dict:
    """Defines the flags of a recipe, and gives its presets.

    Args:
        recipe: `Recipe`.
        defaults: by name, in place of the flags' own.
    """
    classes = [DataSettings, recipe.settings, recipe.fit]
    if hasattr(recipe.settings, "init"):
        classes.append(ImportSettings)
    for settings_class in classes:
        own = {field.name for field in dataclasses.fields(settings_class)}
        given = {k: v for k, v in (defaults or {}).items() if k in own}
        options.define_flags(settings_class, **given)
    return recipe.presets


def train(recipe: Recipe) -> None:
    """A dry run, or a training."""
    _choose_preset(recipe.presets)
    options.apply_preset(recipe.presets, recipe.methods)
    options.require("dataset")
    clashes.check([*clashes.DATA, *clashes.TRAINING, *recipe.rules])
    clashes.check_unused(recipe.settings)
    data_settings = options.from_flags(DataSettings)
    if FLAGS.dry_run:
        settings, fit = (options.from_flags(c) for c in (recipe.settings, recipe.fit))
        dry_run.report(data_settings, settings, fit, recipe.build)
        return
    folders.require_folder("workdir")
    folders.check_workdir(FLAGS.dataset)
    with errors.usage_errors():
        strategy = devices.make_strategy(FLAGS.strategy)
        run = load(data_settings)
        recipe.adapt(run, strategy)
        settings, fit = (options.from_flags(c) for c in (recipe.settings, recipe.fit))
        job = recipe.prepare(run, settings, fit, strategy)
    jobs.run_job(recipe.name, job)


def _choose_preset(presets) -> None:
    """Takes `tabular` for a table of which few rows have labels, and says so."""
    few = FLAGS.labels_per_class and data.parse_spec(FLAGS.dataset).source == "csv"
    if few and not FLAGS.preset and "tabular" in presets:
        FLAGS.preset = "tabular"
        sys.stderr.write("preset=tabular, as it is a table with few labels\n")
