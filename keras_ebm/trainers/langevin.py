r"""Trains an energy model by Markov chains: IGEBM, JEM, persistent and short-run.

Run it as:

    keras-ebm train-langevin --dataset=digits --workdir=runs/digits
    keras-ebm train-langevin --dataset=toy:rings --preset=pcd --workdir=runs/rings
    keras-ebm train-langevin --preset=igebm_cifar10 --dry_run
"""

import keras

from keras_ebm.trainers.run import recipes, training
from keras_ebm.trainers.run.jobs import Job
from keras_ebm.trainers.run.transforms import Candidates
from keras_ebm.trainers.settings.chains import ChainSettings
from keras_ebm.trainers.settings.data import RunData

RECIPE = recipes.CHAINS
FitSettings = RECIPE.fit


def prepare(
    run: RunData, model_settings: ChainSettings, fit: FitSettings, strategy=None
) -> Job | Candidates:
    """Builds what `train` needs; see `transforms.prepare`."""
    return RECIPE.prepare(run, model_settings, fit, strategy)


def train(
    run: RunData, model_settings: ChainSettings, fit: FitSettings, strategy=None
) -> tuple[keras.Model, dict]:
    """Trains, saves and measures one model; see `trainers.vera.train`."""
    return prepare(run, model_settings, fit, strategy).perform()


if __name__ == "__main__":
    training.run_program(RECIPE)
