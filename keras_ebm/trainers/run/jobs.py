"""A training that is prepared: it is performed, saved, measured, and goes on."""

import contextlib
import dataclasses
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import files
from keras_ebm.callbacks import StopOnDivergence
from keras_ebm.data import split_digest
from keras_ebm.negatives import as_source
from keras_ebm.rows import num_rows, take, tensors
from keras_ebm.trainers.program import errors, folders, json_files, stopping
from keras_ebm.trainers.program.options import Checked, setting
from keras_ebm.trainers.report.pictures import PICTURE_FILE, draw_density, has_picture
from keras_ebm.trainers.run import backup
from keras_ebm.trainers.run.record import write_record
from keras_ebm.trainers.settings.data import RunData

HISTORY_FILE = backup.HISTORY_FILE
#: Labelled validation rows below which their accuracy chooses nothing.
ENOUGH_LABELS = 20
STRATEGIES = ("none", "mirrored", "multiworker")


@dataclasses.dataclass(frozen=True)
class RunSettings(Checked):
    """Where a run goes, on what devices, and whether it goes on: of every trainer."""

    CHOICES = {"strategy": STRATEGIES}

    SUBJECTS = {
        "preset": "Run",
        "strategy": "Devices",
        "resume": "Interrupted runs",
        "picture": "What is written",
    }

    preset: str = setting(
        "", "Recipe for all other flags. Those that are passed override it."
    )
    workdir: str = setting("", "Folder of the run, created if absent.")
    dry_run: bool = setting(
        False,
        "Builds the model, takes one step on random rows, and prints its weights and "
        "operations.",
    )
    strategy: str = setting(
        "none",
        "Devices: mirrored has a replica on each GPU, multiworker on those of every "
        "machine in TF_CONFIG.",
    )
    resume: bool = setting(False, "Continues the interrupted run in --workdir.")
    auto_resume: bool = setting(
        False,
        "Continues the run in --workdir if there is one, else begins: for jobs that "
        "get restarted.",
    )
    picture: bool = setting(
        True, "Draws density.png: energies, data and samples of a run in the plane."
    )


class Diverged(RuntimeError):
    """Training has left the numbers, or the range of its energies."""


def _itself(model: keras.Model) -> keras.Model:
    """The model that is saved, where it is the one that is trained."""
    return model


def _nothing(job: "Job") -> None:
    """What there is to do where nothing is asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that has to be right before training starts.

    Args:
        run: `RunData`.
        fit: `RunSettings`, with `verbose` besides.
        model: compiled model.
        batches: endless dataset of training batches.
        validation: dataset of validation batches.
        steps: int, of a part, which Keras takes for an epoch.
        parts: int, of the whole run.
        first_part: int, parts behind a run that is continued.
        is_chief: bool, whether this worker's files are kept.
        can_calibrate: bool, whether training sees nothing of the calibration rows.
        watch: what stops a run that diverges.
        callbacks: callable `(job)` to the Keras callbacks besides.
        settle: callable `(job)` on the trained model before it is saved; it may raise
            `Diverged`.
        settle_stopped: likewise where a signal stopped the run.
        measures: callable `(job, seconds)` to the flat measures of `metrics.json`;
            seconds of training, None where only a part of them are known.
        whole: callable from the model that is trained to the one that is saved.
        recorded: `RunData` of its rows, where they are others than those of `run`.
    """

    run: RunData
    fit: RunSettings
    model: keras.Model
    batches: tf.data.Dataset
    validation: tf.data.Dataset
    steps: int
    parts: int
    first_part: int = 0
    is_chief: bool = True
    can_calibrate: bool = True
    watch: StopOnDivergence
    callbacks: Callable
    settle: Callable = _nothing
    settle_stopped: Callable = _nothing
    measures: Callable
    whole: Callable = _itself
    recorded: RunData | None = None

    @property
    def record(self) -> RunData:
        """The data that the run's folder tells of."""
        return self.run if self.recorded is None else self.recorded

    @property
    def workdir(self) -> Path:
        """The run's folder; a worker that is not the first writes to one aside."""
        return folders.own_folder(self.fit.workdir, self.is_chief)

    @property
    def folders(self) -> list[Path]:
        """Where backups lie that a stopped run goes on from."""
        return [self.workdir]

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do, as `auto_resume` found a finished run."""
        return backup.is_done(self.fit)

    def perform(self) -> tuple[keras.Model, dict]:
        """Trains, saves and measures.

        Returns:
            `(model, metrics)`: the trained model and the flat measures that
            `metrics.json` holds. Of a run that is done, what it saved.

        Raises:
            Diverged: if training diverged.
            KeyboardInterrupt: after saving the model, if training was interrupted.
        """
        if self.is_done:
            return backup.finished(self.fit)
        workdir = self.workdir
        seconds = self._train()
        with stopping.noting(f"{workdir / folders.MODEL_FILE} is saved"):
            metrics = self.measures(self, None if self.first_part else seconds)
            json_files.write_json(workdir / backup.METRICS_FILE, metrics)
            if has_picture(self.run, self.fit):
                draw_density(self.model, self.run, workdir / PICTURE_FILE)
            backup.clear_all(workdir)
        return self.whole(self.model), metrics

    def train(self) -> keras.Model:
        """Trains and saves, sees nothing of the test split, and keeps the backups.

        Raises:
            As `perform`.
        """
        self._train()
        return self.whole(self.model)

    def _train(self) -> float:
        """Trains and saves; the seconds that it took."""
        workdir = self.workdir
        files.make_folder(workdir)
        if not self.first_part:
            backup.begin(workdir)
        # A worker that is not the first has a new folder at every start.
        files.make_folder(backup.backup_folder(workdir))
        # Beside that of an earlier run, whose model is still there.
        write_record(self.record, backup.backup_folder(workdir), self.can_calibrate)
        backup.keep_history(workdir / HISTORY_FILE, self.first_part)
        start = time.perf_counter()
        with saving_if_stopped(self):
            self.model.fit(
                self.batches,
                initial_epoch=self.first_part,
                epochs=self.parts,
                steps_per_epoch=self.steps,
                validation_data=self.validation,
                callbacks=[stopping.StopWhenAsked(), self.watch, *self.callbacks(self)],
                shuffle=False,
                # One bar for the run stands in for Keras's bar an epoch.
                verbose=0 if self.fit.verbose == 1 else self.fit.verbose,
            )
            seconds = time.perf_counter() - start
            self.settle(self)
        save_run(self)
        return seconds

    def log_and_backup(self) -> list:
        """The callbacks that write the history, and the backups after it."""
        history = self.workdir / HISTORY_FILE
        return [
            # Keras streams it; `backup.keep_history` drops what a kill leaves of a row.
            keras.callbacks.CSVLogger(history, append=self.first_part > 0),
            backup.EpochBackup(backup.backup_folder(self.workdir), history),
        ]


def save_run(job: Job) -> None:
    """Writes the model that a run ends with, and its record; a stop waits for both.

    The model names the split, so that a kill between the two is found out.
    """
    path = job.workdir / folders.MODEL_FILE
    with stopping.held(f"{path} is saved"):
        model = job.whole(job.model)
        model.trained_on = split_digest(job.record.splits)
        files.save_model(model, path)
        write_record(job.record, job.workdir, job.can_calibrate)


@contextlib.contextmanager
def saving_if_stopped(job: Job):
    """Saves the model as it is where the block is stopped by a signal."""
    try:
        yield
    except KeyboardInterrupt as error:
        job.settle_stopped(job)
        save_run(job)
        error.add_note(f"{job.workdir / folders.MODEL_FILE} is saved")
        raise


def check_buffer(model, batch_size: int) -> None:
    """Raises ValueError if a replay buffer is smaller than a batch."""
    source = as_source(model.negatives)
    buffer = None if source is None else source.buffer
    if buffer is not None and batch_size > buffer.capacity:
        raise ValueError(
            "`buffer_size` must be at least `batch_size`. Received: buffer_size="
            f"{buffer.capacity} for batch_size={batch_size}."
        )


def validation_batches(rows, batch_size: int, strategy) -> tf.data.Dataset:
    """Validation batches; replicas get equal shares, so a few rows may be left out.

    Args:
        rows: tuple of arrays `(n, ...)`, or dicts of them, the parts of a batch.
        batch_size: int.
        strategy: `tf.distribute` strategy or None.
    """
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    shared = num_rows(rows[0]) // replicas * replicas
    rows = tuple(tensors(take(part, slice(shared))) for part in rows)
    options = tf.data.Options()
    # Each of several workers evaluates all rows, which leaves the means as they are.
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    return batches.with_options(options)


def enough_labels(run) -> bool:
    """Whether the accuracy on validation rows can choose among models."""
    return np.sum(run.rows("validation")[1] >= 0) >= ENOUGH_LABELS


def run_job(name: str, job) -> None:
    """Performs a job for a program: prints its measures, or exits with an error.

    Args:
        name: of the program, for its errors.
        job: `Job`, or another with its `workdir`, `is_chief` and `perform`.
    """
    if not job.is_chief:
        # It takes part in every step and save, of which the chief's are kept.
        try:
            job.perform()
        finally:
            shutil.rmtree(job.workdir, ignore_errors=True)
        return
    # From here on a ValueError is a fault of the program, and shows as one.
    try:
        if job.is_done:
            print(
                f"{job.workdir} holds a finished run, which is left as it is; to train "
                "anew leave --auto_resume out"
            )
        else:
            folders.start_run(job.workdir)
        _, metrics = job.perform()
    except KeyboardInterrupt as error:
        stopping.leave(error, *_how_to_go_on(job))
    except (RuntimeError, OSError, tf.errors.OpError) as error:
        if not isinstance(error, RuntimeError):
            if not errors.is_of_a_disk(error):
                raise
            error = "; ".join([errors.disk_error(error), *_how_to_go_on(job)])
        sys.stderr.write(f"{name}: error: {error}\n")
        sys.exit(1)
    json_files.print_metrics(metrics)


def _how_to_go_on(job) -> list[str]:
    if any(backup.all_backups(backup.backup_folder(path)) for path in job.folders):
        return ["the same command with --resume continues"]
    return []
