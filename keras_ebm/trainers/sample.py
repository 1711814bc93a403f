r"""Draws samples of a trained model, and a grid of them.

Run it as:

    keras-ebm sample --model=runs/digits/model.keras --num=64 --steps=200 \
        --from=noise --output=runs/digits/grid.png
    keras-ebm sample --model=runs/cifar/checkpoints --from=buffer \
        --rounds=20 --output=grid.png

A folder of checkpoints is an ensemble: each round of steps walks on the energy of
the next of them. Chains take the steps that the model was trained by, unless flags
say otherwise.
"""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_ebm import data, files, plots
from keras_ebm.arguments import check_size
from keras_ebm.callbacks.keep_checkpoints import PATTERN
from keras_ebm.models.base import check_float_input
from keras_ebm.negatives import LangevinMoves, as_source
from keras_ebm.random import StepRandom
from keras_ebm.trainers.program import (
    errors,
    folders,
    json_files,
    keras_files,
    options,
    running,
)
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.program.options import SEED, Checked, setting
from keras_ebm.trainers.settings import clashes


@dataclasses.dataclass(frozen=True)
class SampleSettings(Checked):
    """What to start from, and how to walk."""

    CHOICES = {"mode": ("chains", "generator")}

    model: str = setting(
        "", "model.keras, several with commas between them, or a folder of checkpoints."
    )
    num: int = setting(64, "Samples to draw.", low=1)
    steps: int = setting(
        -1, "Steps of a chain in each round; default those of training, or 0.", low=-1
    )
    rounds: int = setting(1, "Rounds, each on the next model of an ensemble.", low=1)
    from_: str = setting(
        "",
        "Where chains start: noise, generator, buffer, or images:DIR; default the "
        "generator where there is one, else noise.",
    )
    step_size: float = setting(
        0.0,
        "Of unadjusted steps, in squared units of an input per nat; 0: training's.",
        low=0,
    )
    noise_stddev: float = setting(0.01, "Of unadjusted steps, with --step_size.", low=0)
    label: int = setting(
        -1, "Class of all samples; default each class in turn.", low=-1
    )
    seed: int = setting(0, "Of starts and noise.", **SEED)
    output: str = setting("", "PNG file of a grid (of points: of the plane).")
    samples: str = setting("", "npz file of the samples and their energies; optional.")
    skip_broken_images: bool = setting(
        False, "Whether files of images:DIR that cannot be decoded are left out."
    )


def sample(settings: SampleSettings):
    """Draws samples.

    Args:
        settings: `SampleSettings`.

    Returns:
        `(x, energies, model)`: preprocessed inputs `(num, ...)`, their energies
        `(num,)` in nats on the last model of the ensemble, and that model.

    Raises:
        ValueError: if the settings do not fit the model or each other.
        RuntimeError: if a chain left the numbers.
    """
    check_size("num", settings.num)
    check_size("rounds", settings.rounds)
    models = [keras_files.load_model(path) for path in model_paths(settings.model)]
    model = models[-1]
    check_float_input(model.network, f"model={settings.model}")
    random = StepRandom(settings.seed, 0)
    labels = _labels(model, settings)
    x = start(model, settings, random)
    moves = _moves(model, settings)
    steps = moves.num_steps if moves and settings.steps < 0 else max(settings.steps, 0)
    if steps and moves is None:
        raise ValueError(
            "`steps` needs `step_size`, as this model was not trained by chains. "
            f"Received: steps={settings.steps} for a {type(model).__name__}."
        )
    walks = [_walk(one, moves, random, labels, steps) for one in models]
    for i in range(settings.rounds if steps else 0):
        x = walks[i % len(walks)](x, tf.constant(i))
    energies = np.asarray(model.energy_fn(labels)(x))
    if not np.all(np.isfinite(energies)):
        raise RuntimeError(
            f"{np.sum(~np.isfinite(energies))} of {len(energies)} chains have an "
            "energy that is not finite; lower --step_size or the number of steps"
        )
    return np.asarray(x), energies, model


def model_paths(text: str) -> list[Path]:
    """The `.keras` files that `--model` names, of a folder its checkpoints in order."""
    if Path(text).is_dir():
        paths = sorted(Path(text).glob(PATTERN))
        if not paths:
            raise ValueError(
                f"`model` must be a file or a folder of checkpoints ({PATTERN}). "
                f"Received: {text}, which has none."
            )
        return paths
    return [Path(part) for part in text.split(",")]


def _labels(model, settings):
    if not model.conditional:
        if settings.label >= 0:
            raise ValueError(
                "`label` needs a class-conditional model. Received: "
                f"label={settings.label} for a model whose chains know no classes."
            )
        return None
    if settings.label >= model.num_classes:
        raise ValueError(
            f"`label` must be below {model.num_classes}. Received: "
            f"label={settings.label}."
        )
    if settings.label >= 0:
        return tf.fill([settings.num], settings.label)
    return tf.range(settings.num) % model.num_classes


def start(model, settings: SampleSettings, random):
    """Where the chains start, preprocessed, `(num, ...)`."""
    kind = settings.from_ or ("generator" if model.generator is not None else "noise")
    shape = (settings.num, *model.network.input_shape[1:])
    if kind == "generator":
        if model.generator is None:
            raise ValueError(
                "`from` generator needs a model with one. Received: a "
                f"{type(model).__name__}; use from=noise."
            )
        return model.sample(settings.num, seed=settings.seed)
    if kind == "noise":
        source = as_source(model.negatives)
        if source is not None and source.walks and source.starts_without_data:
            return source.begin(tf.zeros(shape), random)
        return random.uniform(shape, "start", -1.0, 1.0)
    if kind == "buffer":
        return _from_buffer(model, settings, random)
    source, folder = data.parse_spec(kind)
    if source == "images" and folder:
        images = data.read_images(folder, shape[1:], settings.skip_broken_images)
        rows = np.arange(settings.num) % len(images)
        return model.preprocess(images[rows])
    raise ValueError(
        "`from` must be noise, generator, buffer or images:DIR. "
        f"Received: from={kind!r}."
    )


def _from_buffer(model, settings, random):
    source = as_source(model.negatives)
    buffer = None if source is None else source.buffer
    if buffer is None:
        raise ValueError(
            "`from` buffer needs a model trained with one. Received: a "
            f"{type(model).__name__} without; use from=noise."
        )
    states, _ = buffer.pick(settings.num, random)
    return states


def _moves(model, settings):
    if settings.step_size:
        steps = max(settings.steps, 1)
        return LangevinMoves(steps, settings.step_size, settings.noise_stddev)
    source = as_source(model.negatives)
    return source.moves if source is not None and source.walks else None


def _walk(model, moves, random, labels, steps):
    """One round on a model's energy, a function of starts and the round's number."""

    def walk(x, number):
        end, _ = moves.move(
            model.energy_fn(labels),
            x,
            random.fold(number),
            num_steps=steps,
            training=False,
        )
        return end

    return tf.function(walk, autograph=False)


def npz_name(path: str) -> str:
    """A path with the end that numpy gives it; empty as it is."""
    return path if not path or path.endswith(".npz") else f"{path}.npz"


def write_samples(path: str, x, energies) -> None:
    """Writes samples and their energies (nats); `.npz` is added as numpy adds it."""
    path = npz_name(path)
    folders.make_parent(path)
    with files.written_beside(path) as file:
        np.savez_compressed(file, x=x, energy=energies)


def files_read(models: str) -> dict[str, str]:
    """What `--model` is read from, by name for `folders.check_apart`."""
    found = {}
    for path in models.split(","):
        # Of an ensemble each file by its own name, of one model by the flag's.
        own = folders.files_of_run(path)
        found |= own if path == models else {**own, path: own.pop("model")}
    return found


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(SampleSettings)
    options.require("model")
    clashes.check(clashes.SAMPLE)
    output = folders.require_file("output")
    if settings.samples:
        folders.require_file("samples")
    folders.check_apart(
        {"output": settings.output, "samples": npz_name(settings.samples)},
        files_read(settings.model),
    )
    with errors.usage_errors():
        plots.pyplot()
        x, energies, model = sample(settings)
    if settings.samples:
        write_samples(settings.samples, x, energies)
    folders.make_parent(output)
    plots.save(plots.samples_figure(model, x), output)
    json_files.print_metrics(
        {"samples": len(x), "energy": float(energies.mean()), "output": str(output)}
    )


if __name__ == "__main__":
    for settings_class in (SampleSettings, ImportSettings):
        options.define_flags(settings_class)
    running.run_program(main)
