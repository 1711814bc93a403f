r"""Trains a density by one of many methods, and measures its likelihood.

Run from the top of the checkout:

    python -m trainers.likelihood --dataset=tfds:mnist --data_dir=DIR \\
        --method=maximum_likelihood --workdir=runs/nice
    python -m trainers.likelihood --dataset=toy:rings --network=mlp --method=grid \\
        --workdir=runs/rings

Images become the logits of their dequantised pixels, in which likelihoods are
measured. Labels are not used. A density has no threshold, so of `trainers.vera`'s
split the validation rows are trained on and the calibration rows validate: of
MNIST, 54,000, 6,000 and 10,000.
"""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import files, plots
from keras_ebm.callbacks import KeepBest, StopOnDivergence
from keras_ebm.data.batches import rows_of_worker
from keras_ebm.precision import float32_merges
from trainers.presets import LIKELIHOOD_PRESETS
from trainers.program import (
    devices,
    errors,
    folders,
    json_files,
    options,
    running,
    stopping,
)
from trainers.program.options import FLAGS, Checked, setting
from trainers.report.measures import density_measures
from trainers.report.pictures import PICTURE_FILE, draw_density, has_picture
from trainers.run import backup, defaults, dry_run, jobs
from trainers.run.density_rows import Rows, batches_of, dequantised_once, split_rows
from trainers.run.record import write_record
from trainers.settings import clashes
from trainers.settings.data import DataSettings, RunData, load
from trainers.settings.density import DensitySettings, build_density, log_likelihood
from trainers.settings.optimizers import compile_model

VALIDATION_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class StepSettings(Checked):
    """How long to train, and what to write."""

    CHOICES = {"preset": ("", *LIKELIHOOD_PRESETS), "strategy": jobs.STRATEGIES}

    preset: str = setting(
        "", "A recipe for all other flags; those that are passed override it."
    )
    workdir: str = setting("", "Folder of the run; created if absent.")
    steps: int = setting(3000, "Steps of training.", low=1)
    batch_size: int = setting(100, "Rows a step.", low=1)
    strategy: str = setting(
        "none",
        "mirrored: one replica on each GPU; multiworker: on those of every machine "
        "in TF_CONFIG.",
    )
    resume: bool = setting(False, "Continue the interrupted run in --workdir.")
    auto_resume: bool = setting(
        False, "Continue it if there is one, else begin: for jobs that get restarted."
    )
    validate_every: int = setting(
        100,
        "Steps between validations, backups and lines of history; the best weights "
        "are kept, of nice and mixture.",
        low=1,
    )
    picture: bool = setting(
        True, "Draw density.png: energies, data and samples of a 2-D run."
    )
    dry_run: bool = setting(
        False,
        "Build the model, take one step on random rows, print weights and operations.",
    )
    verbose: int = setting(2, "0: silent, 2: a line a validation.", low=0, high=2)


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that has to be right before training starts.

    `first_part` validations lie behind it, of a run that is continued; `best` is
    None where no validation can tell one energy from another.
    """

    run: RunData
    fit: StepSettings
    model: keras.Model
    rows: Rows
    batches: tf.data.Dataset
    validation: tf.data.Dataset
    best: KeepBest | None
    first_part: int = 0
    is_chief: bool = True

    @property
    def workdir(self) -> Path:
        """The run's folder; a worker that is not the first writes to one aside."""
        return folders.own_folder(self.fit.workdir, self.is_chief)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do, as `auto_resume` found a finished run."""
        return backup.is_done(self.fit)

    def perform(self):
        """Trains, saves and measures what `prepare` built.

        Returns:
            `(model, metrics)`: the model with its best weights by validation (a
            network that is not normalised: its last), and the measures that
            `metrics.json` holds, in nats a row; `seconds` of training are among
            them where the run was not interrupted. Of a run that is done, what it
            saved.

        Raises:
            RuntimeError: if training diverged, and no weights from before are kept.
            KeyboardInterrupt: after saving the model, if training was interrupted.
        """
        if self.is_done:
            return backup.finished(self.fit)
        model, workdir = self.model, self.workdir
        files.make_folder(workdir)
        if not self.first_part:
            backup.begin(workdir)
            write_record(self.run, backup.backup_folder(workdir), can_calibrate=False)
        watch, path = StopOnDivergence(), workdir / folders.MODEL_FILE
        restore = [] if self.best is None else [self.best.restore]
        with jobs.saving_if_stopped(self, *restore, can_calibrate=False):
            seconds = _fit(self, watch)
        if watch.reason and not (self.best and self.best.epoch):
            raise RuntimeError(watch.reason)
        jobs.save_run(self, can_calibrate=False)
        with stopping.noting(f"{path} is saved"):
            metrics = {} if self.first_part else {"seconds": seconds}
            metrics |= _measures(self, watch)
            json_files.write_json(workdir / backup.METRICS_FILE, metrics)
            if has_picture(self.run, self.fit):
                draw_density(model, self.run, workdir / PICTURE_FILE)
            backup.clear_all(workdir)
        return model, metrics


def prepare(
    run: RunData, settings: DensitySettings, fit: StepSettings, strategy=None
) -> Job:
    """Builds a job; writes nothing.

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
    return Job(
        run,
        fit,
        model,
        rows,
        _training(run, rows, fit, first_part * fit.validate_every, index, count),
        _validation(rows, strategy),
        _best(model, fit, first_part, index == 0),
        first_part,
        index == 0,
    )


def _check(run, fit):
    if run.dataset.kind == "table":
        raise ValueError(
            "`dataset` must be of images or of points. Received: the table "
            f"{run.dataset.name}; save its numbers as npz:PATH."
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


def _training(run, rows, fit, first_step, index, count):
    seed = run.settings.seed
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


def train(run: RunData, settings: DensitySettings, fit: StepSettings, strategy=None):
    """Trains, saves and measures one density; see `prepare` and `Job`."""
    return prepare(run, settings, fit, strategy).perform()


def _fit(job, watch) -> float:
    """Trains; returns the seconds that it took."""
    fit, history = job.fit, job.workdir / jobs.HISTORY_FILE
    backup.keep_history(history, job.first_part)
    start = time.perf_counter()
    job.model.fit(
        job.batches,
        initial_epoch=job.first_part,
        epochs=fit.steps // fit.validate_every,
        steps_per_epoch=fit.validate_every,
        validation_data=job.validation,
        callbacks=[
            stopping.StopWhenAsked(),
            watch,
            *([job.best] if job.best is not None else []),
            keras.callbacks.CSVLogger(history, append=job.first_part > 0),
            backup.EpochBackup(backup.backup_folder(job.workdir), history),
        ],
        shuffle=False,
        verbose=fit.verbose,
    )
    return time.perf_counter() - start


def _measures(job, watch) -> dict:
    model, rows = job.model, job.rows
    metrics = {"num_test": len(rows.test)}
    if job.best is not None and job.best.epoch is not None:
        metrics["best_step"] = job.best.epoch * job.fit.validate_every
    if model.is_normalised:
        for name in ("validation", "test"):
            value = log_likelihood(model, getattr(rows, name))
            metrics[f"{name}_log_likelihood"] = value
    if watch.reason:
        metrics["diverged"] = watch.reason
    return metrics | density_measures(model, job.run)


def _settings():
    return options.from_flags(StepSettings), options.from_flags(DensitySettings)


def _adapt(run, strategy):
    """Changes defaults that the rows, or the flags that were passed, do not allow."""
    count = sum(len(run.rows(part)[0]) for part in ("train", "validation"))
    defaults.adapt_batch(np.full(count, -1), strategy)
    defaults.adapt_buffer()
    if FLAGS.steps > 0 and FLAGS.validate_every > FLAGS.steps:
        defaults.adapt("validate_every", FLAGS.steps, "there are no more steps")


def main(argv: list[str]) -> None:
    del argv
    options.apply_preset(LIKELIHOOD_PRESETS)
    options.require("dataset")
    clashes.check([*clashes.DATA, *clashes.TRAINING, *clashes.LIKELIHOOD])
    data_settings = options.from_flags(DataSettings)
    if FLAGS.dry_run:
        fit, settings = _settings()
        dry_run.report(data_settings, settings, fit, build)
        return
    folders.require_folder("workdir")
    folders.check_workdir(FLAGS.dataset)
    with errors.usage_errors():
        strategy = devices.make_strategy(FLAGS.strategy)
        run = load(data_settings)
        _adapt(run, strategy)
        fit, settings = _settings()
        job = prepare(run, settings, fit, strategy)
    jobs.run_job("likelihood", job)


def program() -> None:
    """Defines the flags and runs `main`."""
    for settings_class in (DataSettings, DensitySettings, StepSettings):
        options.define_flags(settings_class)
    running.run_program(main)


if __name__ == "__main__":
    program()
