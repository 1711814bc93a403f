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
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import plots
from keras_ebm.callbacks import StopOnDivergence
from keras_ebm.data.batches import training_batches
from trainers import common, dry_run
from trainers.common import setting
from trainers.data import DataSettings, RunData, load, record
from trainers.density import (
    DensitySettings,
    build_density,
    dequantise,
    log_likelihood,
)
from trainers.measures import density_measures
from trainers.optimizers import compile_model
from trainers.pictures import PICTURE_FILE, draw_density, has_picture
from trainers.presets import LIKELIHOOD_PRESETS

STRATEGIES = ("none", "mirrored")


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """How long to train, and what to write."""

    CHOICES = {"preset": ("", *LIKELIHOOD_PRESETS), "strategy": STRATEGIES}

    preset: str = setting(
        "", "A recipe for all other flags; those that are passed override it."
    )
    workdir: str = setting("", "Folder of the run; created if absent.")
    steps: int = setting(3000, "Steps of training.")
    batch_size: int = setting(100, "Rows a step.")
    strategy: str = setting("none", "mirrored: one replica on each GPU.")
    validate_every: int = setting(
        100,
        "Steps between validations; the best weights are kept, of nice and mixture.",
    )
    picture: bool = setting(
        True, "Draw density.png: energies, data and samples of a 2-D run."
    )
    dry_run: bool = setting(
        False,
        "Build the model, take one step on random rows, print weights and operations.",
    )
    verbose: int = setting(2, "0: silent, 2: a line a validation.")


@dataclasses.dataclass(frozen=True)
class Rows:
    """Raw training rows; validation and test rows dequantised once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(run: RunData) -> Rows:
    """The rows of a run as a density is trained on them; see the module."""
    train = np.concatenate([run.rows("train")[0], run.rows("validation")[0]])
    parts = [run.rows("calibration")[0], run.rows("test")[0]]
    if run.dataset.kind == "image":
        rng = np.random.default_rng(run.settings.seed)
        parts = [_dequantised(x, rng) for x in parts]
    return Rows(train, *parts)


def _dequantised(x, rng) -> np.ndarray:
    return np.asarray(dequantise(x, rng.random(x.shape, dtype=np.float32)))


def batches_of(rows: Rows, kind: str, batch_size: int, seed: int):
    """Endless training batches; images get fresh noise at every step."""
    labels = np.full(len(rows.train), -1, np.int64)
    batches, _ = training_batches(rows.train, labels, batch_size=batch_size, seed=seed)
    if kind != "image":
        return batches.map(lambda x, _: x)

    def add_noise(step, row):
        key = tf.stack([tf.constant(seed, tf.int64), step])
        uniform = tf.random.stateless_uniform(tf.shape(row[0]), key, alg="philox")
        return dequantise(row[0], uniform)

    return batches.enumerate().map(add_noise)


def prepare(run: RunData, settings: DensitySettings, fit: StepSettings, strategy=None):
    """`(model, rows)`, compiled, before anything is trained or written.

    Args:
        run: `RunData`.
        settings: `DensitySettings`.
        fit: `StepSettings`.
        strategy: `tf.distribute` strategy or None.

    Raises:
        ValueError: if the settings do not fit the data or each other.
    """
    if run.dataset.kind == "table":
        raise ValueError(
            "`dataset` must be of images or of points. Received: the table "
            f"{run.dataset.name}; save its numbers as npz:PATH."
        )
    if has_picture(run, fit):
        plots.pyplot()  # Before any work, as it may not be installed.
    if not 1 <= fit.validate_every <= fit.steps:
        raise ValueError(
            "`validate_every` must be between 1 and `steps`. Received: "
            f"validate_every={fit.validate_every}, steps={fit.steps}."
        )
    rows = split_rows(run)
    sample = rows.train
    if run.dataset.kind == "image":
        sample = _dequantised(sample, np.random.default_rng(run.settings.seed + 1))
    common.check_batch(fit.batch_size, strategy)
    epochs = fit.steps // fit.validate_every
    with common.scope_of(strategy):
        model = build_density(run.dataset.kind, sample, settings, run.settings.seed)
        compile_model(model, settings, epochs, fit.validate_every)
    return model, rows


def build(dataset, train_x, settings: DensitySettings, seed: int):
    """An uncompiled model for raw rows, as `dry_run` wants it."""
    if dataset.kind == "image":
        train_x = _dequantised(train_x, np.random.default_rng(seed))
    return build_density(dataset.kind, train_x, settings, seed)


def train(run: RunData, settings: DensitySettings, fit: StepSettings, strategy=None):
    """Trains, saves and measures one density; see `prepare` and `perform`."""
    return perform(run, fit, *prepare(run, settings, fit, strategy))


def perform(run: RunData, fit: StepSettings, model, rows: Rows):
    """Trains, saves and measures what `prepare` built.

    Returns:
        `(model, metrics)`: the model with its best weights by validation (a
        network that is not normalised: its last), and the measures that
        `metrics.json` holds.
    """
    workdir = Path(fit.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    record(run, workdir, can_calibrate=False)
    kind, seed = run.dataset.kind, run.settings.seed
    watch = StopOnDivergence()
    best = keras.callbacks.EarlyStopping(
        "val_data_energy", patience=fit.steps, mode="min", restore_best_weights=True
    )
    callbacks = [*([best] if model.is_normalised else []), watch]
    callbacks += [keras.callbacks.CSVLogger(workdir / "history.csv")]
    replicas = model.distribute_strategy.num_replicas_in_sync
    shared = len(rows.validation) // replicas * replicas  # Equal shares of replicas.
    validation = tf.data.Dataset.from_tensor_slices(rows.validation[:shared])
    validation = validation.batch(1000)
    start = time.perf_counter()
    model.fit(
        batches_of(rows, kind, fit.batch_size, seed).prefetch(tf.data.AUTOTUNE),
        epochs=fit.steps // fit.validate_every,
        steps_per_epoch=fit.validate_every,
        validation_data=validation,
        callbacks=callbacks,
        shuffle=False,
        verbose=fit.verbose,
    )
    seconds = time.perf_counter() - start
    metrics = {"seconds": seconds, "num_test": len(rows.test)}
    if model.is_normalised:
        metrics["best_step"] = (best.best_epoch + 1) * fit.validate_every
        for name in ("validation", "test"):
            value = log_likelihood(model, getattr(rows, name))
            metrics[f"{name}_log_likelihood"] = value
    elif watch.reason:
        raise RuntimeError(watch.reason)
    if watch.reason:
        metrics["diverged"] = watch.reason
    model.save(workdir / common.MODEL_FILE)
    metrics |= density_measures(model, run)
    common.write_json(workdir / "metrics.json", metrics)
    if has_picture(run, fit):
        draw_density(model, run, workdir / PICTURE_FILE)
    return model, metrics


def main(argv: list[str]) -> None:
    del argv
    common.apply_preset(LIKELIHOOD_PRESETS)
    common.require("dataset")
    fit = common.from_flags(StepSettings)
    if fit.dry_run:
        settings = common.from_flags(DensitySettings)
        dry_run.report(common.from_flags(DataSettings), settings, fit, build)
        return
    workdir = common.require_folder("workdir")
    with common.usage_errors():
        strategy = common.make_strategy(fit.strategy)
        run = load(common.from_flags(DataSettings))
        model, rows = prepare(run, common.from_flags(DensitySettings), fit, strategy)
    common.start_run(workdir)
    try:
        _, metrics = perform(run, fit, model, rows)
    except RuntimeError as error:
        sys.stderr.write(f"likelihood: error: {error}\n")
        sys.exit(1)
    common.print_metrics(metrics)


def program() -> None:
    """Defines the flags and runs `main`."""
    for settings_class in (DataSettings, DensitySettings, StepSettings):
        common.define_flags(settings_class)
    common.run_program(main)


if __name__ == "__main__":
    program()
