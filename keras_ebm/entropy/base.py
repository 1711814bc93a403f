"""What every estimator of a generator's entropy gradient answers to."""

from typing import NamedTuple

import keras
import tensorflow as tf


class Draw(NamedTuple):
    """One batch from a generator: `x = g(latents) + sigma * noise`."""

    x: tf.Tensor
    latents: tf.Tensor
    noise: tf.Tensor


class EntropyEstimator(keras.layers.Layer):
    """Base of the estimators of the gradient of `H(q)`, the generator's entropy.

    A training step first calls `prepare` with no tape open, then `surrogate`
    under the generator's tape, then descends `loss` if `learns`.
    """

    #: Whether the estimator has weights of its own to train.
    learns = False

    def build_for(self, generator) -> None:
        """Creates the weights that depend on the generator's sizes."""

    def prepare(self, generator, draw: Draw, random) -> dict[str, tf.Tensor]:
        """Computes what needs no gradient; returns tensors for `surrogate`."""
        raise NotImplementedError

    def surrogate(self, generator, draw: Draw, prepared) -> tf.Tensor:
        """A scalar whose gradient in the generator's weights estimates dH/dw.

        Its value is no entropy.
        """
        raise NotImplementedError

    def loss(self, generator, draw: Draw, random) -> tf.Tensor:
        """What the estimator's own weights descend; only where `learns`."""
        raise NotImplementedError

    def logs(self, prepared) -> dict[str, tf.Tensor]:
        """Scalars worth watching."""
        return {}


def score_surrogate(x, score):
    """`mean_b sum_d(-score * x)`: the entropy surrogate of a score estimate.

    With `score = d log q(x) / dx` held constant, its gradient in the weights
    of `x` estimates that of the entropy: `dH/dw = -E[(d log q / dx)' dx/dw]`,
    as the expected score itself is zero.

    References:
        - Grathwohl et al. (2021), https://arxiv.org/abs/2010.04230, section 3.
    """
    axes = list(range(1, len(x.shape)))
    return -tf.reduce_mean(tf.reduce_sum(tf.stop_gradient(score) * x, axis=axes))
