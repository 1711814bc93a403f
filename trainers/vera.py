r"""Trains an energy model against a generator (VERA), and what it compares to.

Run from the top of the checkout:

    python -m trainers.vera --dataset=digits --workdir=runs/digits
    python -m trainers.vera --dataset=csv:table.csv --workdir=runs/table
    python -m trainers.vera --dataset=toy:rings --preset=vera_2d --workdir=runs/rings
    python -m trainers.vera --preset=vera_cifar10 --dry_run

A table with few labels, by one of many methods:

    python -m trainers.vera --dataset=csv:table.csv --labels_per_class=10 \
        --preset=tabular --method=vera+vat --workdir=runs/table

`--preset=vera_nice` is one of `trainers.likelihood`, and `--method=chains` one of
`trainers.langevin`, which then takes over, with its flags.
"""

import dataclasses
import sys

import keras

from trainers import langevin, likelihood
from trainers.presets import VERA_PRESETS
from trainers.program import options, running
from trainers.run import jobs, training, transforms
from trainers.settings.data import DataSettings, RunData
from trainers.settings.unlabelled import VERA_METHODS
from trainers.settings.vera import ModelSettings, build_model


@dataclasses.dataclass(frozen=True)
class FitSettings(jobs.FitSettings):
    CHOICES = {
        **jobs.FitSettings.CHOICES,
        "preset": ("", *VERA_PRESETS),
        "method": ("", *VERA_METHODS),
    }


def prepare(
    run: RunData, model_settings: ModelSettings, fit: FitSettings, strategy=None
) -> jobs.Job | transforms.Candidates:
    """Builds what `train` needs; see `transforms.prepare`."""
    return transforms.prepare(run, model_settings, fit, build_model, strategy)


def train(
    run: RunData, model_settings: ModelSettings, fit: FitSettings, strategy=None
) -> tuple[keras.Model, dict]:
    """Trains, saves and measures one model.

    Args:
        run: `RunData`, the split data.
        model_settings: `ModelSettings`.
        fit: `FitSettings`; `workdir` is created if absent.
        strategy: `tf.distribute` strategy or None.

    Returns:
        See `jobs.Job.perform`.

    Raises:
        ValueError: before training, if the settings do not fit the data.
        RuntimeError: if training diverged.
        KeyboardInterrupt: after saving the model, if training was interrupted.
    """
    return prepare(run, model_settings, fit, strategy).perform()


def main(argv: list[str]) -> None:
    del argv
    training.run_flags(
        "vera", VERA_PRESETS, VERA_METHODS, ModelSettings, FitSettings, build_model
    )


if __name__ == "__main__":
    if "--preset=vera_nice" in sys.argv:
        likelihood.program()
    if any(flag.startswith("--method=chains") for flag in sys.argv):
        langevin.program()
    for settings_class in (DataSettings, ModelSettings, FitSettings):
        options.define_flags(settings_class)
    running.run_program(main)
