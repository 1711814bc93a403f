"""Salt and pepper: some entries become black or white."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_share
from keras_ebm.protocols import RandomDraws
from keras_ebm.restore.corruption import Corruption, check_box, per_row


@keras.saving.register_keras_serializable(package="keras_ebm")
class SaltAndPepper(Corruption):
    """Each entry becomes `low` or `high`, each with probability `share / 2`.

    An observed entry between the two is what was there. One at a bound was there, or
    replaced something; that is weighed by how near to the bound it would be.

    Args:
        share: float in (0, 1) of the entries.
        low: float, black in units of `x`.
        high: float above `low`, white.
        tolerance: float > 0, standard deviation by which an entry that was there may
            differ from what is observed, in units of `x`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _values = ("share", "low", "high", "tolerance")

    def __init__(
        self,
        share: float,
        low: float = -1.0,
        high: float = 1.0,
        tolerance: float = 0.1,
    ):
        self.share = check_share("share", share)
        self.low, self.high = check_box(low, high)
        self.tolerance = check_positive("tolerance", tolerance)

    def corrupt(self, x: tf.Tensor, random: RandomDraws):
        drawn = random.uniform(tf.shape(x), "corruption")
        x = tf.where(drawn < 0.5 * self.share, self.low, x)
        return tf.where(drawn > 1.0 - 0.5 * self.share, self.high, x)

    def negative_log_likelihood(self, x: tf.Tensor, observed: tf.Tensor):
        squared = 0.5 * tf.square((observed - x) / self.tolerance)
        # As densities about the observation: both have its tolerance for their width.
        kept = math.log1p(-self.share) - squared
        replaced = math.log(0.5 * self.share)
        mixed = tf.reduce_logsumexp(
            tf.stack([kept, replaced * tf.ones_like(kept)]), axis=0
        )
        return -per_row(tf.where(self.fixed(observed), kept, mixed))

    def fixed(self, observed: tf.Tensor):
        return (observed > self.low) & (observed < self.high)

    def informed(self, x: tf.Tensor, stddev: tf.Tensor, observed: tf.Tensor):
        # How likely the guess makes an entry this near to the bound or beyond it.
        width = math.sqrt(2.0) * stddev
        short = tf.where(observed >= self.high, self.high - x, x - self.low)
        inside = 0.5 * tf.math.erfc((short - self.tolerance) / width)
        kept = (1.0 - self.share) * inside
        kept = kept / (kept + 0.5 * self.share)
        return tf.where(self.fixed(observed), observed, x + kept * (observed - x))
