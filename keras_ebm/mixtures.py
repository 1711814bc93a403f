"""Mixtures of Gaussians with full covariances, as arrays: fit, density, samples."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

#: Different rows that a component must have on average.
ROWS_A_COMPONENT = 20
#: Added to the variances, in mean variances of the rows; which are tried.
RIDGES = (1e-2, 1e-1)
RIDGE = RIDGES[0]
#: How many times the components are tried, while there are this many rows for each.
MULTIPLES, ROWS_TRIED = (1, 2, 4), 50
#: Names of the arrays, whose shapes are `(dim,)`, `(K, dim, dim)`, `(K, dim)`, `(K,)`.
NAMES = ("center", "whitenings", "class_means", "log_weights")


def fit_mixture(
    rows: np.ndarray, num_components: int, ridge: float = RIDGE, seed: int = 0
) -> dict[str, np.ndarray]:
    """Fits a mixture by scikit-learn's expectation maximisation.

    Args:
        rows: finite float array `(n, dim)`, of two rows or more.
        num_components: int >= 1, of the mixture at most; there are no more than one
            for every 20 different rows.
        ridge: float, added to the diagonals of the covariances, in mean variances.
        seed: int, of the first assignment.

    Returns:
        Dict of float32 arrays by `NAMES`, as `log_density` takes it.

    Raises:
        ImportError: without scikit-learn.
        ValueError: if there are fewer rows.

    References:
        - Bishop (2006), "Pattern Recognition and Machine Learning", section 9.2.
    """
    return pack(*_fit(rows, _affordable(rows, num_components), ridge, seed))


def select_mixture(
    rows: np.ndarray, held_out: np.ndarray, num_components: int, num_fits: int = 5
) -> dict[str, np.ndarray]:
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
        Dict of float32 arrays by `NAMES`, of `num_fits` times as many components as
        were chosen; of one component a single fit, as all are the same.

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
    likelihoods = [
        float(np.mean(log_density(held_out.astype(np.float32), pack(*fit))))
        for fit in fits
    ]
    best = int(np.argmax(likelihoods))
    count, ridge = settings[best]
    seeds = range(1, num_fits if count > 1 else 1)
    found = [fits[best], *(_fit(rows, count, ridge, seed) for seed in seeds)]
    center = found[0][0]
    whitenings, means, weights = (
        np.concatenate([fit[part] for fit in found]) for part in (1, 2, 3)
    )
    return pack(center, whitenings, means, weights / len(found))


def _affordable(rows, num_components) -> int:
    """Components that there are rows for."""
    if len(rows) < 2:
        raise ValueError(
            f"`rows` must be two or more. Received: {len(rows)} of them to fit a "
            "mixture of Gaussians to."
        )
    return min(num_components, max(1, len(np.unique(rows, axis=0)) // ROWS_A_COMPONENT))


def _fit(rows, count, ridge, seed) -> tuple:
    """The arguments of `pack`, by scikit-learn."""
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
    found = GaussianMixture(count, reg_covar=ridge, random_state=seed)
    with warnings.catch_warnings():
        # Of whether its 100 iterations were enough. Any mixture serves.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(rows - center)
    return center, found.precisions_cholesky_, found.means_ + center, found.weights_


def pack(center, whitenings, means, weights) -> dict[str, np.ndarray]:
    """The arrays of a mixture, for `log_density`.

    Args:
        center: `(dim,)`, a point among the means, which keeps float32 products small.
        whitenings: `(K, dim, dim)`, upper triangular `W_k` with `W_k W_k^T` the
            inverse of component `k`'s covariance.
        means: `(K, dim)`.
        weights: `(K,)`, of sum 1.
    """
    dim = len(center)
    # log|W| = -log|S| / 2, W triangular.
    log_det = np.log(np.diagonal(whitenings, axis1=1, axis2=2)).sum(axis=1)
    arrays = (
        center,
        whitenings,
        np.einsum("kd,kde->ke", means - center, whitenings),
        np.log(weights) + log_det - 0.5 * dim * np.log(2.0 * np.pi),
    )
    return {
        name: np.asarray(array, np.float32)
        for name, array in zip(NAMES, arrays, strict=True)
    }


def log_density(rows: tf.Tensor, arrays: Mapping) -> tf.Tensor:
    """`log sum_k w_k N(x; m_k, S_k)` in nats, `(batch,)`, of rows `(batch, dim)`.

    Args:
        rows: float tensor.
        arrays: mapping of arrays or tensors, as of `pack`.
    """
    white = tf.einsum("nd,kde->nke", rows - arrays["center"], arrays["whitenings"])
    white -= arrays["class_means"]
    squared = tf.reduce_sum(tf.square(white), axis=-1)
    return tf.reduce_logsumexp(arrays["log_weights"] - 0.5 * squared, axis=-1)


def component_means(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The means `(K, dim)` of the components."""
    flat = arrays["class_means"][:, :, None]
    lower = np.swapaxes(arrays["whitenings"], 1, 2)
    return arrays["center"] + np.linalg.solve(lower, flat)[:, :, 0]


def weights(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The weights `(K,)` of the components."""
    diagonals = np.diagonal(arrays["whitenings"], axis1=1, axis2=2).astype(np.float64)
    logs = arrays["log_weights"] - np.log(diagonals).sum(axis=1)
    shares = np.exp(logs - logs.max())
    return shares / shares.sum()
