"""Inputs as points of a space in which chains walk well: without walls, or round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
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


class WhitenedSpace(NamedTuple):
    """Vectors through `x = mean + u L`: given rows are a standard normal of `u`.

    A density of `x` is one of `u`, with the same `Z`.

    Attributes:
        mean: `(D,)`.
        factor: `(D, D)`, lower triangular `L^T`, of positive diagonal.
    """

    mean: tf.Tensor
    factor: tf.Tensor

    @classmethod
    def of_rows(cls, rows: np.ndarray, floor: float = 1e-2) -> WhitenedSpace:
        """The space of rows `(n, D)`.

        Args:
            rows: floats.
            floor: float > 0, least standard deviation of any direction, as a share of
                the mean one.
        """
        rows = np.asarray(rows, np.float64)
        covariance = np.cov(rows, rowvar=False)
        least = (floor**2 * np.trace(covariance) / len(covariance)) or 1.0
        values, vectors = np.linalg.eigh(covariance)
        kept = (vectors * np.maximum(values, least)) @ vectors.T
        factor = np.linalg.cholesky(kept)
        return cls(
            tf.constant(rows.mean(0), tf.float32), tf.constant(factor, tf.float32)
        )

    def to_rows(self, u: tf.Tensor) -> tf.Tensor:
        """The vectors `x` of points."""
        return self.mean + tf.matmul(u, self.factor, transpose_b=True)

    def from_rows(self, x: tf.Tensor) -> tf.Tensor:
        """The points of vectors."""
        gaps = tf.transpose(tf.convert_to_tensor(x) - self.mean)
        return tf.transpose(tf.linalg.triangular_solve(self.factor, gaps))

    def energy_fn(self, energy_fn: EnergyFn) -> EnergyFn:
        """`E(x(u)) - log |dx/du|` of an energy of `x`, `(batch,)` in nats."""
        volume = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(self.factor)))
        return lambda u: energy_fn(self.to_rows(u)) - volume

    def wide_normal(self, stddev: float = 1.5) -> tfd.Distribution:
        """A normal density of points, wider than the rows."""
        zeros = tf.zeros_like(self.mean)
        return tfd.Independent(tfd.Normal(zeros, stddev), 1)
