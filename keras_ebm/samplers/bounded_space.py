"""A box of inputs as the whole space, where chains have no walls to run into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from keras_ebm.protocols import EnergyFn


class BoxSpace(NamedTuple):
    """The box `[low, high]^D` through `x = low + (high - low) sigmoid(u)`.

    A density of `x` in the box is one of `u` in the whole space, with the same `Z`.

    Attributes:
        shape: of one `x`.
        low: float, lower end of every entry.
        high: float > `low`.
    """

    shape: Sequence[int]
    low: float
    high: float

    def check(self) -> BoxSpace:
        """Itself; ValueError if the ends are no box."""
        if not (math.isfinite(self.low) and self.low < self.high < math.inf):
            raise ValueError(
                "A box must be (low, high) with low below high. Received: "
                f"({self.low}, {self.high})."
            )
        return self

    def to_box(self, u: tf.Tensor) -> tf.Tensor:
        """The inputs `x` of points of the whole space."""
        return self.low + (self.high - self.low) * tf.sigmoid(u)

    def from_box(self, x: tf.Tensor, margin: float = 1e-4) -> tf.Tensor:
        """The points of inputs, which are held `margin` of the width off the walls."""
        share = (tf.convert_to_tensor(x) - self.low) / (self.high - self.low)
        share = tf.clip_by_value(share, margin, 1.0 - margin)
        return tf.math.log(share) - tf.math.log1p(-share)

    def energy_fn(self, energy_fn: EnergyFn) -> EnergyFn:
        """`E(x(u)) - log |dx/du|` of an energy of `x`, `(batch,)` in nats."""
        volume = math.prod(self.shape) * math.log(self.high - self.low)

        def of_point(u):
            slopes = tf.math.log_sigmoid(u) + tf.math.log_sigmoid(-u)
            axes = list(range(1, len(u.shape)))
            return energy_fn(self.to_box(u)) - tf.reduce_sum(slopes, axes) - volume

        return of_point

    def uniform(self) -> tfd.Distribution:
        """The uniform density of the box, as one of points: logistic entries."""
        zeros = tf.zeros(tuple(self.shape))
        return tfd.Independent(tfd.Logistic(zeros, 1.0), len(self.shape))
