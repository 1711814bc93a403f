r"""Times the input pipeline of training against the steps that it feeds.

Of CIFAR-sized images (uint8, 32x32x3), in memory, as all of `trainers` have them:

- `input`: images a second of `training_batches`, taken as fast as they come;
- `step`: images a second of the training step alone, on one batch that stays: of the
  plain classifier and of VERA, both as `trainers.vera` builds them, with WRN-10-1, the
  smallest and so fastest of the wide residual networks, and the default MLP decoder;
- `wait`: the share of `fit`'s time that a real input costs,
  `1 - t(one cached batch) / t(pipeline)`. It is all that the input adds: waiting for
  it, and the slower step while both compute. On one thread, where nothing overlaps,
  it is the pipeline's own computation. Noise may take it below 0.

`headroom` is `input / step`; below 1 the input limits the step whatever the number of
threads. Inputs alternate among each other, steps too, and so do the two sorts of
`fit`, but inputs and steps were timed one after the other; figures are medians and
quartiles over blocks. Random pixels stand in for CIFAR-10, which `--data_dir`
gives: the pipeline does the same work on any pixels.

Found on one thread of a processor that other work shared: the input limits no step.
It makes over 100 times the images that the faster step takes, and what it costs `fit`
is lost in the noise, whose quartiles reach 20 % of a step either way: read the
headroom. Before crops and flips became gathers it was 19 times, 5 % of that step, most
of it for the padded and the mirrored copy. It was not measured on a GPU, whose steps
are faster by far. Run from the top of the checkout:

    python -m benchmarks.input_throughput \
        --output=benchmarks/results/input_throughput.json
"""

import dataclasses
import os
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from benchmarks.step_time import alternate, step_function
from keras_ebm import data
from keras_ebm.data.batches import training_batches
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.settings.optimizers import compile_model
from keras_ebm.trainers.settings.vera import ModelSettings, build_model

BATCHES = (40, 64)
SHAPE, CLASSES = (32, 32, 3), 10
AUGMENTS = {
    "none": {"augment": "none"},
    "crop_flip": {"augment": "crop_flip"},
    "crop_flip, keep_plain": {"augment": "crop_flip", "keep_plain": True},
}
NETWORK = {"network": "wide_resnet", "depth": 10, "width": 1}
KINDS = {"plain": {"negatives": "none"}, "vera": {}}
#: Batches of a `fit` that are not timed: its first trace, and filling buffers.
WARM_UP = 5


def load(data_dir: str, rows: int) -> data.Dataset:
    """CIFAR-10's training images, or `rows` random ones without a `data_dir`."""
    if data_dir:
        dataset = data.load("tfds:cifar10", data_dir=data_dir)
        end = len(dataset.x) - dataset.num_test
        return dataclasses.replace(
            dataset, x=dataset.x[:end], y=dataset.y[:end], num_test=0
        )
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (rows, *SHAPE), np.uint8)
    names = tuple(str(label) for label in range(CLASSES))
    return data.Dataset(x, rng.integers(0, CLASSES, rows), "image", names)


def pipeline(dataset, batch: int, augment: str):
    """The batches that `trainers.vera` would train on."""
    options = AUGMENTS[augment]
    batches, _ = training_batches(
        dataset.x, dataset.y, batch_size=batch, seed=0, **options
    )
    return batches


def build(dataset, kind: str):
    """A compiled model with the defaults of `trainers.vera`."""
    settings = ModelSettings(**NETWORK, **KINDS[kind])
    model = build_model(dataset, dataset.x, settings, 0)
    compile_model(model, settings, 1, 1)
    return model


def input_rates(dataset, batch: int, blocks: int, steps: int, augments) -> dict:
    """Images a second of each pipeline alone, `(blocks,)`, in turns."""

    def taker(iterator):
        # `alternate` ends a block by fetching the value of "loss".
        return lambda: {"loss": next(iterator)[1]}

    takers = {
        augment: taker(iter(pipeline(dataset, batch, augment))) for augment in augments
    }
    times = alternate(takers, blocks, steps)
    return {augment: 1e3 * batch / values for augment, values in times.items()}


def step_rates(dataset, batch: int, blocks: int, steps: int) -> dict:
    """Images a second of each kind of step alone, `(blocks,)`, in turns."""
    functions = {}
    for kind in KINDS:
        model = build(dataset, kind)
        model.preprocessor = None  # The batch of the timing is preprocessed.
        functions[kind] = step_function(model, batch)
    times = alternate(functions, blocks, steps)
    return {kind: 1e3 * batch / values for kind, values in times.items()}


class BatchTimes(keras.callbacks.Callback):
    """Seconds a batch of one `fit`, without its first `WARM_UP` batches."""

    def on_train_begin(self, logs=None):
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        timed = self.ends[WARM_UP - 1 :]
        return (timed[-1] - timed[0]) / (len(timed) - 1)


def waits(model, batches, blocks: int, steps: int) -> np.ndarray:
    """Share of `fit`'s time that the input costs, `(blocks,)`; see the top."""
    # Fetched once, and so a constant; repeating it computes nothing.
    cached = tf.data.Dataset.from_tensors(next(iter(batches))).repeat()
    times = {"cached": [], "pipeline": []}
    for _ in range(1 + blocks):
        for name, source in (("cached", cached), ("pipeline", batches)):
            watch = BatchTimes()
            model.fit(
                source,
                steps_per_epoch=WARM_UP + steps,
                callbacks=[watch],
                shuffle=False,
                verbose=0,
            )
            times[name].append(watch.seconds)
    # The first block traces the step.
    return 1.0 - np.array(times["cached"][1:]) / np.array(times["pipeline"][1:])


def measure(
    dataset, batch: int, blocks: int, steps: int, input_steps: int, augments=AUGMENTS
) -> dict:
    """All figures of one batch size.

    Args:
        dataset: `Dataset` of images.
        batch: int, images a step.
        blocks: int, alternations of each comparison.
        steps: int, training steps in a block.
        input_steps: int, batches in a block of the pipelines alone.
        augments: which of `AUGMENTS`.
    """
    inputs = input_rates(dataset, batch, blocks, input_steps, augments)
    steps_alone = step_rates(dataset, batch, blocks, steps)
    results = {
        "input": {name: summary(values) for name, values in inputs.items()},
        "step": {name: summary(values) for name, values in steps_alone.items()},
        "headroom": {},
        "wait": {},
    }
    for kind in KINDS:
        results["headroom"][kind] = {
            name: float(np.median(values) / np.median(steps_alone[kind]))
            for name, values in inputs.items()
        }
        model = build(dataset, kind)
        results["wait"][kind] = {
            name: summary(waits(model, pipeline(dataset, batch, name), blocks, steps))
            for name in augments
        }
        keras.backend.clear_session()
    return results


def summary(values) -> dict:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75]).tolist()
    return {"median": middle, "quartiles": [low, high]}


def threads() -> dict:
    """Threads within and between TensorFlow's operations; 0: one for each core."""
    return {
        name: int(os.environ.get(f"TF_NUM_{name.upper()}_THREADS", 0))
        for name in ("intraop", "interop")
    }


@dataclasses.dataclass(frozen=True)
class InputThroughputSettings:
    """Flags of the benchmark."""

    data_dir: str = options.setting("", "Folder of a prepared CIFAR-10; empty: noise.")
    rows: int = options.setting(50_000, "Random images, where there is no --data_dir.")
    blocks: int = options.setting(9, "Alternations.")
    steps: int = options.setting(15, "Training steps in a block.")
    input_steps: int = options.setting(300, "Batches of the input alone in a block.")
    output: str = options.setting("", "JSON file to write.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(InputThroughputSettings)
    dataset = load(settings.data_dir, settings.rows)
    results = {
        "machine": machine(),
        "threads": threads(),
        "images": "CIFAR-10" if settings.data_dir else "random",
        "network": "WRN-10-1",
    }
    for batch in BATCHES:
        name = f"batch {batch}"
        results[name] = measure(
            dataset, batch, settings.blocks, settings.steps, settings.input_steps
        )
        print(name, results[name], flush=True)
    if settings.output:
        json_files.write_json(settings.output, results)


if __name__ == "__main__":
    options.define_flags(InputThroughputSettings)
    running.run_program(main)
