"""What `trainers.vera` and `trainers.langevin` do with their flags."""

import sys

from keras_ebm import data
from trainers.program import devices, errors, folders, options
from trainers.program.options import FLAGS
from trainers.run import defaults, dry_run, jobs, transforms
from trainers.settings import clashes
from trainers.settings.data import DataSettings, load


def run_flags(name, presets, methods, model_class, fit_class, build) -> None:
    """What a program does with its flags: a dry run, or a training.

    Args:
        name: of the program, for its errors.
        presets: dict of the flags that each `--preset` sets.
        methods: likewise of each `--method`, which overrides the preset.
        model_class: settings class of the model.
        fit_class: `FitSettings` of the program.
        build: see `jobs.prepare`.
    """
    choose_preset(presets)
    options.apply_preset(presets, methods)
    options.require("dataset")
    own = clashes.CHAINS if "moves" in FLAGS else clashes.VERA
    clashes.check([*clashes.DATA, *clashes.TRAINING, *own])
    data_settings = options.from_flags(DataSettings)
    if FLAGS.dry_run:
        settings = options.from_flags(model_class)
        dry_run.report(data_settings, settings, options.from_flags(fit_class), build)
        return
    folders.require_folder("workdir")
    folders.check_workdir(FLAGS.dataset)
    with errors.usage_errors():
        strategy = devices.make_strategy(FLAGS.strategy)
        run = load(data_settings)
        defaults.adapt_training(run, fit_class, strategy)
        fit, settings = options.from_flags(fit_class), options.from_flags(model_class)
        job = transforms.prepare(run, settings, fit, build, strategy)
    jobs.run_job(name, job)


def choose_preset(presets) -> None:
    """Takes `tabular` for a table of which few rows have labels, and says so."""
    few = FLAGS.labels_per_class and data.parse_spec(FLAGS.dataset).source == "csv"
    if few and not FLAGS.preset and "tabular" in presets:
        FLAGS.preset = "tabular"
        sys.stderr.write("preset=tabular, as it is a table with few labels\n")
