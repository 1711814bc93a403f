"""Negatives drawn from a mixture of Gaussians."""

import keras
import tensorflow as tf

from keras_ebm.mixtures import Mixture
from keras_ebm.negatives.base import BatchNegatives, ComputedInputs
from keras_ebm.protocols import RandomDraws


@keras.saving.register_keras_serializable(package="keras_ebm")
class MixtureSamples(ComputedInputs, BatchNegatives):
    """Independent samples of a mixture, as many as the batch has rows.

    Under the logistic objective the energy becomes minus the log-ratio of the data's
    density to the mixture's: noise contrastive estimation. `layers.MixtureBase` makes
    a log-density of it.

    Args:
        mixture: `keras_ebm.mixtures.Mixture`, such as `fit_mixture` returns.

    Call arguments:
        x: float tensor `(batch, dim)`, the batch, whose values are not looked at.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        Tensor shaped like `x`.
    """

    def __init__(self, mixture: Mixture):
        self.mixture = mixture

    def __call__(self, x: tf.Tensor, random: RandomDraws):
        self.check_floats(x)
        return tf.cast(self.mixture.sample(tf.shape(x)[0], random), x.dtype)

    def get_config(self):
        # The one argument as its arrays, each of which is a list in a file.
        arrays = self.mixture.arrays()
        return {"arrays": {name: array.tolist() for name, array in arrays.items()}}

    @classmethod
    def from_config(cls, config):
        return cls(Mixture.from_arrays(config["arrays"]))
