"""Mixtures of Gaussians with full covariances: fit, density, samples."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_ebm.protocols import RandomDraws

#: Different rows that a component must have on average.
ROWS_A_COMPONENT = 20
#: Added to the variances, in mean variances of the rows; which are tried.
RIDGES = (1e-2, 1e-1)
RIDGE = RIDGES[0]
#: Of expectation maximisation, at most.
MAX_STEPS = 100
#: How many times the components are tried, while there are this many rows for each.
MULTIPLES, ROWS_TRIED = (1, 2, 4), 50
#: Names of the parts of a `Mixture` in files. The third are its `white_means`.
NAMES = ("center", "whitenings", "class_means", "log_weights")


class Mixture(NamedTuple):
    """A mixture `q(x) = sum_k w_k N(x; m_k, S_k)`, in the form its density is found by.

    Attributes:
        center: `(dim,)`, a point among the means, which keeps float32 products small.
        whitenings: `(K, dim, dim)`, upper triangular `W_k` with `W_k W_k^T` the
            inverse of component `k`'s covariance `S_k`.
        white_means: `(K, dim)`, whitened component means `(m_k - center) W_k`.
        log_weights: `(K,)` in nats, `log(w_k |W_k| / (2 pi)^(dim / 2))`.
    """

    center: np.ndarray
    whitenings: np.ndarray
    white_means: np.ndarray
    log_weights: np.ndarray

    @classmethod
    def of_components(
        cls,
        center: np.ndarray,
        whitenings: np.ndarray,
        means: np.ndarray,
        weights: np.ndarray,
    ) -> Mixture:
        """The mixture of Gaussians `N(means[k], S_k)`, as float32 arrays.

        Args:
            center: `(dim,)`, see above.
            whitenings: `(K, dim, dim)`, see above.
            means: `(K, dim)`.
            weights: `(K,)`, of sum 1.
        """
        dim = len(center)
        # log|W| = -log|S| / 2, W triangular.
        log_det = np.log(np.diagonal(whitenings, axis1=1, axis2=2)).sum(axis=1)
        parts = (
            center,
            whitenings,
            np.einsum("kd,kde->ke", means - center, whitenings),
            np.log(weights) + log_det - 0.5 * dim * np.log(2.0 * np.pi),
        )
        return cls(*(np.asarray(part, np.float32) for part in parts))

    @classmethod
    def from_arrays(cls, arrays: Mapping) -> Mixture:
        """The mixture of what `arrays` gave, or of a file by the same `NAMES`."""
        return cls(*(np.asarray(arrays[name]) for name in NAMES))

    def arrays(self) -> dict[str, np.ndarray]:
        """Its parts by `NAMES`, as files have them."""
        return dict(zip(NAMES, self, strict=True))

    def log_density(self, x: tf.Tensor) -> tf.Tensor:
        """`log q(x)` in nats, `(batch,)`, of float32 rows `(batch, dim)`."""
        white = tf.einsum("nd,kde->nke", x - self.center, self.whitenings)
        white -= self.white_means
        squared = tf.reduce_sum(tf.square(white), axis=-1)
        return tf.reduce_logsumexp(self.log_weights - 0.5 * squared, axis=-1)

    def sample(self, count: int | tf.Tensor, random: RandomDraws) -> tf.Tensor:
        """Independent draws `(count, dim)`, float32.

        Args:
            count: integer scalar.
            random: `keras_ebm.random.StepRandom`.
        """
        edges = np.cumsum(self.weights())[:-1].astype(np.float32)
        chosen = random.uniform([count], "mixture_component")
        chosen = tf.searchsorted(tf.constant(edges), chosen, side="right")
        noise = random.normal([count, len(self.center)], "mixture_noise")
        # x = m + W^-T e has covariance (W W^T)^-1.
        factors = np.linalg.inv(self.whitenings).astype(np.float32)
        moved = tf.einsum("nd,nde->ne", noise, tf.gather(factors, chosen))
        return tf.gather(self.means().astype(np.float32), chosen) + moved

    def means(self) -> np.ndarray:
        """The means `(K, dim)` of the components."""
        lower = np.swapaxes(self.whitenings, 1, 2)
        return (
            self.center + np.linalg.solve(lower, self.white_means[:, :, None])[..., 0]
        )

    def weights(self) -> np.ndarray:
        """The weights `(K,)` of the components."""
        diagonals = np.diagonal(self.whitenings, axis1=1, axis2=2).astype(np.float64)
        logs = self.log_weights - np.log(diagonals).sum(axis=1)
        shares = np.exp(logs - logs.max())
        return shares / shares.sum()


def fit_mixture(
    rows: np.ndarray,
    num_components: int,
    ridge: float = RIDGE,
    seed: int = 0,
    max_steps: int = MAX_STEPS,
) -> Mixture:
    """Fits a mixture by scikit-learn's expectation maximisation.

    Args:
        rows: finite float array `(n, dim)`, of two rows or more.
        num_components: int >= 1, of the mixture at most; there are no more than one
            for every 20 different rows.
        ridge: float, added to the diagonals of the covariances, in mean variances.
        seed: int, of the first assignment.
        max_steps: int >= 1, of expectation maximisation; it ends before where a step
            gains less than 0.001 nats a row.

    Returns:
        `Mixture` of float32 arrays.

    Raises:
        ImportError: without scikit-learn.
        ValueError: if there are fewer rows.

    References:
        - Bishop (2006), "Pattern Recognition and Machine Learning", section 9.2.
    """
    return Mixture.of_components(
        *_fit(rows, _affordable(rows, num_components), ridge, seed, max_steps)
    )


def select_mixture(
    rows: np.ndarray, held_out: np.ndarray, num_components: int, num_fits: int = 5
) -> Mixture:
    """Fits the mixture that other rows are likeliest under, several times over.

    Tried are 1, 2 and 4 times `num_components`, more than once only while there are
    50 rows for each, with 1/100 and 1/10 of the mean variance added to the variances.
    What is taken is fitted again from other first assignments. The mean of the
    densities of all its fits is returned, itself a mixture: where one fit follows
    chance, the others do not.

    Args:
        rows: finite float array `(n, dim)`, of two rows or more.
        held_out: finite float array `(m, dim)`, which nothing is fitted to.
        num_components: int >= 1; there are no more than one for every 20 different
            rows.
        num_fits: int >= 1.

    Returns:
        `Mixture` of float32 arrays, of `num_fits` times as many components as were
        chosen; of one component a single fit, as all are the same.

    Raises:
        ImportError: without scikit-learn.
        ValueError: if there are fewer rows.
    """
    least = _affordable(rows, num_components)
    counts = [
        least * m for m in MULTIPLES if m == 1 or least * m * ROWS_TRIED <= len(rows)
    ]
    settings = [(count, ridge) for count in counts for ridge in RIDGES]
    fits = [_fit(rows, *setting, seed=0) for setting in settings]
    others = held_out.astype(np.float32)
    likelihoods = [
        float(np.mean(Mixture.of_components(*fit).log_density(others))) for fit in fits
    ]
    best = int(np.argmax(likelihoods))
    count, ridge = settings[best]
    seeds = range(1, num_fits if count > 1 else 1)
    found = [fits[best], *(_fit(rows, count, ridge, seed) for seed in seeds)]
    center = found[0][0]
    whitenings, means, weights = (
        np.concatenate([fit[part] for fit in found]) for part in (1, 2, 3)
    )
    return Mixture.of_components(center, whitenings, means, weights / len(found))


def _affordable(rows, num_components) -> int:
    """Components that there are rows for."""
    if len(rows) < 2:
        raise ValueError(
            f"`rows` must be two or more. Received: {len(rows)} of them to fit a "
            "mixture of Gaussians to."
        )
    return min(num_components, max(1, len(np.unique(rows, axis=0)) // ROWS_A_COMPONENT))


def _fit(rows, count, ridge, seed, max_steps=MAX_STEPS) -> tuple:
    """The arguments of `Mixture.of_components`, by scikit-learn."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise ImportError(
            f"A mixture is fitted by scikit-learn, which cannot be imported ({error}). "
            'Run `pip install "keras_ebm[data]"`.'
        ) from error
    center = rows.mean(axis=0)
    # Rows that are all the same have no scale of their own.
    ridge *= rows.var(axis=0).mean() or 1.0
    found = GaussianMixture(
        count, reg_covar=ridge, random_state=seed, max_iter=max_steps
    )
    with warnings.catch_warnings():
        # Of whether its steps were enough. Any mixture serves.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(rows - center)
    return center, found.precisions_cholesky_, found.means_ + center, found.weights_
