"""Prepares the trainings of `keras-ebm train-likelihood`."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_ebm import plots
from keras_ebm.callbacks import KeepBest, StopOnDivergence
from keras_ebm.data.batches import rows_of_worker
from keras_ebm.precision import float32_merges
from keras_ebm.trainers.presets import LIKELIHOOD_PRESETS
from keras_ebm.trainers.program import devices, folders
from keras_ebm.trainers.program.options import setting
from keras_ebm.trainers.report.measures import density_measures
from keras_ebm.trainers.report.pictures import has_picture
from keras_ebm.trainers.run import backup, jobs
from keras_ebm.trainers.run.density_rows import batches_of, dequantised_once, split_rows
from keras_ebm.trainers.run.jobs import Diverged, Job, RunSettings
from keras_ebm.trainers.settings.data import RunData
from keras_ebm.trainers.settings.density import (
    DensitySettings,
    build_density,
    log_likelihood,
)
from keras_ebm.trainers.settings.optimizers import compile_model

VALIDATION_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class StepSettings(RunSettings):
    """How long to train, and what to write."""

    CHOICES = {**RunSettings.CHOICES, "preset": ("", *LIKELIHOOD_PRESETS)}

    SUBJECTS = {
        "steps": "Length and batches",
        "validate_every": "Validation",
        "verbose": "What is written",
    }

    steps: int = setting(3000, "Steps of training.", low=1)
    batch_size: int = setting(100, "Rows of a step, over all replicas.", low=1)
    validate_every: int = setting(
        100,
        "Steps between validations, backups and lines of history. Of nice and mixture "
        "the best weights are kept.",
        low=1,
    )
    verbose: int = setting(
        2, "0 is silent, 2 prints a line a validation.", low=0, high=2
    )


def prepare(
    run: RunData, settings: DensitySettings, fit: StepSettings, strategy=None
) -> Job:
    """Builds a job; writes nothing.

    The model ends with its best weights by validation (a network that is not
    normalised: with its last), and the measures are in nats a row; `seconds` of
    training are among them where the run was not interrupted.

    Args:
        run: `RunData`.
        settings: `DensitySettings`.
        fit: `StepSettings`.
        strategy: `tf.distribute` strategy or None.

    Raises:
        ValueError: if the settings do not fit the data or each other, or there is
            nothing to resume.
    """
    _check(run, fit)
    devices.check_batch(fit.batch_size, strategy)
    backups = backup.to_resume(run, fit)
    rows = split_rows(run)
    with devices.scope_of(strategy):
        model = _compiled(run, rows, settings, fit)
        first_part = backup.restore(model, backups)
    _check_steps(model, fit, first_part)
    index, count = devices.worker_of(strategy)
    jobs.check_buffer(model, fit.batch_size)
    best = _best(model, fit, first_part, index == 0)
    return Job(
        run=run,
        fit=fit,
        model=model,
        batches=_training(run, rows, fit, first_part, index, count),
        validation=_validation(rows, strategy),
        steps=fit.validate_every,
        parts=fit.steps // fit.validate_every,
        first_part=first_part,
        is_chief=index == 0,
        can_calibrate=False,
        watch=StopOnDivergence(),
        callbacks=lambda job: [*([best] if best else []), *job.log_and_backup()],
        settle=lambda job: _settle(job, best),
        settle_stopped=lambda job: best.restore(job.model) if best else None,
        measures=lambda job, seconds: _measures(job, rows, best, seconds),
    )


def _settle(job, best):
    """Refuses a model that diverged before there was a best one."""
    if job.watch.reason and not (best and best.epoch):
        raise Diverged(job.watch.reason)


def _check(run, fit):
    if run.dataset.kind == "table":
        raise ValueError(
            "`dataset` must be of images or of points. Received: the table "
            f"{run.dataset.name}; save its numbers as npz:PATH."
        )
    if run.dataset.kind == "inputs":
        raise ValueError(
            "`dataset` must be of images or of points. Received: "
            f"{run.dataset.name}, whose rows are inputs of a network of your own."
        )
    if run.dataset.kind == "vector":
        _check_spread(run)
    if has_picture(run, fit):
        plots.pyplot()  # Before any work, as it may not be installed.
    if not 1 <= fit.validate_every <= fit.steps:
        raise ValueError(
            "`validate_every` must be between 1 and `steps`. Received: "
            f"validate_every={fit.validate_every}, steps={fit.steps}."
        )


def _check_spread(run):
    """Densities of points are of float32, and infinite where a column is constant."""
    for place, column in enumerate(run.dataset.x.T):
        if float32_merges(column):
            raise ValueError(
                f"`dataset` must have columns that float32 tells apart. Received: "
                f"{run.dataset.name}, whose column {place} (counted from 0) is "
                f"{column[0]:.15g} and the like; subtract its mean."
            )
        if column.min() == column.max():
            raise ValueError(
                "`dataset` must have columns that vary, as a density is infinite on a "
                f"constant. Received: {run.dataset.name}, whose column {place} "
                f"(counted from 0) is always {column[0]:g}; leave it out."
            )


def _compiled(run, rows, settings, fit):
    kind, seed = run.dataset.kind, run.settings.seed
    sample = rows.train
    if kind == "image":
        sample = dequantised_once(sample, np.random.default_rng(seed + 1))
    model = build_density(kind, sample, settings, seed)
    compile_model(model, settings, fit.steps // fit.validate_every, fit.validate_every)
    return model


def _check_steps(model, fit, first_part):
    """Parts of another length would be resumed at another step than they ended."""
    taken = int(model.optimizer.iterations.numpy())
    if taken != first_part * fit.validate_every:
        raise ValueError(
            "`validate_every` must be that of the interrupted run. Received: "
            f"validate_every={fit.validate_every} for {taken} steps in {first_part} "
            f"parts; use {taken // first_part}."
        )


def _training(run, rows, fit, first_part, index, count):
    seed, first_step = run.settings.seed, first_part * fit.validate_every
    batches = batches_of(rows, run.dataset.kind, fit.batch_size, seed, first_step)
    if count > 1:
        batches = rows_of_worker(batches, fit.batch_size, index, count)
    return batches.prefetch(tf.data.AUTOTUNE)


def _validation(rows, strategy):
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    batch_size = VALIDATION_BATCH // replicas * replicas
    return jobs.validation_batches((rows.validation,), batch_size, strategy)


def _best(model, fit, first_part, is_chief):
    if not model.is_normalised:
        return None
    folder = folders.own_folder(fit.workdir, is_chief) / backup.BEST
    # The weights of the other workers are dropped: they may begin without a best.
    return KeepBest(
        folder, "val_data_energy", "min", initial_epoch=first_part if is_chief else 0
    )


def build(dataset, train_x, settings: DensitySettings, seed: int):
    """An uncompiled model for raw rows, as `dry_run` wants it."""
    if dataset.kind == "image":
        train_x = dequantised_once(train_x, np.random.default_rng(seed))
    return build_density(dataset.kind, train_x, settings, seed)


def _measures(job, rows, best, seconds) -> dict:
    model = job.model
    metrics = {} if seconds is None else {"seconds": seconds}
    metrics["num_test"] = len(rows.test)
    if best is not None and best.epoch is not None:
        metrics["best_step"] = best.epoch * job.fit.validate_every
    if model.is_normalised:
        for name in ("validation", "test"):
            value = log_likelihood(model, getattr(rows, name))
            metrics[f"{name}_log_likelihood"] = value
    if job.watch.reason:
        metrics["diverged"] = job.watch.reason
    return metrics | density_measures(model, job.run)
