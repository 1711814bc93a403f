r"""Learns attributes of sprites one at a time and composes them: and, or, not.

Run it as:

    keras-ebm compose --output=runs/compose
    keras-ebm compose --preset=igebm_dsprites --dry_run

Markov chains train an energy of each attribute by itself: `E(x, position)`,
`E(x, size)`, `E(x, shape)`. Their sums draw what has several of them, also where
training never showed these together, which the figures are of.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from keras_ebm import files, plots
from keras_ebm.trainers.program import errors, folders, json_files, options, running
from keras_ebm.trainers.program.options import FLAGS
from keras_ebm.trainers.run.composing import Judge, measure, train_energies
from keras_ebm.trainers.run.sprite_rows import sprite_rows
from keras_ebm.trainers.settings.composing import PRESETS, ComposeSettings

RESULTS, PICTURE = "results.json", "picture.png"


def compose(settings: ComposeSettings) -> tuple[dict, dict, dict]:
    """Trains, composes and measures; see `keras_ebm.trainers.run.composing.measure`.

    Args:
        settings: `ComposeSettings`.

    Returns:
        `(results, pictures, energies)`: figures by name, samples by name, and the
        trained `LangevinModel`s by attribute.

    Raises:
        ValueError: if a setting does not fit the data.
    """
    rows = sprite_rows(settings)
    judge = Judge.trained(settings)
    begun = time.perf_counter()
    energies = train_energies(rows, judge, settings)
    seconds = time.perf_counter() - begun
    results, pictures = measure(energies, rows, judge, settings)
    return {**results, "seconds_of_training": seconds}, pictures, energies


def dry_run(settings: ComposeSettings) -> dict:
    """Builds an energy and takes a step on two sprites; its number of weights."""
    few = dataclasses.replace(
        settings, rows=64, steps=1, batch_size=2, walk_steps=1, dataset="sprites"
    )
    energies = train_energies(sprite_rows(few), Judge({}, {}), few, ("position",))
    return {f"{k} parameters": m.network.count_params() for k, m in energies.items()}


def write(results: dict, pictures: dict, energies: dict, output: Path) -> None:
    """Writes the figures, the picture and the models into a folder."""
    files.make_folder(output)
    json_files.write_json(output / RESULTS, results)
    for name, model in energies.items():
        files.save_model(model, output / f"{name}.keras")
    plots.save(plots.rows_of_images(pictures, (0.0, 1.0)), output / PICTURE)


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
        results, pictures, energies = compose(settings)
    write(results, pictures, energies, output)
    shown = {name: value for name, value in results.items() if np.isscalar(value)}
    json_files.print_metrics({**shown, "output": str(output)})


def define(argv: list[str]) -> dict:
    """Defines the flags; returns the presets."""
    del argv
    options.define_flags(ComposeSettings)
    return PRESETS


if __name__ == "__main__":
    running.run_program(main, define)
