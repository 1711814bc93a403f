r"""Latency of the exported classifier as a multiple of the bare network's.

Both are SavedModels of the same network, called in turn in one process; each
figure is a median over calls. And the first answer of an export in a new process, once
its warm-up requests were replayed, as a server does, and without them. Run from the top
of the checkout:

    python -m benchmarks.serving_latency \
        --output=benchmarks/results/serving_latency.json
"""

import dataclasses
import multiprocessing
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm import EnergyModel, networks
from keras_ebm.ood import ConformalDetector, Detector, make_score
from keras_ebm.serving import export_classifier
from keras_ebm.serving.warm_up import FILE, replay
from keras_ebm.trainers.program import json_files, options, running

#: Processes that each first answer is measured in.
STARTS = 5
SHAPES = {"mlp 64-256-256-10": (8, 8, 1), "small cnn 28x28": (28, 28, 1)}


def build(shape) -> EnergyModel:
    """An untrained model: latency does not depend on the weights."""
    keras.utils.set_random_seed(0)
    builder = networks.mlp_energy if shape[0] < 28 else networks.convolutional_energy
    return EnergyModel(
        builder(shape, 10), preprocessor=keras.layers.Rescaling(1 / 127.5, offset=-1)
    )


def export_bare(model, path: Path):
    """Raw images to logits and nothing else."""
    archive = keras.export.ExportArchive()
    archive.track(model.network)
    shape = (None, *model.network.input_shape[1:])
    spec = tf.TensorSpec(shape, tf.uint8, name="inputs")
    archive.add_endpoint(
        "serving_default", lambda inputs: {"logits": model(inputs)}, [spec]
    )
    archive.write_out(str(path), verbose=False)
    return path


def measure(shape, batch: int, calls: int, folder: Path) -> dict:
    """Median microseconds of a call to each model, in turn."""
    model = build(shape)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.integers(0, 256, (batch, *shape)).astype(np.uint8))
    detector = Detector(
        model, make_score("energy"), ConformalDetector(rng.normal(size=1000)), 0.01
    )
    paths = {
        "bare": export_bare(model, folder / "bare"),
        "classifier": export_classifier(detector, folder / "classifier", x.numpy()),
    }
    loaded = {name: tf.saved_model.load(str(path)) for name, path in paths.items()}
    functions = {
        name: module.signatures["serving_default"] for name, module in loaded.items()
    }
    times = {name: [] for name in functions}
    for index in range(calls + 50):
        for name, function in functions.items():
            start = time.perf_counter()
            function(inputs=x)
            if index >= 50:
                times[name].append(1e6 * (time.perf_counter() - start))
    ratios = np.array(times["classifier"]) / np.array(times["bare"])
    return {
        "microseconds": {name: float(np.median(t)) for name, t in times.items()},
        "ratio": float(np.median(times["classifier"]) / np.median(times["bare"])),
        "ratio_of_pairs_quartiles": np.percentile(ratios, [25, 50, 75]).tolist(),
    }


def first_answer(path: str, is_warm: bool, batch: int, queue) -> None:
    """Puts milliseconds of the first answer and of later ones into a queue."""
    loaded = tf.saved_model.load(path)
    if is_warm:
        replay(loaded, Path(path) / FILE)
    signature = loaded.signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    x = tf.zeros((batch, *spec.shape[1:]), spec.dtype)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        signature(inputs=x)
        times.append(1e3 * (time.perf_counter() - start))
    queue.put((times[0], float(np.median(times[50:]))))


def measure_first(shape, batch: int, folder: Path) -> dict:
    """Medians over new processes of the first answer, in milliseconds."""
    model, rng = build(shape), np.random.default_rng(0)
    detector = Detector(
        model, make_score("energy"), ConformalDetector(rng.normal(size=1000)), 0.01
    )
    x = rng.integers(0, 256, (8, *shape)).astype(np.uint8)
    path = str(export_classifier(detector, folder / "classifier", x))
    context, found = multiprocessing.get_context("spawn"), {}
    for name, is_warm in (("after warm-up", True), ("without", False)):
        runs = []
        for _ in range(STARTS):
            queue = context.Queue()
            process = context.Process(
                target=first_answer, args=(path, is_warm, batch, queue)
            )
            process.start()
            runs.append(queue.get())
            process.join()
        first, later = np.median(runs, axis=0)
        found[name] = {"first": float(first), "later": float(later)}
    return found


@dataclasses.dataclass(frozen=True)
class LatencySettings:
    """Flags of the benchmark."""

    calls: int = options.setting(2000, "Calls of each model.")
    output: str = options.setting("", "JSON file to write.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(LatencySettings)
    results = {"machine": machine()}
    for name, shape in SHAPES.items():
        for batch in (1, 64):
            with tempfile.TemporaryDirectory() as folder:
                row = measure(shape, batch, settings.calls, Path(folder))
            results[f"{name}, batch {batch}"] = row
            print(name, batch, row)
    for batch in (1, 64):
        with tempfile.TemporaryDirectory() as folder:
            first = measure_first(SHAPES["mlp 64-256-256-10"], batch, Path(folder))
        results[f"first answer, batch {batch}"] = first
        print("first answer", batch, first)
    if settings.output:
        json_files.write_json(settings.output, results)


if __name__ == "__main__":
    options.define_flags(LatencySettings)
    running.run_program(main)
