r"""Trains a density by one of many methods, and measures its likelihood.

Run it as:

    keras-ebm train-likelihood --dataset=tfds:mnist --data_dir=DIR \
        --method=maximum_likelihood --workdir=runs/nice
    keras-ebm train-likelihood --dataset=toy:rings --network=mlp --method=grid \
        --workdir=runs/rings

Images become the logits of their dequantised pixels, in which likelihoods are
measured. Labels are not used. A density has no threshold, so of the split of
`keras-ebm train-vera` the validation rows are trained on and the calibration rows
validate: of MNIST, 54,000, 6,000 and 10,000.
"""

import keras

from keras_ebm.trainers.run import density_fitting, recipes, training
from keras_ebm.trainers.run.density_fitting import StepSettings
from keras_ebm.trainers.settings.data import RunData
from keras_ebm.trainers.settings.density import DensitySettings

RECIPE = recipes.DENSITY
prepare = density_fitting.prepare


def train(
    run: RunData, settings: DensitySettings, fit: StepSettings, strategy=None
) -> tuple[keras.Model, dict]:
    """Trains, saves and measures one density; see `density_fitting.prepare`."""
    return prepare(run, settings, fit, strategy).perform()


if __name__ == "__main__":
    training.run_program(RECIPE)
