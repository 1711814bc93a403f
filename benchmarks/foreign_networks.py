r"""Classifiers as engineers have them: adopted, decided on, exported and served.

Each is adopted in three lines, and its export is asked by a process that has TensorFlow
alone, with 1, 7 and 50 rows. From the top of the checkout:

    python -m benchmarks.foreign_networks \
        --output=benchmarks/results/foreign_networks.json

Kinds whose packages are not installed are left out, and the table says so.
"""

import dataclasses
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import keras_ebm as ebm
from benchmarks.foreign_kinds import KINDS, REFUSED, Kind, probabilities
from benchmarks.machine import machine
from keras_ebm import rows
from keras_ebm.serving import inputs
from keras_ebm.trainers.program import json_files, options, running

SIZES = (1, 7, 50)
#: Asks exports, in a process without Keras and this project.
ALONE = """
import sys
for name in ("keras", "keras_ebm", "tf_keras", "trainers", "export", "keras_hub"):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
import tensorflow as tf

for folder in map(Path, sys.argv[1:]):
    loaded = tf.saved_model.load(str(folder / "net" / "1"))
    served = loaded.signatures["serving_default"]
    for path in sorted(folder.glob("request-*.npz")):
        request = {k: tf.constant(v) for k, v in np.load(path).items()}
        answers = {k: v.numpy() for k, v in served(**request).items()}
        texts = {k: v.astype("S") for k, v in answers.items() if v.dtype == object}
        np.savez(path.with_name(path.name.replace("request", "answers")),
                 **{**answers, **texts})
"""


def export(kind: Kind, folder: Path):
    """Adopts a classifier and exports its decision.

    Args:
        kind: `Kind`.
        folder: where the export goes, `net/1`, with requests beside it.

    Returns:
        `(expected, inputs)`: the original's probabilities for each request, in the
        order of `SIZES`, and names, types and shapes of the signature's inputs.
    """
    model, x = kind.build(np.random.default_rng(0))
    network = ebm.networks.from_classifier(model, **kind.options)
    energy = ebm.EnergyModel(network)
    detector = ebm.ood.Detector.calibrate(energy, x, target_fpr=0.05)
    x = rows.as_rows(x, "x", energy.raw_spec())
    ebm.serving.export_classifier(detector, folder / "net", rows.take(x, slice(0, 50)))
    for size in SIZES:
        request = inputs.request_of(energy, rows.take(x, slice(0, size)))
        arrays = {name: tensor.numpy() for name, tensor in request.items()}
        # Texts as bytes, which need no pickle.
        arrays = {
            name: array.astype("S") if array.dtype == object else array
            for name, array in arrays.items()
        }
        np.savez(folder / f"request-{size}.npz", **arrays)
    specs = inputs.input_specs(energy)
    told = {name: [s.dtype.name, s.shape.as_list()] for name, s in specs.items()}
    # Of each size on its own: batches of others differ in the last bits.
    requests = [rows.take(x, slice(0, size)) for size in SIZES]
    return [probabilities(model, request) for request in requests], told


def ask(folders: list[Path]) -> None:
    """Asks all exports in one process with TensorFlow alone.

    Raises:
        RuntimeError: if it fails.
    """
    command = [sys.executable, "-c", ALONE, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def compare(folder: Path, expected: list[np.ndarray]) -> dict:
    """The largest difference of probabilities, and the share of equal classes."""
    differences, equal, accepted = [], [], []
    for size, original in zip(SIZES, expected, strict=True):
        with np.load(folder / f"answers-{size}.npz") as answers:
            given = answers["probabilities"].astype(np.float64)
            classes = answers["class_id"]
            accepted.append(answers["accept"].mean())
        differences.append(np.abs(given - original).max())
        # Where the original gives two classes the same, either is the likeliest.
        chosen = np.take_along_axis(original, classes[:, None], axis=1)[:, 0]
        equal.append(np.mean(chosen == original.max(axis=1)))
    return {
        "difference": float(max(differences)),
        "class_agreement": float(min(equal)),
        "accepted": float(accepted[-1]),
    }


def is_there(kind: Kind) -> bool:
    """Whether what a kind is made with is installed."""
    return all(importlib.util.find_spec(name) for name in kind.needs)


def refusal(name: str) -> str:
    """Why `from_classifier` does not adopt one of `REFUSED`.

    Raises:
        RuntimeError: if it does, or gives another reason.
    """
    build, reason = REFUSED[name]
    model, _ = build(np.random.default_rng(0))
    try:
        ebm.networks.from_classifier(model)
    except ValueError as error:
        if re.search(reason, str(error)):
            return str(error)
        raise RuntimeError(f"{name} is refused for another reason: {error}") from error
    raise RuntimeError(f"{name} must be refused, and is adopted.")


def short(reason: str) -> str:
    """What a refusal says of the model, without its name and the remedy."""
    found = re.search(r"Received: '[^']*', (.*)", reason)
    return re.split(r"[;:] |\.$", found[1] if found else reason)[0]


def table(results: dict) -> str:
    """Markdown of all kinds."""
    lines = [
        "| network | inputs of the signature | same class, % | largest difference of "
        "probabilities | seconds |",
        "|---|---|---|---|---|",
    ]
    for name, row in results["networks"].items():
        told = ", ".join(f"{key}: {kind[0]}" for key, kind in row["inputs"].items())
        lines.append(
            f"| {name}: {row['why']} | {told} | {100 * row['class_agreement']:g} | "
            f"{row['difference']:.1e} | {row['seconds']:.1f} |"
        )
    for name, reason in results["refused"].items():
        lines.append(f"| {name} | refused: a model {short(reason)} | | | |")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class NetworksSettings:
    """Flags of the benchmark."""

    output: str = options.setting("", "JSON file to write.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(NetworksSettings)
    results: dict = {"machine": machine(), "networks": {}, "refused": {}, "absent": []}
    for name, kind in KINDS.items():
        if not is_there(kind):
            results["absent"].append(name)
            continue
        keras.backend.clear_session()
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            expected, told = export(kind, Path(folder))
            seconds = time.perf_counter() - start
            ask([Path(folder)])
            row = {**compare(Path(folder), expected), "inputs": told, "why": kind.why}
        results["networks"][name] = {**row, "seconds": seconds}
        print(name, row, flush=True)
    for name in REFUSED:
        results["refused"][name] = refusal(name)
    if settings.output:
        json_files.write_json(settings.output, results)
    print(table(results))


if __name__ == "__main__":
    options.define_flags(NetworksSettings)
    running.run_program(main)
