"""Builds a run's model, takes one step on made-up rows, and says what it costs."""

import dataclasses
import time
import warnings

import numpy as np
import tensorflow as tf

from keras_ebm import data
from keras_ebm.rows import as_rows, take, tensors
from keras_ebm.trainers.program import errors
from keras_ebm.trainers.run.flops import step_flops
from keras_ebm.trainers.settings.data import DataSettings, RunData, load
from keras_ebm.trainers.settings.networks import NetworkSettings
from keras_ebm.trainers.settings.optimizers import compile_model
from keras_ebm.trainers.settings.starting import build_body

#: Shape, classes and training rows of data sets whose files a dry run does without.
KNOWN = {
    "tfds:mnist": ((28, 28, 1), 10, 60_000),
    "tfds:cifar10": ((32, 32, 3), 10, 50_000),
    "tfds:cifar100": ((32, 32, 3), 100, 50_000),
    "tfds:imagenet_resized/32x32": ((32, 32, 3), 1000, 1_281_167),
    "tfds:imagenet2012@128": ((128, 128, 3), 1000, 1_281_167),
    "tfds:dsprites#label_shape": ((64, 64, 1), 3, 737_280),
    "stacked:mnist": ((28, 28, 3), 0, 60_000),
    "stacked:mnist@64": ((64, 64, 3), 0, 60_000),
}
ROWS = 2
#: Rows whose features by a frozen body scale those of the others.
SEEN = 16


def synthetic(settings: DataSettings) -> RunData:
    """A few random rows of the shape of the settings' data set.

    Sets that are not in `KNOWN` are loaded, and their own first rows taken.
    """
    if settings.dataset not in KNOWN:
        return load(settings)
    shape, num_classes, _ = KNOWN[settings.dataset]
    rng = np.random.default_rng(settings.seed)
    names = tuple(str(i) for i in range(num_classes))
    x = rng.integers(0, 256, (40, *shape), dtype=np.uint8)
    y = rng.integers(0, num_classes, len(x)) if num_classes else np.full(len(x), -1)
    made = data.Dataset(x, y, "image", names, name=settings.dataset)
    with warnings.catch_warnings():
        # Of classes that so few rows lack: nothing is learned from these.
        warnings.simplefilter("ignore", UserWarning)
        splits = data.make_splits(made, seed=settings.seed)
    return RunData(made, splits, settings)


def dry_run(data_settings, model_settings, fit, build) -> dict:
    """Builds a model, compiles it and trains it on two rows.

    Args:
        data_settings: `DataSettings`.
        model_settings: settings that `build` takes.
        fit: `FitSettings`, whose batch the costs are for.
        build: see `fitting.prepare`.

    Returns:
        Dict: `parameters` of the energy network (`generator_parameters`), `loss`,
        floating-point operations of a row and a step, seconds of two rows.

    Raises:
        ValueError: if the settings do not fit the data or each other.
    """
    run = synthetic(data_settings)
    x, y = run.rows("train")
    body = None
    if isinstance(model_settings, NetworkSettings):
        body = build_body(model_settings, run.dataset)
    if body is not None:
        x = body(tensors(take(x, slice(SEEN))), training=False).numpy()
        seen = dataclasses.replace(run.dataset, x=x, y=y[:SEEN], kind="vector")
        run = dataclasses.replace(run, dataset=seen)
    model = build(run.dataset, x, model_settings, data_settings.seed)
    compile_model(model, model_settings, 1, 1)
    if run.dataset.kind == "inputs":
        x = as_rows(x, "dataset", model.raw_spec())
    x, y = tensors(take(x, slice(ROWS))), tf.constant(y[:ROWS].astype(np.int32))
    result = {"parameters": model.network.count_params()}
    if model.generator is not None:
        result["generator_parameters"] = model.generator.count_params()
    flops = step_flops(model, x, y)
    start = time.perf_counter()
    logs = model.train_on_batch(x, y, return_dict=True)
    seconds = time.perf_counter() - start
    loss = float(logs["loss"])
    if not np.isfinite(loss):
        raise ValueError(f"The first step's loss is not finite. Received: {loss}.")
    flops["flops_step_of_batch"] = flops["flops_step"] * fit.batch_size
    return {**result, **flops, "loss": loss, "seconds_for_2_rows": seconds}


def report(data_settings, model_settings, fit, build) -> None:
    """The programs' `--dry_run`: prints one figure a line."""
    with errors.usage_errors():
        result = dry_run(data_settings, model_settings, fit, build)
    for name, value in result.items():
        text = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
        print(f"{name:22s} {text}")
