"""Many features as the few directions they vary most in, and what is left of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

#: Features up to which covariances are of all of them.
MAX_DIM = 512
#: Directions that are looked for beyond those that are kept, and rounds of the search.
SPARE, ROUNDS = 10, 1
#: Names of the parts of a `Projection` in files.
NAMES = ("projection_center", "projection_basis", "projection_rest")


class Projection(NamedTuple):
    """The leading principal components of rows; nothing where there is no need.

    Beyond them rows are taken for Gaussian, of one variance in all directions
    (probabilistic principal component analysis).

    Attributes:
        center: float32 `(dim,)`, the mean of the rows; `(0,)` where all features stay.
        basis: float32 `(dim, kept)`, orthonormal; `(0, 0)` likewise.
        rest: float32 `(1,)`, the variance in each other direction; `(0,)` likewise.

    References:
        - Halko, Martinsson and Tropp (2011), "Finding structure with randomness",
          algorithms 4.4 and 5.1.
        - Tipping and Bishop (1999), "Probabilistic principal component analysis".
    """

    center: np.ndarray
    basis: np.ndarray
    rest: np.ndarray

    @classmethod
    def none(cls) -> Projection:
        """The one that leaves all features as they are."""
        return cls(*(np.zeros(shape, np.float32) for shape in ((0,), (0, 0), (0,))))

    @classmethod
    def fit(cls, rows: np.ndarray, max_dim: int) -> Projection:
        """Finds the `max_dim` leading directions of rows `(n, dim)`, if they are more.

        The draws that the search starts from are always the same.
        """
        dim = rows.shape[1]
        if dim <= max_dim:
            return cls.none()
        center = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = (rows - center).astype(np.float32, copy=False)
        kept = min(max_dim, max(1, len(rows) - 1))
        basis = _leading_directions(centred, kept)
        total = float(np.einsum("nd,nd->", centred, centred, dtype=np.float64))
        inside = np.square(centred @ basis).sum(dtype=np.float64)
        rest = max(0.0, total - float(inside)) / len(rows) / (dim - kept)
        return cls(center, basis, np.array([rest], np.float32))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Projection:
        """The projection of what `arrays` gave; none in files of earlier versions."""
        if NAMES[0] not in arrays:
            return cls.none()
        return cls(*(np.asarray(arrays[name]) for name in NAMES))

    def arrays(self) -> dict[str, np.ndarray]:
        """Its parts by `NAMES`."""
        return dict(zip(NAMES, self, strict=True))

    @property
    def is_none(self) -> bool:
        """Whether all features stay."""
        return not len(self.center)

    @property
    def num_left(self) -> int:
        """How many directions are left out."""
        return self.basis.shape[0] - self.basis.shape[1]

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Rows `(n, dim)` as float64 `(n, kept)`."""
        if self.is_none:
            return rows
        return ((rows - self.center) @ self.basis).astype(np.float64)

    def mean_variance(self, covariance: np.ndarray) -> float:
        """The mean variance of all features, by the covariance of those kept."""
        left = 0.0 if self.is_none else self.num_left * float(self.rest[0])
        dim = len(covariance) if self.is_none else len(self.center)
        return (float(np.trace(covariance)) + left) / dim

    def split(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Features projected `(batch, kept)`, and the squared length of what is left.

        The second, `(batch,)`, is None where nothing is.
        """
        if self.is_none:
            return features, None
        centred = features - self.center
        kept = centred @ self.basis
        # Of differences, as lengths whose difference is small would blur it.
        left = centred - tf.matmul(kept, self.basis, transpose_b=True)
        return kept, tf.reduce_sum(tf.square(left), axis=-1)

    def log_density_of_rest(self, squared: tf.Tensor, ridge: float) -> tf.Tensor:
        """`log N(left; 0, (rest + ridge) I)` in nats, of squared lengths `(batch,)`."""
        variance = float(self.rest[0]) + ridge
        constant = 0.5 * self.num_left * math.log(2.0 * math.pi * variance)
        return -0.5 * squared / variance - constant


def _leading_directions(rows: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal `(dim, count)` by a randomised search in float32."""
    size = min(count + SPARE, *rows.shape)
    draws = np.random.default_rng(0).normal(size=(rows.shape[1], size))
    found = rows @ draws.astype(np.float32)
    for _ in range(ROUNDS):
        found = rows.T @ np.linalg.qr(found)[0]
        found = rows @ np.linalg.qr(found)[0]
    left = np.linalg.qr(found)[0]
    # The small side of (size, dim): its directions by its Gram matrix's eigenvectors.
    small = left.T @ rows
    values, vectors = np.linalg.eigh((small @ small.T).astype(np.float64))
    leading = vectors[:, ::-1][:, :count].astype(np.float32)
    return np.linalg.qr(small.T @ leading)[0]
