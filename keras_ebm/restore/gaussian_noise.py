"""Gaussian noise, of which a camera may clip what leaves its range."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive
from keras_ebm.protocols import RandomDraws
from keras_ebm.restore.corruption import Corruption, check_box, per_row


@keras.saving.register_keras_serializable(package="keras_ebm")
class GaussianNoise(Corruption):
    """`observed = clip(x + stddev * e, low, high)`, `e ~ N(0, I)`.

    What is clipped is only known to lie beyond the bound, and its likelihood is that.

    Args:
        stddev: float > 0, in units of `x`.
        low: float, or None with `high` for noise that is not clipped.
        high: float above `low`, or None.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _values = ("stddev", "low", "high")

    def __init__(
        self, stddev: float, low: float | None = -1.0, high: float | None = 1.0
    ):
        self.stddev = check_positive("stddev", stddev)
        if (low is None) != (high is None):
            raise ValueError(
                "`low` and `high` must both be None or both be numbers. Received: "
                f"low={low!r}, high={high!r}."
            )
        self.low, self.high = low, high
        if low is not None and high is not None:
            self.low, self.high = check_box(low, high)

    def corrupt(self, x: tf.Tensor, random: RandomDraws):
        noisy = x + self.stddev * random.normal(tf.shape(x), "corruption")
        if self.low is None:
            return noisy
        return tf.clip_by_value(noisy, self.low, self.high)

    def negative_log_likelihood(self, x: tf.Tensor, observed: tf.Tensor):
        inside = 0.5 * tf.square((observed - x) / self.stddev)
        if self.low is None:
            return per_row(inside)
        below = _log_normal_cdf((self.low - x) / self.stddev)
        above = _log_normal_cdf((x - self.high) / self.stddev)
        losses = tf.where(observed <= self.low, -below, inside)
        return per_row(tf.where(observed >= self.high, -above, losses))

    def informed(self, x: tf.Tensor, stddev: tf.Tensor, observed: tf.Tensor):
        variance = tf.square(stddev)
        total = variance + self.stddev**2
        gain, width = variance / total, tf.sqrt(total)
        noisy = observed
        if self.low is not None:
            # The mean of a normal of which only the tail is possible.
            below, above = (self.low - x) / width, (x - self.high) / width
            noisy = tf.where(observed <= self.low, x - width * _tail(below), noisy)
            noisy = tf.where(observed >= self.high, x + width * _tail(above), noisy)
        return x + gain * (noisy - x)


def _log_normal_cdf(z: tf.Tensor) -> tf.Tensor:
    """`log Phi(z)`, by its asymptotic form where erfc underflows."""
    near = tf.maximum(z, -5.0)
    far = tf.minimum(z, -5.0)
    direct = tf.math.log(0.5 * tf.math.erfc(-near / math.sqrt(2.0)))
    tail = -0.5 * tf.square(far) - tf.math.log(-far * math.sqrt(2.0 * math.pi))
    return tf.where(z < -5.0, tail - 1.0 / tf.square(far), direct)


def _tail(z: tf.Tensor) -> tf.Tensor:
    """`phi(z) / Phi(z)`."""
    log_density = -0.5 * tf.square(z) - 0.5 * math.log(2.0 * math.pi)
    return tf.exp(log_density - _log_normal_cdf(z))
