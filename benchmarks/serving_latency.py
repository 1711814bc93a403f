r"""Latency of the exported classifier as a multiple of the bare network's.

Both are SavedModels of the same network, called in turn in one process; each
figure is a median over calls. Run from the top of the checkout:

    python -m benchmarks.serving_latency \
        --output=benchmarks/results/serving_latency.json
"""

import dataclasses
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
from trainers.program import json_files, options, running

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
    if settings.output:
        json_files.write_json(settings.output, results)


if __name__ == "__main__":
    options.define_flags(LatencySettings)
    running.run_program(main)
