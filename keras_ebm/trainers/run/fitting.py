"""Prepares the trainings of `keras-ebm train-vera` and `keras-ebm train-langevin`."""

import dataclasses
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import plots
from keras_ebm.arguments import check_positive, check_size
from keras_ebm.callbacks import (
    Doctor,
    EntropyWatch,
    KeepBest,
    KeepCheckpoints,
    LabelWatch,
    Progress,
    ReadingGuide,
    SamplePictures,
    StopOnDivergence,
    doctor_measures,
)
from keras_ebm.callbacks.agreement_watch import TOLERANCES, WATCHED
from keras_ebm.data.batches import (
    AUGMENTATIONS,
    rows_of_worker,
    steps_per_epoch,
    training_batches,
)
from keras_ebm.estimators.pseudo_labels import PSEUDO_LABELS
from keras_ebm.rows import as_rows, take, tensors
from keras_ebm.trainers.program import devices
from keras_ebm.trainers.program.options import setting
from keras_ebm.trainers.report.measures import measure
from keras_ebm.trainers.report.pictures import has_picture
from keras_ebm.trainers.run import backup, jobs, without_labels
from keras_ebm.trainers.run.class_shares import (
    CLASS_SHARES,
    answer_by_shares,
    check_shares,
)
from keras_ebm.trainers.run.jobs import (
    ENOUGH_LABELS,
    Diverged,
    Job,
    RunSettings,
    enough_labels,
)
from keras_ebm.trainers.settings.data import RunData, check_features
from keras_ebm.trainers.settings.optimizers import OptimizerSettings, compile_model

CHECKPOINTS = "checkpoints"
#: Steps between two looks of the doctor, at least, which keep its cost small.
DOCTOR_STEPS = 100


@dataclasses.dataclass(frozen=True)
class FitSettings(RunSettings):
    """How long to train, on what, and what to write."""

    CHOICES = {
        **RunSettings.CHOICES,
        "augment": AUGMENTATIONS,
        "class_shares": CLASS_SHARES,
        "pseudo_labels": PSEUDO_LABELS,
        "stop_without_labels": without_labels.STOPS,
        "doctor": ("off", "watch", "rollback"),
    }

    SUBJECTS = {
        "method": "Run",
        "epochs": "Length and batches",
        "validate_every": "Validation",
        "tensorboard": "What is written",
    }

    method: str = setting(
        "", "What is asked of rows without labels. It sets the flags that say so."
    )
    epochs: int = setting(60, "Passes over the training rows.", low=1)
    steps: int = setting(
        0, "Steps in all, in place of --epochs. 0 counts passes.", low=0
    )
    batch_size: int = setting(64, "Rows of a step, over all replicas.", low=1)
    plain_epochs: int = setting(
        0,
        "Passes of the cross-entropy alone that the run begins with; energies are "
        "trained after them. Chains walk and a generator learns in them too.",
        low=0,
    )
    augment: str = setting(
        "none", "Moves training images by some pixels, or mirrors half of them too."
    )
    augment_density: bool = setting(
        True, "Shows the energy the moved images too, and not only the cross-entropy."
    )
    validate_every: int = setting(
        0,
        "Steps between validations, backups and lines of history. 0 is one pass.",
        low=0,
    )
    keep_best: bool = setting(
        False,
        "Ends with the weights of the best validation accuracy, looked at every "
        "--validate_every. Not where fewer than 20 validation rows have labels.",
    )
    stop_without_labels: str = setting(
        "none",
        "Ends with the weights whose answers on training rows without labels agree, "
        "looked at every --validate_every: the last that agree within .05 of the most "
        "with those of the averages of the weights (agreement), or those that agree "
        "most with the answers on the nearest rows (graph).",
    )
    fit_temperature: bool = setting(
        True,
        "Fits the temperature and the lapse rate of the probabilities to the "
        "validation rows. Not where fewer than 20 of them have labels.",
    )
    pseudo_labels: str = setting(
        "none",
        "Labels of training rows without one, which are trained on beside the true "
        "ones: as these spread over a graph of neighbours (label_spreading), or so "
        "only where labelled rows left out are answered better by it than by a kernel "
        "classifier (auto).",
    )
    spread_weight: float = setting(
        1.0, "Weight of their cross-entropy, beside that of the true labels.", above=0
    )
    class_shares: str = setting(
        "labelled",
        "How common the classes are taken to be in answers: as among the labels of "
        "training (labelled), as counted among the validation rows if 20 of them have "
        "labels (counted), or as training rows without a label look (estimated). No "
        "change where all training rows have labels.",
    )
    tensorboard: bool = setting(True, "Writes TensorBoard logs with pictures.")
    picture_epochs: int = setting(10, "Epochs between TensorBoard pictures.", low=1)
    checkpoint_every: int = setting(
        0, "Steps between checkpoints that are kept for sampling. 0 keeps none.", low=0
    )
    checkpoints: int = setting(
        10, "How many checkpoints are kept, the latest ones.", low=1
    )
    energy_limit: float = setting(
        1e6, "Nats from 0 at which a mean energy counts as diverged.", above=0
    )
    doctor: str = setting(
        "watch",
        "Names the state of the run in history.csv and doctor.json, and warns of what "
        "is wrong and what to change (watch); or goes back to the last healthy weights "
        "at lower rates as well, twice at most (rollback).",
    )
    verbose: int = setting(
        1,
        "0 is silent, 1 shows one progress bar, 2 prints a line an epoch.",
        low=0,
        high=2,
    )


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
    without_labels.check(run, fit, model_settings.ema_momentum > 0.0)
    if fit.class_shares == "estimated":
        check_shares(run)
    backups = backup.to_resume(run, fit)
    steps = steps_per_epoch(train_y, fit.batch_size)
    parts, part_steps = _parts(fit, steps)
    devices.check_batch(fit.batch_size, strategy)
    with devices.scope_of(strategy):
        model = build(run.dataset, train_x, model_settings, run.settings.seed)
        check_features(model, run)
        if fit.plain_epochs:
            model.set_plain_steps(_plain_steps(model, fit, steps))
        compile_model(model, model_settings, *_span(fit, steps))
        first_part = backup.restore(model, backups)
    jobs.check_buffer(model, fit.batch_size)
    names = ("data_energy", "negative_energy")
    return Job(
        run=run,
        fit=fit,
        model=model,
        batches=_training(
            _taken(run, "train", model),
            run.settings.seed,
            fit,
            first_part * part_steps,
            steps,
            strategy,
            without_labels.guessed_labels(model, run, fit),
        ),
        validation=jobs.validation_batches(
            _taken(run, "validation", model), fit.batch_size, strategy
        ),
        steps=part_steps,
        parts=parts,
        first_part=first_part,
        is_chief=devices.worker_of(strategy)[0] == 0,
        watch=StopOnDivergence(dict.fromkeys(names, fit.energy_limit)),
        callbacks=lambda job: _callbacks(job, model_settings.ema_momentum > 0.0),
        settle=_settle,
        measures=lambda job, seconds: measure(job.model, job.run),
    )


def _taken(run, part: str, model) -> tuple:
    """`(x, y)` of a part as the model takes them: several inputs by their names."""
    x, y = run.rows(part)
    if run.dataset.kind == "inputs":
        x = as_rows(x, run.dataset.name, model.raw_spec())
    return x, y


def _training(rows, seed, fit, first_step, steps, strategy, guessed=None):
    """Batches from a step on, of this worker's rows."""
    batches, _ = training_batches(
        *rows,
        batch_size=fit.batch_size,
        seed=seed,
        first_epoch=first_step // steps,
        first_step=first_step % steps,
        augment=fit.augment,
        keep_plain=not fit.augment_density,
        guessed=guessed,
        guessed_weight=fit.spread_weight,
    )
    rows = tf.nest.flatten(batches.element_spec)[0].shape[0]
    if rows != fit.batch_size:
        devices.check_batch(rows, strategy, "half of `batch_size`")
    index, count = devices.worker_of(strategy)
    return rows_of_worker(batches, rows, index, count) if count > 1 else batches


def _settle(job):
    """Refuses a model that diverged, and fits how sure it sounds."""
    if job.watch.reason:
        raise Diverged(job.watch.reason)
    has_classes = job.model.num_classes > 1
    if job.fit.class_shares != "labelled" and has_classes:
        answer_by_shares(job.model, job.run, job.fit.class_shares)
    if job.fit.fit_temperature and has_classes and enough_labels(job.run):
        job.model.fit_temperature(*job.run.rows("validation"))


def _parts(fit, steps) -> tuple[int, int]:
    """How many parts Keras takes for epochs, and the steps of each."""
    if fit.epochs < 1:
        raise ValueError(f"`epochs` must be at least 1. Received: epochs={fit.epochs}.")
    passes, steps = _span(fit, steps)
    if not fit.validate_every:
        return passes, steps
    total = passes * steps
    if not 1 <= fit.validate_every <= total or total % fit.validate_every:
        raise ValueError(
            f"`validate_every` must divide the run's {total} steps ({passes} passes "
            f"of {steps}). Received: validate_every={fit.validate_every}; choose "
            f"{nearest_divisor(total, fit.validate_every)}."
        )
    return total // fit.validate_every, fit.validate_every


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


def _plain_steps(model, fit, steps: int) -> int:
    """Steps of `plain_epochs`.

    Raises:
        ValueError: if there are no classes, or no step of the energy would be left.
    """
    if model.num_classes < 2:
        raise ValueError(
            "`plain_epochs` needs classes, as it trains by the cross-entropy alone. "
            f"Received: plain_epochs={fit.plain_epochs} for a model of one output; "
            "leave it out."
        )
    passes, steps_of_each = _span(fit, steps)
    plain, total = fit.plain_epochs * steps, passes * steps_of_each
    if plain >= total:
        raise ValueError(
            f"`plain_epochs` must be shorter than the run of {total} steps, as "
            f"energies are trained after it. Received: plain_epochs={fit.plain_epochs} "
            f"of {steps} steps each; lower it, or train a plain classifier by "
            "negatives=none."
        )
    return plain


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


def _watched(job) -> int:
    """Samples by which labels are watched in each epoch."""
    return getattr(job.fit, "watch_labels", 0)


def _label_watch(job):
    if not _watched(job):
        return []
    x, y = _taken(job.run, "validation", job.model)
    rows = np.flatnonzero(y >= 0)
    if not len(rows):
        raise ValueError(
            "`watch_labels` needs validation rows with labels. Received: none."
        )
    return [LabelWatch(take(x, rows), y[rows], _watched(job))]


def _keeps_best(job) -> bool:
    by_labels = job.fit.keep_best and enough_labels(job.run)
    return by_labels or job.fit.stop_without_labels != "none"


def _watches(job) -> list:
    """The doctor, or without it the watch over the entropy, which it has in it."""
    if job.fit.doctor == "off":
        return [EntropyWatch()]
    x, _ = _taken(job.run, "train", job.model)
    return [
        Doctor(
            take(x, slice(doctor_measures.ROWS)),
            every=DOCTOR_STEPS if job.steps < DOCTOR_STEPS else 0,
            rollback=job.fit.doctor == "rollback",
            path=job.workdir / backup.DOCTOR_FILE,
            initial_epoch=job.first_part,
            watch=job.watch,
        )
    ]


def _keep_best(job):
    # A worker that is not the first has no file of the parts before.
    first = job.first_part if job.is_chief else 0
    monitor = "sample_label_accuracy" if _watched(job) else "val_accuracy"
    watched = job.fit.stop_without_labels
    return KeepBest(
        job.workdir / backup.BEST,
        WATCHED.get(watched, monitor),
        "max",
        initial_epoch=first,
        tolerance=TOLERANCES.get(watched, 0.0),
    )


def _callbacks(job, has_averages):
    workdir, fit = job.workdir, job.fit
    logger, backups = job.log_and_backup()
    callbacks = [
        *([keras.callbacks.SwapEMAWeights()] if has_averages else []),
        # Before whatever reads its logs.
        *_label_watch(job),
        *without_labels.agreement_watch(job.run, fit),
        *_watches(job),
        logger,
        *([_keep_best(job)] if _keeps_best(job) else []),
        backups,
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
        x = tensors(take(_taken(job.run, "train", job.model)[0], slice(500)))
        sample = job.model.preprocess(x)
        callbacks += [
            keras.callbacks.TensorBoard(logs),
            ReadingGuide(logs),
            SamplePictures(logs, sample, fit.picture_epochs),
        ]
    return callbacks
