"""Negatives drawn from a mixture of Gaussians."""

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import mixtures
from keras_ebm.negatives.base import BatchNegatives


@keras.saving.register_keras_serializable(package="keras_ebm")
class MixtureSamples(BatchNegatives):
    """Independent samples of a mixture, as many as the batch has rows.

    Under the logistic objective the energy becomes minus the log-ratio of the data's
    density to the mixture's: noise contrastive estimation. `layers.MixtureBase` makes
    a log-density of it.

    Args:
        arrays: dict of arrays by `keras_ebm.mixtures.NAMES`, such as `fit_mixture`
            returns.

    Call arguments:
        x: float tensor `(batch, dim)`, the batch, whose values are not looked at.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        Tensor shaped like `x`.
    """

    def __init__(self, arrays):
        self.arrays = {name: np.asarray(arrays[name]) for name in mixtures.NAMES}
        self._means = mixtures.component_means(self.arrays).astype(np.float32)
        # x = m + W^-T e has covariance (W W^T)^-1.
        factors = np.linalg.inv(self.arrays["whitenings"])
        self._factors = factors.astype(np.float32)
        self._edges = np.cumsum(mixtures.weights(self.arrays))[:-1].astype(np.float32)

    def __call__(self, x, random):
        size = tf.shape(x)[0]
        chosen = random.uniform([size], "mixture_component")
        chosen = tf.searchsorted(tf.constant(self._edges), chosen, side="right")
        noise = random.normal(tf.shape(x), "mixture_noise")
        moved = tf.einsum("nd,nde->ne", noise, tf.gather(self._factors, chosen))
        return tf.cast(tf.gather(self._means, chosen) + moved, x.dtype)

    def get_config(self):
        # One argument of several arrays, each as a list.
        return {"arrays": {name: v.tolist() for name, v in self.arrays.items()}}
