"""Pictures of fewer pixels, each the mean of a square (super-resolution)."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.restore.corruption import Corruption, per_row


@keras.saving.register_keras_serializable(package="keras_ebm")
class Downsampled(Corruption):
    """Means over squares of `factor` by `factor` pixels.

    Args:
        factor: int >= 2, which divides both sides of the pictures `(batch, height,
            width, channels)`; observations are `(batch, height / factor, width /
            factor, channels)`.
        stddev: float > 0, Gaussian noise that chains suppose on the means, which
            themselves have none, in units of `x`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _values = ("factor", "stddev")

    def __init__(self, factor: int, stddev: float = 0.02):
        self.factor = check_size("factor", factor)
        if factor < 2:
            raise ValueError(
                f"`factor` must be an integer of at least 2. Received: factor={factor}."
            )
        self.stddev = check_positive("stddev", stddev)

    def corrupt(self, x: tf.Tensor, random: RandomDraws):
        if any(side is not None and side % self.factor for side in x.shape[1:3]):
            raise ValueError(
                f"`factor` must divide the sides of the pictures. Received: factor="
                f"{self.factor} for pictures of shape {tuple(x.shape[1:])}."
            )
        return tf.nn.avg_pool2d(x, self.factor, self.factor, "VALID")

    def negative_log_likelihood(self, x: tf.Tensor, observed: tf.Tensor):
        means = tf.nn.avg_pool2d(x, self.factor, self.factor, "VALID")
        return per_row(0.5 * tf.square((observed - means) / self.stddev))

    def start(self, observed: tf.Tensor):
        rows = tf.repeat(observed, self.factor, axis=1)
        return tf.repeat(rows, self.factor, axis=2)

    def informed(self, x: tf.Tensor, stddev: tf.Tensor, observed: tf.Tensor):
        means = tf.nn.avg_pool2d(x, self.factor, self.factor, "VALID")
        # A mean of so many independent guesses is off by less than each of them.
        variance = tf.square(stddev) / self.factor**2
        gain = variance / (variance + self.stddev**2)
        return x + gain * self.start(observed - means)
