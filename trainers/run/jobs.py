"""Trains a model on the data of a run: what `trainers.vera` and `.langevin` share."""

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import files, plots
from keras_ebm.arguments import check_positive, check_size
from keras_ebm.callbacks import (
    KeepBest,
    KeepCheckpoints,
    Progress,
    SamplePictures,
    StopOnDivergence,
)
from keras_ebm.data import split_digest
from keras_ebm.data.batches import (
    AUGMENTATIONS,
    rows_of_worker,
    steps_per_epoch,
    training_batches,
)
from keras_ebm.negatives import as_source
from trainers.program import devices, errors, folders, json_files, stopping
from trainers.program.options import Checked, setting
from trainers.report.measures import measure
from trainers.report.pictures import PICTURE_FILE, draw_density, has_picture
from trainers.run import backup
from trainers.run.record import write_record
from trainers.settings.data import RunData, check_features
from trainers.settings.optimizers import OptimizerSettings, compile_model

HISTORY_FILE = backup.HISTORY_FILE
CHECKPOINTS = "checkpoints"
#: Labelled validation rows below which their accuracy chooses nothing.
ENOUGH_LABELS = 20
STRATEGIES = ("none", "mirrored", "multiworker")


@dataclasses.dataclass(frozen=True)
class FitSettings(Checked):
    """How long to train, on what, and what to write."""

    CHOICES = {"strategy": STRATEGIES, "augment": AUGMENTATIONS}

    preset: str = setting(
        "", "A recipe for all other flags; those that are passed override it."
    )
    method: str = setting(
        "", "What is asked of rows without labels; sets the flags that say so."
    )
    workdir: str = setting("", "Folder of the run; created if absent.")
    epochs: int = setting(60, "Passes over the training rows.", low=1)
    steps: int = setting(0, "Steps in all, in place of --epochs; 0: none.", low=0)
    batch_size: int = setting(64, "Rows a step, over all replicas.", low=1)
    augment: str = setting(
        "none", "Moves training images, or mirrors half of them too."
    )
    augment_density: bool = setting(
        True, "Whether the energy sees them so too, or only the cross-entropy does."
    )
    strategy: str = setting(
        "none",
        "mirrored: one replica on each GPU; multiworker: on those of every machine "
        "in TF_CONFIG.",
    )
    resume: bool = setting(False, "Continue the interrupted run in --workdir.")
    auto_resume: bool = setting(
        False, "Continue it if there is one, else begin: for jobs that get restarted."
    )
    epoch_steps: int = setting(
        0,
        "Steps between validations, backups and lines of history; 0: one pass.",
        low=0,
    )
    keep_best: bool = setting(
        False,
        "End with the weights of the best validation accuracy, looked at every "
        "--epoch_steps; not where fewer than 20 validation rows have labels.",
    )
    fit_temperature: bool = setting(
        True,
        "Fit the temperature and the lapse rate of the probabilities to the validation "
        "rows; not where fewer than 20 of them have labels.",
    )
    tensorboard: bool = setting(True, "Write TensorBoard logs with pictures.")
    picture: bool = setting(
        True, "Draw density.png: energies, data and samples of a 2-D run."
    )
    picture_epochs: int = setting(10, "Epochs between pictures.", low=1)
    checkpoint_every: int = setting(
        0, "Steps between checkpoints that are kept for sampling; 0: none.", low=0
    )
    checkpoints: int = setting(10, "Checkpoints to keep, the latest.", low=1)
    dry_run: bool = setting(
        False,
        "Build the model, take one step on random rows, print weights and operations.",
    )
    energy_limit: float = setting(
        1e6, "Nats from 0 at which a mean energy counts as diverged.", above=0
    )
    verbose: int = setting(
        1, "0: silent, 1: one progress bar, 2: a line an epoch.", low=0, high=2
    )


class Diverged(RuntimeError):
    """Training has left the numbers, or the range of its energies."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that has to be right before training starts."""

    run: RunData
    model_settings: OptimizerSettings
    fit: FitSettings
    model: keras.Model
    batches: tf.data.Dataset
    validation: tf.data.Dataset
    steps: int
    parts: int
    first_part: int
    is_chief: bool = True

    @property
    def workdir(self) -> Path:
        """The run's folder; a worker that is not the first writes to one aside."""
        return folders.own_folder(self.fit.workdir, self.is_chief)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do, as `auto_resume` found a finished run."""
        return backup.is_done(self.fit)

    def perform(self) -> tuple[keras.Model, dict]:
        """Trains, saves and measures what `prepare` built.

        Returns:
            `(model, metrics)`: the trained model and the flat measures on the
            test split that `metrics.json` holds. Of a run that is done, what it saved.

        Raises:
            Diverged: if training diverged.
            KeyboardInterrupt: after saving the model, if training was interrupted.
        """
        if self.is_done:
            return backup.finished(self.fit)
        model, workdir = self.train(), self.workdir
        with stopping.noting(f"{workdir / folders.MODEL_FILE} is saved"):
            metrics = measure(model, self.run)
            json_files.write_json(workdir / backup.METRICS_FILE, metrics)
            if has_picture(self.run, self.fit):
                draw_density(model, self.run, workdir / PICTURE_FILE)
            backup.clear_all(workdir)
        return model, metrics

    def train(self) -> keras.Model:
        """Trains and saves, sees nothing of the test split, and keeps the backups.

        Raises:
            As `perform`.
        """
        model, workdir = self.model, self.workdir
        files.make_folder(workdir)
        if self.first_part == 0:
            backup.begin(workdir)
        # Beside that of an earlier run, whose model is still there.
        write_record(self.run, backup.backup_folder(workdir))
        backup.keep_history(workdir / HISTORY_FILE, self.first_part)
        names = ("data_energy", "negative_energy")
        watch = StopOnDivergence(dict.fromkeys(names, self.fit.energy_limit))
        with saving_if_stopped(self):
            model.fit(
                self.batches,
                initial_epoch=self.first_part,
                epochs=self.parts,
                steps_per_epoch=self.steps,
                validation_data=self.validation,
                callbacks=_callbacks(self, watch),
                shuffle=False,
                # One bar for the run stands in for Keras's bar an epoch.
                verbose=0 if self.fit.verbose == 1 else self.fit.verbose,
            )
            if watch.reason:
                raise Diverged(watch.reason)
            if (
                self.fit.fit_temperature
                and model.num_classes > 1
                and enough_labels(self.run)
            ):
                model.fit_temperature(*self.run.rows("validation"))
        save_run(self)
        return model


def save_run(job, can_calibrate: bool = True) -> None:
    """Writes the model that a run ends with, and its record; a stop waits for both.

    The model names the split, so that a kill between the two is found out.
    """
    path = job.workdir / folders.MODEL_FILE
    with stopping.held(f"{path} is saved"):
        job.model.trained_on = split_digest(job.run.splits)
        files.save_model(job.model, path)
        write_record(job.run, job.workdir, can_calibrate)


@contextlib.contextmanager
def saving_if_stopped(job, restore=lambda model: None, can_calibrate: bool = True):
    """Saves the model as it is where the block is stopped by a signal.

    Args:
        job: `Job`, or another with its `model`, `run` and `workdir`.
        restore: what to do with the model before it is saved.
        can_calibrate: see `trainers.run.record.write_record`.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        restore(job.model)
        save_run(job, can_calibrate)
        error.add_note(f"{job.workdir / folders.MODEL_FILE} is saved")
        raise


def prepare(
    run: RunData,
    model_settings: OptimizerSettings,
    fit: FitSettings,
    build: Callable,
    strategy=None,
) -> Job:
    """Builds a job; writes nothing.

    Args:
        run: `RunData`, the split data.
        model_settings: settings of the model and its optimizers.
        fit: `FitSettings`; `workdir` is created by `Job.perform` if absent.
        build: callable `(dataset, train_x, model_settings, seed)` to an uncompiled
            model.
        strategy: `tf.distribute` strategy or None.

    Raises:
        ValueError: if the settings do not fit the data, or there is nothing
            to resume.
    """
    train_x, train_y = run.rows("train")
    if has_picture(run, fit):
        plots.pyplot()  # Before any work, as it may not be installed.
    check_positive("energy_limit", fit.energy_limit)
    _check_best(run, fit)
    backups = backup.to_resume(run, fit)
    steps = steps_per_epoch(train_y, fit.batch_size)
    parts, part_steps = _parts(fit, steps)
    devices.check_batch(fit.batch_size, strategy)
    with devices.scope_of(strategy):
        model = build(run.dataset, train_x, model_settings, run.settings.seed)
        check_features(model, run)
        compile_model(model, model_settings, *_span(fit, steps))
        first_part = backup.restore(model, backups)
    index, count = devices.worker_of(strategy)
    check_buffer(model, fit.batch_size)
    batches, _ = training_batches(
        train_x,
        train_y,
        batch_size=fit.batch_size,
        seed=run.settings.seed,
        first_epoch=first_part * part_steps // steps,
        first_step=first_part * part_steps % steps,
        augment=fit.augment,
        keep_plain=not fit.augment_density,
    )
    rows = tf.nest.flatten(batches.element_spec)[0].shape[0]
    if rows != fit.batch_size:
        devices.check_batch(rows, strategy, "half of `batch_size`")
    if count > 1:
        batches = rows_of_worker(batches, rows, index, count)
    validation = validation_batches(run.rows("validation"), fit.batch_size, strategy)
    return Job(
        run,
        model_settings,
        fit,
        model,
        batches,
        validation,
        part_steps,
        parts,
        first_part,
        index == 0,
    )


def _parts(fit, steps) -> tuple[int, int]:
    """How many parts Keras takes for epochs, and the steps of each."""
    if fit.epochs < 1:
        raise ValueError(f"`epochs` must be at least 1. Received: epochs={fit.epochs}.")
    passes, steps = _span(fit, steps)
    if not fit.epoch_steps:
        return passes, steps
    total = passes * steps
    if not 1 <= fit.epoch_steps <= total or total % fit.epoch_steps:
        raise ValueError(
            f"`epoch_steps` must divide the run's {total} steps ({passes} passes "
            f"of {steps}). Received: epoch_steps={fit.epoch_steps}; choose "
            f"{nearest_divisor(total, fit.epoch_steps)}."
        )
    return total // fit.epoch_steps, fit.epoch_steps


def _span(fit, steps) -> tuple[int, int]:
    """`(passes, steps of each)` of the run, which schedules span.

    With `--steps` the passes are as many equal parts as come next to real ones.
    """
    if not fit.steps:
        return fit.epochs, steps
    check_size("steps", fit.steps)
    passes = max(1, round(fit.steps / steps))
    if fit.steps % passes:
        passes = nearest_divisor(fit.steps, passes)
    return passes, fit.steps // passes


def total_steps(fit, train_y) -> int:
    """Steps of the whole run, on training rows with these labels."""
    passes, steps = _span(fit, steps_per_epoch(train_y, fit.batch_size))
    return passes * steps


def nearest_divisor(total: int, wanted: int) -> int:
    """The divisor of `total` that is next to `wanted`."""
    divisors = [n for n in range(1, total + 1) if not total % n]
    return min(divisors, key=lambda n: abs(n - wanted))


def _check_best(run, fit):
    if not fit.keep_best:
        return
    if run.dataset.num_classes < 2:
        raise ValueError(
            "`keep_best` needs classes, whose accuracy tells what is best. Received: "
            f"{run.dataset.name}, which has none; use keep_best=false."
        )
    if not enough_labels(run):
        sys.stderr.write(
            f"keep_best: fewer than {ENOUGH_LABELS} validation rows have labels, so "
            "the last weights are kept\n"
        )


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
        rows: tuple of arrays `(n, ...)`, the parts of a batch.
        batch_size: int.
        strategy: `tf.distribute` strategy or None.
    """
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    shared = len(rows[0]) // replicas * replicas
    rows = tuple(tf.constant(part[:shared]) for part in rows)
    options = tf.data.Options()
    # Each of several workers evaluates all rows, which leaves the means as they are.
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    return batches.with_options(options)


def enough_labels(run) -> bool:
    """Whether the accuracy on validation rows can choose among models."""
    return np.sum(run.rows("validation")[1] >= 0) >= ENOUGH_LABELS


def _keep_best(job):
    # A worker that is not the first has no file of the parts before.
    first = job.first_part if job.is_chief else 0
    return KeepBest(
        job.workdir / backup.BEST, "val_accuracy", "max", initial_epoch=first
    )


def _callbacks(job, watch):
    workdir, fit = job.workdir, job.fit
    callbacks = [stopping.StopWhenAsked(), watch]
    if job.model_settings.ema_momentum:
        callbacks.append(keras.callbacks.SwapEMAWeights())
    callbacks += [
        # Keras streams it; `backup.keep_history` drops what a kill leaves of a row.
        keras.callbacks.CSVLogger(workdir / HISTORY_FILE, append=job.first_part > 0),
        *([_keep_best(job)] if fit.keep_best and enough_labels(job.run) else []),
        backup.EpochBackup(backup.backup_folder(workdir), workdir / HISTORY_FILE),
    ]
    if fit.checkpoint_every:
        callbacks.append(
            KeepCheckpoints(
                workdir / CHECKPOINTS, fit.checkpoint_every, fit.checkpoints
            )
        )
    if fit.verbose == 1:
        callbacks.append(Progress())
    if fit.tensorboard:
        logs = str(workdir / "logs")
        sample = job.model.preprocess(job.run.rows("train")[0][:500])
        callbacks += [
            keras.callbacks.TensorBoard(logs),
            SamplePictures(logs, sample, fit.picture_epochs),
        ]
    return callbacks


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
    folders = getattr(job, "folders", [job.workdir])
    if any(backup.all_backups(backup.backup_folder(folder)) for folder in folders):
        return ["the same command with --resume continues"]
    return []
