r"""Time and memory of a VERA step with each entropy estimator.

The energy is an MLP 561-500-500-500-6, the decoder an MLP from the latent through
two layers to 561, batch 64. Times are multiples of the step without
entropy (`none`) and of Keras's own classifier step (`plain`), from steps that
alternate in one process. Memory is the growth of the peak resident set
(`ru_maxrss`) from after the model is compiled to after the steps, in a fresh
process for each estimator and latent: the tracing of the step, its buffers and
the optimizers' arithmetic are in it, weights and slots are not. Run from the
top of the checkout, on a machine that does nothing else:

    python -m benchmarks.estimator_cost --output=benchmarks/results
"""

import dataclasses
import resource
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

from benchmarks.machine import machine
from benchmarks.step_time import WEIGHTS, alternate, plain_classifier, step_function
from keras_ebm import VERA, GaussianGenerator, networks
from keras_ebm.entropy import ESTIMATORS
from keras_ebm.trainers.program import json_files, options, running

FEATURES, CLASSES, BATCH = 561, 6, 64
LATENTS = (2, 32, 128)
KINDS = ("plain", "none", "importance", "log_volume", "hmc", "mutual_information")


def build(kind: str, latent_dim: int, width: int):
    """A compiled model: `plain`, or VERA with one of `KINDS` as its entropy."""
    keras.utils.set_random_seed(0)
    energy = networks.mlp_energy((FEATURES,), CLASSES, hidden=(500, 500, 500))
    if kind == "plain":
        return plain_classifier(energy)
    decoder = networks.mlp_decoder(latent_dim, (FEATURES,), hidden=(width, width))
    model = VERA(
        energy,
        GaussianGenerator(decoder),
        entropy=None if kind == "none" else ESTIMATORS[kind](),
        entropy_weight=0.0 if kind == "none" else 1.0,
        **WEIGHTS,
    )
    model.compile(keras.optimizers.Adam(1e-4))
    return model


def times_of(latent_dim: int, settings) -> dict:
    """Median milliseconds and ratios of each kind's step."""
    functions = {
        kind: step_function(build(kind, latent_dim, settings.width), BATCH)
        for kind in KINDS
    }
    times = alternate(functions, settings.blocks, settings.steps)
    return {kind: _row(times, kind) for kind in KINDS}


def _row(times: dict, kind: str) -> dict:
    row = {"milliseconds": float(np.median(times[kind]))}
    for base in ("none", "plain"):
        ratios = times[kind] / times[base]
        row[f"times_{base}"] = float(np.median(ratios))
        row[f"times_{base}_quartiles"] = np.percentile(ratios, [25, 75]).tolist()
    return row


def memory_growth(kind: str, latent_dim: int, width: int, steps: int) -> float:
    """MiB by which this process's peak grows in `steps` steps; call it once."""
    function = step_function(build(kind, latent_dim, width), BATCH)
    before = _peak()
    for _ in range(steps):
        logs = function()
    logs["loss"].numpy()
    return _peak() - before


def _peak() -> float:
    # Kibibytes, but bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def memory_of(kind: str, latent_dim: int, settings) -> float:
    """`memory_growth` in a process of its own."""
    arguments = f"{kind!r}, {latent_dim}, {settings.width}, {settings.steps}"
    program = f"""
from benchmarks.estimator_cost import memory_growth
print(memory_growth({arguments}))
"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(output.stdout.split()[-1])


def table(results: dict) -> str:
    """Markdown: one row an estimator, one group of columns a latent."""
    lines = [
        f"MLP {FEATURES}-500-500-500-{CLASSES}, batch {BATCH}, decoder's hidden "
        f"layers of {results['width']}: milliseconds a step; times the step without "
        "entropy; times a plain classifier's; growth of the peak resident set in MiB "
        "(tracing included).\n"
    ]
    for latent_dim, rows in results["latents"].items():
        lines.append(f"\nLatent of {latent_dim}:\n")
        lines.append("| entropy | ms | x none | x plain | MiB |")
        lines.append("|---|---:|---:|---:|---:|")
        for kind, row in rows.items():
            low, high = row["times_none_quartiles"]
            lines.append(
                f"| {kind} | {row['milliseconds']:.2f} "
                f"| {row['times_none']:.2f} ({low:.2f} to {high:.2f}) "
                f"| {row['times_plain']:.2f} | {row['memory_mib']:.0f} |"
            )
    return "\n".join(lines) + "\n"


@dataclasses.dataclass(frozen=True)
class CostSettings:
    """Flags of the benchmark."""

    blocks: int = options.setting(15, "Alternations.")
    steps: int = options.setting(20, "Steps in a block, and for memory.")
    width: int = options.setting(128, "Width of the decoder's two hidden layers.")
    output: str = options.setting("", "Folder for estimator_cost.json and .md.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(CostSettings)
    # Memory first: a process starts from the peak of the one that made it, which
    # has imported the same and traced nothing yet.
    memory = {
        (kind, latent_dim): memory_of(kind, latent_dim, settings)
        for latent_dim in LATENTS
        for kind in KINDS
    }
    results = {"machine": machine(), "width": settings.width, "latents": {}}
    for latent_dim in LATENTS:
        rows = times_of(latent_dim, settings)
        for kind in KINDS:
            rows[kind]["memory_mib"] = memory[kind, latent_dim]
        results["latents"][str(latent_dim)] = rows
    print(table(results))
    if settings.output:
        folder = Path(settings.output)
        json_files.write_json(folder / "estimator_cost.json", results)
        (folder / "estimator_cost.md").write_text(table(results), "utf-8")


if __name__ == "__main__":
    options.define_flags(CostSettings)
    running.run_program(main)
