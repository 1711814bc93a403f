r"""Trains an energy model by Markov chains: IGEBM, JEM, persistent and short-run.

Run from the top of the checkout:

    python -m trainers.langevin --dataset=digits --workdir=runs/digits
    python -m trainers.langevin --dataset=toy:rings --preset=pcd --workdir=runs/rings
    python -m trainers.langevin --preset=igebm_cifar10 --dry_run
"""

import dataclasses

import keras

from trainers.presets import LANGEVIN_PRESETS
from trainers.program import options, running
from trainers.run import jobs, training, transforms
from trainers.settings.chains import ChainSettings, build_langevin
from trainers.settings.data import DataSettings, RunData
from trainers.settings.unlabelled import CHAIN_METHODS


@dataclasses.dataclass(frozen=True)
class FitSettings(jobs.FitSettings):
    CHOICES = {
        **jobs.FitSettings.CHOICES,
        "preset": ("", *LANGEVIN_PRESETS),
        "method": ("", *CHAIN_METHODS),
    }


def prepare(
    run: RunData, model_settings: ChainSettings, fit: FitSettings, strategy=None
) -> jobs.Job | transforms.Candidates:
    """Builds what `train` needs; see `transforms.prepare`."""
    return transforms.prepare(run, model_settings, fit, build_langevin, strategy)


def train(
    run: RunData, model_settings: ChainSettings, fit: FitSettings, strategy=None
) -> tuple[keras.Model, dict]:
    """Trains, saves and measures one model; see `trainers.vera.train`."""
    return prepare(run, model_settings, fit, strategy).perform()


def main(argv: list[str]) -> None:
    del argv
    training.run_flags(
        "langevin",
        LANGEVIN_PRESETS,
        CHAIN_METHODS,
        ChainSettings,
        FitSettings,
        build_langevin,
    )


def program() -> None:
    """Defines the flags and runs `main`."""
    for settings_class in (DataSettings, ChainSettings, FitSettings):
        options.define_flags(settings_class)
    running.run_program(main)


if __name__ == "__main__":
    program()
