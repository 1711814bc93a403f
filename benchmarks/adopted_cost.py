r"""What a decision costs beside the adopted network: served time, and peak memory.

MobileNetV2 at 224 x 224 with 1,000 classes and random weights: the SavedModel of the
decision beside one of the bare network, called in turn; and, in processes of their own,
the largest memory of `Detector.predict` beside that of Keras's `predict`. From the top
of the checkout:

    python -m benchmarks.adopted_cost --output=benchmarks/results/adopted_cost.json

`--network=PATH.keras` takes another classifier of images.
"""

import dataclasses
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ebm as ebm
from benchmarks.machine import machine
from keras_ebm.trainers.program import json_files, options, running

BATCHES = (1, 8, 32)
ROWS = 256


def build(path: str) -> keras.Model:
    """The classifier: of a file, or MobileNetV2 with random weights."""
    keras.utils.set_random_seed(0)
    if path:
        return keras.saving.load_model(path, compile=False)
    return keras.applications.MobileNetV2(weights=None, classes=1000)


def images(model, count: int) -> np.ndarray:
    """Random images of the classifier's size, from 0 to 255."""
    shape = count, *model.inputs[0].shape[1:]
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def adopt(model, x) -> ebm.ood.Detector:
    """The decision of the classifier, calibrated on some rows."""
    energy = ebm.EnergyModel(ebm.networks.from_classifier(model))
    return ebm.ood.Detector.calibrate(energy, x, target_fpr=0.1)


def served_cost(path: str, calls: int) -> dict:
    """Median milliseconds of a call to each SavedModel, in turn, and their ratio."""
    model = build(path)
    x = images(model, max(BATCHES))
    detector = adopt(model, x)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        model.export(f"{folder}/bare", verbose=False)
        ebm.serving.export_classifier(detector, f"{folder}/decision", x[:8])
        loaded = [
            tf.saved_model.load(f"{folder}/{name}") for name in ("bare", "decision/1")
        ]
        signatures = [module.signatures["serving_default"] for module in loaded]
        for batch in BATCHES:
            times = np.array([_pair(signatures, x[:batch]) for _ in range(calls + 5)])
            bare, decision = 1000 * np.median(times[5:], axis=0)
            quartiles = np.percentile(times[5:, 1] / times[5:, 0], [25, 50, 75])
            found[f"batch {batch}"] = {
                "bare_ms": float(bare),
                "decision_ms": float(decision),
                "ratio": float(decision / bare),
                "ratio_of_pairs_quartiles": quartiles.tolist(),
            }
    return found


def _pair(signatures, x) -> list[float]:
    seconds = []
    for signature in signatures:
        (name,) = signature.structured_input_signature[1]
        start = time.perf_counter()
        signature(**{name: tf.constant(x)})
        seconds.append(time.perf_counter() - start)
    return seconds


def peak(path: str, what: str) -> float:
    """Largest memory in MB of a process that scores `ROWS` images in one way."""
    command = [sys.executable, "-m", "benchmarks.adopted_cost", f"--measure={what}"]
    done = subprocess.run(
        [*command, f"--network={path}"], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def score(path: str, what: str) -> float:
    """Scores images, and says how much memory this process has had, in MB."""
    model = build(path)
    x = images(model, ROWS)
    if what == "predict":
        model.predict(x, verbose=0)
    else:
        energy = ebm.EnergyModel(ebm.networks.from_classifier(model))
        scores = ebm.ood.ConformalDetector(np.arange(1000.0))
        score = ebm.ood.make_score("energy")
        ebm.ood.Detector(energy, score, scores, 0.05).predict(x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


@dataclasses.dataclass(frozen=True)
class CostSettings:
    """Flags of the benchmark."""

    network: str = options.setting("", "A .keras file; empty: MobileNetV2.")
    calls: int = options.setting(30, "Calls of each SavedModel at each batch.")
    measure: str = options.setting("", "Measures memory of predict or decision alone.")
    output: str = options.setting("", "JSON file to write.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(CostSettings)
    if settings.measure:
        print(score(settings.network, settings.measure))
        return
    memory = {what: peak(settings.network, what) for what in ("predict", "decision")}
    memory["ratio"] = memory["decision"] / memory["predict"]
    print("peak memory, MB", memory, flush=True)
    results = {
        "machine": machine(),
        "network": Path(settings.network).name or "MobileNetV2, 1,000 classes",
        "peak_megabytes": memory,
        "served": served_cost(settings.network, settings.calls),
    }
    for name, row in results["served"].items():
        print(name, row)
    if settings.output:
        json_files.write_json(settings.output, results)


if __name__ == "__main__":
    options.define_flags(CostSettings)
    running.run_program(main)
