r"""Trains an energy model against a generator (VERA), and what it compares to.

Run from the top of the checkout:

    python -m trainers.vera --dataset=digits --workdir=runs/digits
    python -m trainers.vera --dataset=csv:table.csv --workdir=runs/table
    python -m trainers.vera --dataset=toy:rings --workdir=runs/rings
"""

import contextlib
import dataclasses
import shutil
import sys
from pathlib import Path

import keras
import tensorflow as tf
from absl import flags

from keras_ebm.callbacks import SamplePictures, StopOnDivergence
from keras_ebm.data.batches import training_batches
from trainers import common
from trainers.build import ModelSettings, build_model, compile_model
from trainers.common import setting
from trainers.data import DataSettings, RunData, load, record
from trainers.measures import measure

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How long to train, on what, and what to write."""

    CHOICES = {"strategy": ("none", "mirrored")}

    workdir: str = setting("", "Folder of the run; created if absent.")
    epochs: int = setting(60, "Passes over the training rows.")
    batch_size: int = setting(64, "Rows a step, over all replicas.")
    strategy: str = setting("none", "mirrored: one replica on each GPU.")
    resume: bool = setting(False, "Continue the interrupted run in --workdir.")
    tensorboard: bool = setting(True, "Write TensorBoard logs with pictures.")
    picture_epochs: int = setting(10, "Epochs between pictures.")
    verbose: int = setting(1, "0: silent, 1: progress bar, 2: a line an epoch.")


def define_flags() -> None:
    for settings in (DataSettings, ModelSettings, FitSettings):
        common.define_flags(settings)


def train(
    run: RunData, model_settings: ModelSettings, fit: FitSettings, strategy=None
) -> tuple[keras.Model, dict]:
    """Trains, saves and measures one model.

    Args:
        run: `RunData`, the split data.
        model_settings: `ModelSettings`.
        fit: `FitSettings`; `workdir` must exist.
        strategy: `tf.distribute` strategy or None.

    Returns:
        `(model, metrics)`: the trained model and the flat measures on the
        test split that `metrics.json` holds.

    Raises:
        ValueError: before training, if the settings do not fit the data.
        RuntimeError: if training diverged.
        KeyboardInterrupt: after saving the model, if training was interrupted.
    """
    workdir = Path(fit.workdir)
    train_x, train_y = run.rows("train")
    first_epoch = _first_epoch(workdir, fit.resume)
    batches, steps = training_batches(
        train_x,
        train_y,
        batch_size=fit.batch_size,
        seed=run.settings.seed,
        first_epoch=first_epoch,
    )
    if strategy is not None and fit.batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            "`batch_size` must be a multiple of the number of replicas. Received: "
            f"batch_size={fit.batch_size} for {strategy.num_replicas_in_sync}."
        )
    with _scope(strategy):
        model = build_model(run.dataset, train_x, model_settings, run.settings.seed)
        compile_model(model, model_settings, fit.epochs, steps)
    record(run, workdir)
    watch = StopOnDivergence()
    try:
        model.fit(
            batches,
            epochs=fit.epochs,
            steps_per_epoch=steps,
            validation_data=_validation(run, fit.batch_size, strategy),
            callbacks=_callbacks(model, run, model_settings, fit, watch),
            shuffle=False,
            verbose=fit.verbose,
        )
    except KeyboardInterrupt:
        model.save(workdir / common.MODEL_FILE)
        raise
    if watch.reason:
        raise RuntimeError(watch.reason)
    model.save(workdir / common.MODEL_FILE)
    metrics = measure(model, run)
    common.write_json(workdir / "metrics.json", metrics)
    return model, metrics


def _scope(strategy):
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _backup_folder(workdir: Path) -> Path:
    return workdir / "backup"


def _first_epoch(workdir: Path, resume: bool) -> int:
    """Epoch that training starts at; clears what an earlier run left behind."""
    state = _backup_folder(workdir) / "training_metadata.json"
    if not resume:
        shutil.rmtree(_backup_folder(workdir), ignore_errors=True)
        return 0
    if not state.is_file():
        raise ValueError(
            "`resume` needs an interrupted run in `workdir`. Received: "
            f"workdir={workdir}, where none is to be continued; leave --resume out."
        )
    return common.read_json(state)["epoch"]


def _validation(run, batch_size, strategy):
    """Validation batches; replicas get equal shares, so a few rows may be left out."""
    x, y = run.rows("validation")
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    rows = len(x) // replicas * replicas
    x, y = tf.constant(x[:rows]), tf.constant(y[:rows])
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)


def _callbacks(model, run, model_settings, fit, watch):
    workdir = Path(fit.workdir)
    callbacks = [watch]
    if model_settings.ema_momentum:
        callbacks.append(keras.callbacks.SwapEMAWeights())
    callbacks += [
        keras.callbacks.CSVLogger(workdir / "history.csv", append=fit.resume),
        keras.callbacks.BackupAndRestore(
            str(_backup_folder(workdir)), double_checkpoint=True
        ),
    ]
    if fit.tensorboard:
        logs = str(workdir / "logs")
        sample = model.preprocess(run.rows("train")[0][:500])
        callbacks += [
            keras.callbacks.TensorBoard(logs),
            SamplePictures(logs, sample, fit.picture_epochs),
        ]
    return callbacks


def main(argv: list[str]) -> None:
    del argv
    common.require("dataset")
    workdir = common.start_run(common.require("workdir"))
    fit = common.from_flags(FitSettings)
    with common.usage_errors():
        strategy = common.make_strategy(fit.strategy)
        run = load(common.from_flags(DataSettings))
    try:
        with common.usage_errors():
            _, metrics = train(run, common.from_flags(ModelSettings), fit, strategy)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\ninterrupted: {workdir / common.MODEL_FILE} is saved; the same "
            "command with --resume continues\n"
        )
        sys.exit(130)
    for name, value in metrics.items():
        print(
            f"{name:10s} {value:.4f}"
            if isinstance(value, float)
            else f"{name:10s} {value}"
        )


if __name__ == "__main__":
    define_flags()
    common.run_program(main)
