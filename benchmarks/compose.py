r"""Samples that have attributes which training never showed together.

Three seeds of `trainers.compose` on sprites of 32 pixels; settings were chosen on
combinations of fold 0 and pictures of other seeds, and those of fold 1 are reported. A
seed takes ten minutes on one core. Run from the top of the checkout:

    python -m benchmarks.compose --output=benchmarks/results/compose.json

What is in the file already is not repeated.
"""

import dataclasses
import os
import time

import numpy as np

from benchmarks.machine import machine
from keras_ebm import files, plots
from keras_ebm.trainers import compose
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.program.options import setting
from keras_ebm.trainers.settings.composing import ComposeSettings

FOLD = 1
#: Seeds that also train a network of all labels at once.
JOINT = (0,)


@dataclasses.dataclass(frozen=True)
class ComposeBenchmark(options.Checked):
    """Where results go."""

    output: str = setting("benchmarks/results/compose.json", "JSON file to write.")
    seeds: tuple = setting(("0", "1", "2"), "Seeds to run.")
    picture: str = setting("", "PNG file of the first seed's samples; optional.")


def main(argv: list[str]) -> None:
    del argv
    benchmark = options.from_flags(ComposeBenchmark)
    done = []
    if os.path.exists(benchmark.output):
        done = json_files.read_json(benchmark.output)["rows"]
    seeds = options.integers("`seeds`", benchmark.seeds)
    for seed in seeds:
        if any(row["seed"] == seed for row in done):
            continue
        settings = ComposeSettings(seed=seed, fold=FOLD, joint=seed in JOINT)
        begun = time.perf_counter()
        results, pictures, _ = compose.compose(settings)
        seconds = time.perf_counter() - begun
        done.append({"seed": seed, **results, "seconds": seconds})
        values = {
            "machine": machine(),
            "settings": dataclasses.asdict(settings),
            "rows": done,
        }
        json_files.write_json(benchmark.output, values)
        if benchmark.picture and seed == seeds[0]:
            files.make_folder(os.path.dirname(benchmark.picture) or ".")
            plots.save(plots.rows_of_images(pictures, (0.0, 1.0)), benchmark.picture)
    for name in done[0]:
        found = [row[name] for row in done if name in row]
        print(f"{name:28s} {np.mean(found):7.3f} {np.std(found):6.3f}  {len(found)}")


if __name__ == "__main__":
    options.define_flags(ComposeBenchmark)
    running.run_program(main)
