r"""Learns attributes of sprites one at a time and composes them: and, or, not.

Run from the top of the checkout:

    python -m trainers.compose --output=runs/compose
    python -m trainers.compose --preset=igebm_dsprites --dry_run

One network learns the energies of sprites that have one attribute, `E(x, position)`,
`E(x, size)`, `E(x, shape)`; a training picture tells it one of the three. Sums of them
draw what has several, also where training never showed these together, which the
figures are of.
"""

import dataclasses
from pathlib import Path

import numpy as np

from keras_ebm import files, plots
from trainers.program import errors, folders, json_files, options, running
from trainers.program.options import FLAGS
from trainers.run.composing import Judge, measure, train_energy
from trainers.run.sprite_rows import SpriteRows, sprite_rows
from trainers.settings.composing import PRESETS, ComposeSettings

RESULTS, PICTURE, MODEL = "results.json", "picture.png", "model.keras"


def compose(settings: ComposeSettings) -> tuple[dict, dict, object]:
    """Trains, composes and measures; see `trainers.run.composing.measure`.

    Args:
        settings: `ComposeSettings`.

    Returns:
        `(results, pictures, model)`: figures by name, samples by name, and the trained
        `DenoisingModel`.

    Raises:
        ValueError: if a setting does not fit the data.
    """
    rows = sprite_rows(settings)
    judge = Judge.trained(settings)
    model = train_energy(rows, settings)
    results, pictures = measure(model, rows, judge, settings)
    return results, pictures, model


def dry_run(settings: ComposeSettings) -> dict:
    """Builds the energy and takes a step on a few sprites; weights and its cost."""
    few = dataclasses.replace(settings, rows=64, steps=1, batch_size=2)
    model = train_energy(sprite_rows(few), few)
    return {"parameters": model.network.count_params()}


def write(results: dict, pictures: dict, model, output: Path) -> None:
    """Writes the figures, the picture and the model into a folder."""
    files.make_folder(output)
    json_files.write_json(output / RESULTS, results)
    files.save_model(model, output / MODEL)
    plots.save(plots.rows_of_images(pictures), output / PICTURE)


def main(argv: list[str]) -> None:
    del argv
    options.apply_preset(PRESETS)
    settings = options.from_flags(ComposeSettings)
    if FLAGS.dry_run:
        with errors.usage_errors():
            json_files.print_metrics(dry_run(settings))
        return
    output = folders.require_folder("output")
    with errors.usage_errors():
        plots.pyplot()
        results, pictures, model = compose(settings)
    write(results, pictures, model, output)
    shown = {name: value for name, value in results.items() if np.isscalar(value)}
    json_files.print_metrics({**shown, "output": str(output)})


def define(argv: list[str]) -> dict:
    """Defines the flags; returns the presets."""
    del argv
    options.define_flags(ComposeSettings)
    return PRESETS


__all__ = ["SpriteRows", "compose", "dry_run"]

if __name__ == "__main__":
    running.run_program(main, define)
