r"""Searches for the settings of `keras-ebm train-vera` and `keras-ebm train-langevin`.

Run it as:

    keras-ebm tune --dataset=digits --tuner=random --trials=20 \
        --workdir=runs/tuned
    keras-ebm tune --dataset=csv:table.csv --labels_per_class=10 \
        --method=vera+vat --trials=60 --workdir=runs/table
    keras-ebm tune --dataset=toy:rings --method=chains --workdir=runs/rings

The space is that of the data's family (`keras_ebm.trainers.search.spaces`); a flag of
the model that is passed keeps its value and leaves the space (`--method=chains --help`
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
next depends on which worker ends first. A trial is as deterministic as a run of
`keras-ebm train-vera`.
"""

import importlib
import os
import sys
from pathlib import Path

from absl import app

from keras_ebm import plots
from keras_ebm.arguments import why_not_imported
from keras_ebm.trainers.program import (
    errors,
    folders,
    json_files,
    keras_files,
    options,
    running,
    stopping,
)
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.program.options import FLAGS
from keras_ebm.trainers.report.measures import measure
from keras_ebm.trainers.run.recipes import CHAINS, VERA, choose
from keras_ebm.trainers.search import table
from keras_ebm.trainers.search.setup import (
    TuneSettings,
    apply_flags,
    check_clashes,
    make_task,
    open_search,
)
from keras_ebm.trainers.settings.data import DataSettings

TABLE_FILE = "trials.csv"
PICTURE_FILE = "trials.png"
_VARIABLES = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")


def main(argv: list[str]) -> None:
    del argv
    recipe = CHAINS if FLAGS.method in CHAINS.methods else VERA
    with errors.usage_errors():
        role = role_of(os.environ)
        fixed = apply_flags(recipe)
    options.require("dataset")
    check_clashes(recipe, fixed)
    folders.require_folder("workdir")
    folders.check_workdir(FLAGS.dataset)
    with errors.usage_errors():
        trials = import_trials()
        if FLAGS.picture:
            plots.pyplot()
        task = make_task(recipe, fixed, trials.Task)
        tuner = open_search(task, role, trials)
    search(tuner, role)
    if role != "worker":
        finish(tuner)


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
    """Imports `keras_ebm.trainers.search.trials`, which needs keras-tuner.

    Raises:
        ImportError: with the pip command, if keras-tuner is not installed.
    """
    try:
        return importlib.import_module("keras_ebm.trainers.search.trials")
    except ImportError as error:
        if "keras_tuner" not in str(error):
            raise
        raise ImportError(
            "keras-ebm tune needs keras-tuner, which "
            f"{why_not_imported('keras_tuner', error)}. "
            'Run `pip install "keras_ebm[tune]"`.'
        ) from error


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


def define(argv: list[str]) -> dict:
    """Defines the flags, which depend on the method; returns the presets."""
    recipe = choose(argv, VERA, CHAINS)
    for settings_class in (
        DataSettings,
        recipe.settings,
        TuneSettings,
        ImportSettings,
    ):
        options.define_flags(settings_class)
    return recipe.presets


if __name__ == "__main__":
    running.run_program(main, define)
