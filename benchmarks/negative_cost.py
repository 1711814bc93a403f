r"""What each source of negatives costs a training step.

Steps of the default networks of `trainers.vera` on images of 28 by 28 and on rows
of 16 numbers, batch 64, alternating in one process, over the plain classifier's step.
Run from the top of the checkout:

    python -m benchmarks.negative_cost --output=benchmarks/results/negative_cost.json
"""

import dataclasses

import numpy as np

from benchmarks.machine import machine
from benchmarks.step_time import alternate, step_function
from keras_ebm import data
from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.negatives import IMAGES, NEGATIVES, ROWS
from keras_ebm.trainers.settings.optimizers import compile_model
from keras_ebm.trainers.settings.vera import ModelSettings, build_model

BATCH, CLASSES, COLUMNS = 64, 10, 16
PLAIN = "none"
CHAINS = "chains of 20 steps"


def datasets() -> dict[str, data.Dataset]:
    """Made-up images and rows."""
    rng = np.random.default_rng(0)
    names = tuple(str(label) for label in range(CLASSES))
    y = rng.integers(0, CLASSES, 1000)
    images = rng.integers(0, 256, (1000, 28, 28, 1), np.uint8)
    columns = tuple(Column(f"x{i}", "numeric") for i in range(COLUMNS))
    rows = rng.normal(size=(1000, COLUMNS)).astype(np.float32)
    schema = TableSchema(columns, "class", names)
    return {
        IMAGES: data.Dataset(images, y, "image", names),
        ROWS: data.Dataset(rows, y, "table", names, schema=schema),
    }


def build(dataset: data.Dataset, source: str):
    """A compiled model whose step is timed on preprocessed rows."""
    if source == CHAINS:
        settings = ChainSettings(num_steps=20, objective="logsumexp")
        model = build_langevin(dataset, dataset.x, settings, 0)
    else:
        settings = ModelSettings(negatives=source)
        model = build_model(dataset, dataset.x, settings, 0)
    compile_model(model, settings, 1, 1)
    model.preprocessor = None
    return model


def measure(dataset: data.Dataset, serves: str, blocks: int) -> dict:
    """Ratios to the plain step, medians and quartiles, by source."""
    own = [name for name, source in NEGATIVES.items() if serves in source.serves]
    own.remove("bank")  # Rows that are read off a table cost what a gather does.
    names = [PLAIN, *own, "generator", "generator+mixed", CHAINS]
    functions = {name: step_function(build(dataset, name), BATCH) for name in names}
    times = alternate(functions, blocks, steps=10)
    return {
        "plain_milliseconds": float(np.median(times[PLAIN])),
        "ratio": {
            name: np.percentile(times[name] / times[PLAIN], [25, 50, 75]).tolist()
            for name in names[1:]
        },
    }


def table(results: dict) -> str:
    """Markdown: steps of the plain classifier's, the median and the quartiles."""
    lines = ["| negatives | images | rows |", "|---|---|---|"]
    names = dict.fromkeys(
        name for kind in (IMAGES, ROWS) for name in results[kind]["ratio"]
    )
    for name in names:
        cells = []
        for kind in (IMAGES, ROWS):
            found = results[kind]["ratio"].get(name)
            cells.append(
                "" if found is None else "{1:.2f} ({0:.2f} to {2:.2f})".format(*found)
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class CostSettings:
    """Flags of the benchmark."""

    output: str = options.setting("", "JSON file to write.")
    blocks: int = options.setting(15, "Alternations.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(CostSettings)
    results = {
        kind: measure(dataset, kind, settings.blocks)
        for kind, dataset in datasets().items()
    }
    json_files.write_json(options.require("output"), {"machine": machine(), **results})
    print(table(results))


if __name__ == "__main__":
    options.define_flags(CostSettings)
    running.run_program(main)
