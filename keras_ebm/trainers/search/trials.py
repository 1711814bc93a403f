"""Trials of a search as keras-tuner runs them: a training each, in its own folder."""

import contextlib
import dataclasses
import os
import shutil
import sys
import time
from pathlib import Path

import keras
import keras_tuner as kt
import tensorflow as tf

from keras_ebm import files
from keras_ebm.trainers.program import folders, json_files
from keras_ebm.trainers.run import jobs
from keras_ebm.trainers.search import spaces
from keras_ebm.trainers.search.task import Task
from keras_ebm.trainers.search.trial_files import (
    REMEDY,
    RESULT_FILE,
    RUN,
    VALUES_FILE,
    read_result,
    read_values,
    remove_backups,
    write_flags,
)

#: In the search's folder, that of keras-tuner's state.
STATE = "search"
#: Hyperband keeps one trial in so many from each round to the next.
FACTOR = 3
#: Between the questions of a worker for which there is no trial yet; keras-tuner asks
#: on and on, which keeps the chief's processor busy.
IDLE_SECONDS = 1.0


class TrialModel(kt.HyperModel):
    """Builds and trains the model of a trial, in the folder `self.folder`.

    Args:
        task: `Task`.
    """

    def __init__(self, task: Task):
        super().__init__()
        self.task = task
        self.folder = Path(task.fit.workdir) / STATE / "unused"
        self.job = None

    def declare_hyperparameters(self, hp):
        spaces.declare(hp, self.task.space)

    def build(self, hp):
        """The compiled model; with the weights that the folder has a backup of.

        Raises:
            ValueError: if the values do not fit the data or each other.
        """
        self.job = self.task.prepare(hp.values, self.folder)
        return self.job.model

    def fit(self, hp, model, *args, **kwargs):
        """Trains what `build` made to the end of the trial's share of the steps.

        keras-tuner's callback is left out, which keeps the weights of the best epoch
        without the averages that belong to them; `KeepBest` does that.

        Returns:
            Dict: what `Task.validate` gives, and `steps` that the model has taken.

        Raises:
            Diverged: if training or the objective left the numbers.
        """
        parts = hp.values.get("tuner/epochs", self.job.parts)
        job = dataclasses.replace(self.job, parts=parts)
        values = self.task.validate(job.train())
        return {**values, "steps": parts * job.steps}


class Tuner(kt.Tuner):
    """keras-tuner's loop over trials, each of which is a run folder of its own.

    A trial that was interrupted goes on from its last backup, one that is done is not
    trained again, and one that Hyperband promotes goes on from the last weights of the
    trial before, as if it had never stopped.

    Args:
        task: `Task`.
    """

    def __init__(self, task: Task):
        self.task = task
        self._idle = False
        _keep_quiet()
        super().__init__(
            oracle_of(task),
            TrialModel(task),
            directory=task.fit.workdir,
            project_name=STATE,
            overwrite=False,
        )

    def pre_create_trial(self):
        if self._idle:
            time.sleep(IDLE_SECONDS)
        self._idle = True

    def on_trial_begin(self, trial):
        self._idle = False

    def run_trial(self, trial, *args, **kwargs):
        """Trains a trial, or takes what it came to if it has been trained.

        Raises:
            FailedTrialError: if it diverged, its values do not fit the data, or there
                is not enough memory.
            FatalRuntimeError: at any other error, which keras-tuner would count as a
                trial that failed.
        """
        folder = self.folder_of(trial.trial_id)
        self._begin(folder, trial.hyperparameters.values)
        result = read_result(folder)
        if not result:
            result = self._train(trial.hyperparameters, folder)
            json_files.write_json(folder / RESULT_FILE, result)
        self._report(trial.trial_id, result)
        if "reason" in result:
            raise kt.errors.FailedTrialError(result["reason"])
        name = self.task.objective.name
        return {name: result[name]}

    def folder_of(self, trial_id: str) -> Path:
        """The run folder of a trial."""
        return Path(self.get_trial_dir(trial_id)) / RUN

    def result_of(self, trial_id: str) -> dict:
        """What a trial came to, see `read_result`."""
        return read_result(self.folder_of(trial_id))

    def keep(self, trial_id: str) -> None:
        """Makes the search's folder the run folder of a trial; drops all backups."""
        for name in self.oracle.trials:
            remove_backups(self.folder_of(name))
        workdir = Path(self.task.fit.workdir)
        own = shutil.ignore_patterns(RESULT_FILE, VALUES_FILE)
        folder = self.folder_of(trial_id)
        shutil.copytree(
            folder,
            workdir,
            ignore=own,
            copy_function=files.copy,
            dirs_exist_ok=True,
        )
        values = self.oracle.get_trial(trial_id).hyperparameters.values
        write_flags(workdir / folders.FLAGS_FILE, self.task, values, workdir)

    def _begin(self, folder, values):
        """Makes the run folder, unless there is one of these values."""
        if folder.is_dir() and read_values(folder) == values:
            return
        shutil.rmtree(folder, ignore_errors=True)
        # It gets its name when it is complete, in case of a kill.
        new = folder.with_name("unfinished")
        shutil.rmtree(new, ignore_errors=True)
        if "tuner/trial_id" in values:
            past = self.folder_of(values["tuner/trial_id"])
            ignore = shutil.ignore_patterns(RESULT_FILE)
            shutil.copytree(past, new, ignore=ignore, copy_function=files.copy)
        new.mkdir(exist_ok=True)
        json_files.write_json(new / VALUES_FILE, values)
        write_flags(new / folders.FLAGS_FILE, self.task, values, folder)
        new.rename(folder)
        files.sync(folder.parent)

    def _train(self, hp, folder):
        self.hypermodel.folder = folder
        keras.backend.clear_session()
        start = time.monotonic()
        try:
            with _values_that_fit():
                model = self.hypermodel.build(hp)
            result = self.hypermodel.fit(hp, model)
        except (jobs.Diverged, tf.errors.ResourceExhaustedError) as error:
            result = {"reason": " ".join(str(error).split())}
        except Exception as error:
            raise kt.errors.FatalRuntimeError(str(error)) from error
        if self.task.tuner != "hyperband":
            remove_backups(folder)
        return {**result, "seconds": round(time.monotonic() - start, 2)}

    def _report(self, trial_id, result):
        if "reason" in result:
            sys.stderr.write(f"trial {trial_id} failed: {result['reason']}\n")
        elif self.task.verbose:
            name = self.task.objective.name
            print(
                f"trial {trial_id}: {name} {result[name]:.4f} after "
                f"{result['steps']} steps, {result['seconds']:.0f} s",
                flush=True,
            )


def _keep_quiet():
    """Leaves out what is said of every trial that is built, or that fails."""
    # A new model each trial is what a search is; TensorFlow warns of it.
    tf.get_logger().addFilter(_is_no_retracing)
    with contextlib.suppress(ImportError):
        from keras_tuner.src import config

        # The stack that leads to `FailedTrialError`, whose reason is printed.
        config.DEBUG = False


def _is_no_retracing(record) -> bool:
    return "tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def _values_that_fit():
    """Values that do not go together count as a trial that failed, and say so."""
    try:
        yield
    except ValueError as error:
        raise jobs.Diverged(f"no model of these values: {error}") from error


def oracle_of(task: Task) -> kt.Oracle:
    """The keras-tuner oracle that chooses the values of trials."""
    options = {
        "objective": task.objective,
        # keras-tuner takes 0 for none.
        "seed": task.run.settings.seed + 1,
        # A search ends with a table of what failed, not at the third in a row.
        "max_consecutive_failed_trials": task.trials + 1,
    }
    if task.tuner == "random":
        return kt.oracles.RandomSearchOracle(max_trials=task.trials, **options)
    if task.tuner == "bayesian":
        # By default three for each parameter are random, often all there are.
        points = max(3, min(task.trials // 3, 3 * len(task.space)))
        return kt.oracles.BayesianOptimizationOracle(
            max_trials=task.trials, num_initial_points=points, **options
        )
    parts = task.fit.steps // task.fit.validate_every
    oracle = kt.oracles.HyperbandOracle(
        max_epochs=parts, factor=FACTOR, hyperband_iterations=None, **options
    )
    # It would go on for ever: as many rounds as there are trials for.
    oracle.max_trials = task.trials
    return oracle


def open_tuner(task: Task, is_worker: bool) -> Tuner:
    """A tuner that goes on with the search in the task's folder, if there is one.

    Raises:
        ValueError: if no model can be built of the settings, or a trial's values or
            result cannot be read.
        ImportError: if keras-tuner lacks a package for this search.
    """
    state = Path(task.fit.workdir) / STATE
    if not is_worker:
        _mend(state)
    for folder in sorted(state.glob(f"trial_*/{RUN}")):
        # Before any work, as keras-tuner would take the trial for one that failed.
        read_values(folder)
        if "reason" not in (read_result(folder) or {"reason": ""}):
            shape = {task.objective.name: (int, float)}
            json_files.read_shaped(folder / RESULT_FILE, shape, REMEDY)
    tuner = Tuner(task)
    tuner.oracle.verbose = 0
    if not is_worker:
        # Or a search that ends within its first trial would not be read again.
        tuner.save()
    return tuner


def _mend(folder):
    """Makes keras-tuner's files readable, wherever a kill has left them.

    It writes them one after another and in place. A trial that is not in the oracle's
    list was not begun. Where a file is cut off the search is repeated from its seed,
    which costs little, as trials that are done are not trained again.
    """
    oracle = folder / "oracle.json"
    if not oracle.is_file():
        return
    trials = sorted(folder.glob("trial_*/trial.json"))
    try:
        started = json_files.read_shaped(oracle, {"start_order": list})["start_order"]
        for path in trials:
            if path.parent.name.removeprefix("trial_") not in started:
                path.unlink()
            else:
                json_files.read_shaped(path, {})
    except ValueError as error:
        if isinstance(error.__cause__, OSError):
            raise  # What cannot be opened is no reason to remove it.
        sys.stderr.write(
            f"{oracle} or a trial's file is cut off: asking from its seed\n"
        )
        for path in [*folder.glob("*.json"), *trials]:
            path.unlink(missing_ok=True)
        return
    # keras-tuner reads the oracle's file only where it finds one of this tuner.
    name = os.environ.get("KERASTUNER_TUNER_ID", "tuner0")
    files.write_text(folder / f"{name}.json", "{}")
