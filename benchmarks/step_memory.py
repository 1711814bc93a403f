r"""Memory of a VERA step by batch and by importance samples, and over many steps.

Memory is the growth of the peak resident set (`ru_maxrss`) from after the model is
compiled to after a few steps, each configuration in a process of its own: the tracing
of the step is in it, some tens of MiB that depend on neither size; weights and
slots are not. By importance samples there are beside the library's step

- `kept`, a control: the same step, but for gradients that go back through all the
  importance samples' passes of the generator, which the library's do not;
- `alone`: the importance sampling and nothing else, with no tape anywhere;
- `outputs`: what the layers of the generator make in one pass of all the samples of
  a batch, computed.

If nothing is kept for a backward pass, a further sample costs the step what it costs
`alone`. Run from the top of the checkout:

    python -m benchmarks.step_memory --output=benchmarks/results
"""

import dataclasses
import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from benchmarks.step_time import WEIGHTS, step_function
from keras_ebm import VERA, GaussianGenerator, networks, plots
from keras_ebm.entropy import Estimate, ImportanceSampling
from keras_ebm.random import StepRandom
from keras_ebm.trainers.program import json_files, options, running

BATCHES, BATCH = (16, 32, 64, 128), 64
SAMPLES, SAMPLE = (1, 5, 10, 20, 40), 20
#: Steps after which the resident set is read.
MOMENTS = (100, 500, 1000)
IMAGE = (28, 28, 1)
#: The allocator of Linux otherwise keeps blocks of up to 32 MiB that are free again.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536"}
#: What the figures by importance samples are of, and how they are drawn.
CURVES = {
    "library": ("tab:blue", "-"),
    "kept": ("tab:red", "--"),
    "alone": ("tab:green", "-."),
    "outputs": ("0.5", ":"),
}


def _mlp():
    energy = networks.mlp_energy((561,), 6, hidden=(500, 500, 500))
    return energy, networks.mlp_decoder(64, (561,), hidden=(128,))


def _convolutional():
    decoder = networks.convolutional_decoder(32, IMAGE)
    return networks.convolutional_energy(IMAGE, 10), decoder


NETWORKS = {
    "MLP 561-500-500-500-6": _mlp,
    "convolutional, 28x28": _convolutional,
}


class KeptImportanceSampling(ImportanceSampling):
    """The control: gradients go back through the importance samples' passes."""

    def prepare(self, generator, draw, random):
        return {"random": random}

    def estimate(self, generator, draw, prepared):
        prepared |= super().prepare(generator, draw, prepared["random"])
        axes = list(range(1, len(draw.x.shape)))
        products = tf.reduce_sum(prepared["score"] * draw.x, axis=axes)
        return Estimate(-tf.reduce_mean(products))


def build(network: str, samples: int, kept: bool = False):
    """VERA of one of `NETWORKS`, compiled."""
    keras.utils.set_random_seed(0)
    energy, decoder = NETWORKS[network]()
    entropy = (KeptImportanceSampling if kept else ImportanceSampling)(samples)
    model = VERA(energy, GaussianGenerator(decoder), entropy=entropy, **WEIGHTS)
    model.compile(keras.optimizers.Adam(1e-4), keras.optimizers.Adam(1e-4))
    return model


def growth(network: str, batch: int, samples: int, kind: str, steps: int) -> float:
    """MiB by which this process's peak grows in `steps` steps; call it once.

    Args:
        network: key of `NETWORKS`.
        batch: int.
        samples: int, importance samples.
        kind: `"library"`, `"kept"` or `"alone"`.
        steps: int.
    """
    model = build(network, samples, kind == "kept")
    if kind == "alone":
        function = _sampling_alone(model, batch)
    else:
        function = step_function(model, batch)
    before = _peak()
    for _ in range(steps):
        logs = function()
    logs["loss"].numpy()
    return _peak() - before


def _sampling_alone(model, batch):
    draw = model.draw(batch, StepRandom(0, 0))

    def sample():
        # A counter, or the graph's only result would be a constant.
        random = StepRandom(0, model.optimizer.iterations)
        prepared = model.entropy.prepare(model.generator, draw, random)
        return {"loss": tf.reduce_sum(prepared["score"])}

    return tf.function(sample, autograph=False)


def _peak() -> float:
    # Kibibytes, but bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident(network: str, batch: int, samples: int, moments) -> dict:
    """MiB resident after each of `moments`, numbers of steps; in ascending order."""
    function = step_function(build(network, samples), batch)
    values = {}
    for step in range(1, max(moments) + 1):
        logs = function()
        if step in moments:
            logs["loss"].numpy()
            values[str(step)] = _resident_now()
    return values


def _resident_now() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def outputs_of_one_pass(network: str, samples) -> dict:
    """MiB of all layers' outputs in one pass of the generator, by samples."""
    _, decoder = NETWORKS[network]()
    # The first is the input; reshapes share their input's memory.
    layers = [
        layer
        for layer in decoder.layers[1:]
        if not isinstance(layer, keras.layers.Reshape | keras.layers.Flatten)
    ]
    entries = sum(math.prod(layer.output.shape[1:]) for layer in layers)
    return {str(count): 4 * BATCH * count * entries / 2**20 for count in samples}


def in_process(call: str):
    """Evaluates a call of this module's functions in a process of its own."""
    program = f"""
import json
import math
from benchmarks.step_memory import growth, outputs_of_one_pass, resident
print(json.dumps({call}))
"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(output.stdout.split("\n")[-2])


def measure(network: str, steps: int, moments, batches=BATCHES, samples=SAMPLES):
    """All figures of one of `NETWORKS`, in MiB."""

    def grown(batch, count, kind):
        value = in_process(f"growth({network!r}, {batch}, {count}, {kind!r}, {steps})")
        print(f"{network}, {batch} x {count}, {kind}: {value:.0f} MiB", flush=True)
        return value

    by_batch = {str(batch): grown(batch, SAMPLE, "library") for batch in batches}
    by_samples = {
        kind: {str(count): grown(BATCH, count, kind) for count in samples}
        for kind in CURVES
        if kind != "outputs"
    }
    # Not here, where a network would raise the peak that processes start from.
    call = f"outputs_of_one_pass({network!r}, {tuple(samples)})"
    by_samples["outputs"] = in_process(call)
    call = f"resident({network!r}, {BATCH}, {SAMPLE}, {tuple(moments)})"
    return {
        "by_batch": by_batch,
        "by_samples": by_samples,
        "slopes": {kind: slope(values) for kind, values in by_samples.items()},
        "resident_after": in_process(call),
    }


def slope(values: dict) -> float:
    """MiB for one more importance sample, by least squares."""
    counts = [int(count) for count in values]
    return float(np.polyfit(counts, list(values.values()), 1)[0])


def table(results: dict) -> str:
    """Markdown: growth by batch and by samples, and what stays resident."""
    rows = results["networks"]
    batches = {network: row["by_batch"] for network, row in rows.items()}
    samples = {
        f"{network}, {kind}": values
        for network, row in rows.items()
        for kind, values in row["by_samples"].items()
    }
    lines = _sizes(f"MiB by batch ({SAMPLE} samples)", batches)
    lines += _sizes(f"MiB by samples (batch {BATCH})", samples)
    lines.append("| MiB a sample | " + " | ".join(CURVES) + " | resident |")
    lines.append("|---|" + "---:|" * len(CURVES) + "---|")
    for network, row in rows.items():
        slopes = " | ".join(f"{row['slopes'][kind]:.2f}" for kind in CURVES)
        after = ", ".join(
            f"{value:.1f} MiB after {step}"
            for step, value in row["resident_after"].items()
        )
        lines.append(f"| {network} | {slopes} | {after} steps |")
    return "\n".join(lines) + "\n"


def _sizes(title, rows):
    sizes = list(next(iter(rows.values())))
    lines = [f"| {title} | " + " | ".join(sizes) + " |"]
    lines.append("|---|" + "---:|" * len(sizes))
    for name, values in rows.items():
        cells = " | ".join(f"{value:.0f}" for value in values.values())
        lines.append(f"| {name} | {cells} |")
    return [*lines, ""]


def figure(results: dict):
    """Growth by batch and by samples, a row for each network."""
    rows = results["networks"]
    drawn, axes = plots.pyplot().subplots(
        len(rows), 2, figsize=(9, 3.4 * len(rows)), layout="constrained", squeeze=False
    )
    for (network, row), (left, right) in zip(rows.items(), axes, strict=True):
        _draw(left, row["by_batch"], "library")
        left.set(title=network, xlabel=f"batch ({SAMPLE} importance samples)")
        for kind in CURVES:
            _draw(right, row["by_samples"][kind], kind)
        right.set(title=network, xlabel=f"importance samples (batch {BATCH})")
        right.legend(fontsize=8)
        for axis in (left, right):
            axis.set_ylabel("growth of the peak (MiB)")
            axis.set_ylim(bottom=0)
            axis.set_xlim(left=0)
            axis.grid(alpha=0.3)
    return drawn


def _draw(axis, values, kind):
    color, style = CURVES[kind]
    sizes = [int(size) for size in values]
    label = "outputs of one pass, computed" if kind == "outputs" else kind
    axis.plot(
        sizes, list(values.values()), style, marker="o", ms=4, color=color, label=label
    )


@dataclasses.dataclass(frozen=True)
class MemorySettings:
    """Flags of the benchmark."""

    steps: int = options.setting(10, "Steps in which the peak is looked for.")
    output: str = options.setting("", "Folder for step_memory.json and .png.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(MemorySettings)
    rows = {name: measure(name, settings.steps, MOMENTS) for name in NETWORKS}
    results = {"machine": machine(), "networks": rows}
    print(table(results))
    if settings.output:
        folder = Path(settings.output)
        json_files.write_json(folder / "step_memory.json", results)
        plots.save(figure(results), folder / "step_memory.png")


if __name__ == "__main__":
    options.define_flags(MemorySettings)
    running.run_program(main)
