"""Mixtures of Gaussians with full covariances: fit, density, samples."""

from __future__ import annotations

import functools
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
#: Of more rows so many choose and start the fits, which the others take part in for
#: the last steps.
STARTING_ROWS, LAST_STEPS = 4000, 5
#: Nats a row that a step gains at least: of a fit, and of one that others follow.
GAIN, STARTING_GAIN = 1e-3, 3e-2
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
    rows: np.ndarray,
    held_out: np.ndarray,
    num_components: int,
    num_fits: int = 5,
    starting_rows: int = STARTING_ROWS,
) -> Mixture:
    """Fits the mixture that other rows are likeliest under, several times over.

    Tried are 1, 2 and 4 times `num_components`, more than once only while there are
    50 rows for each, with 1/100 and 1/10 of the mean variance added to the variances.
    What is taken is fitted again from other first assignments. The mean of the
    densities of all its fits is returned, itself a mixture: where one fit follows
    chance, the others do not.

    Of many rows a draw is tried on, and every fit starts on a draw of its own, before
    some steps on all of them: expectation maximisation moves little from there, and
    its steps are what takes the time.

    Args:
        rows: finite float array `(n, dim)`, of two rows or more.
        held_out: finite float array `(m, dim)`, which nothing is fitted to.
        num_components: int >= 1; there are no more than one for every 20 different
            rows.
        num_fits: int >= 1.
        starting_rows: int >= 2, of a draw at most.

    Returns:
        `Mixture` of float32 arrays, of `num_fits` times as many components as were
        chosen; of one component a single fit, as all are the same.

    Raises:
        ImportError: without scikit-learn.
        ValueError: if there are fewer rows.
    """
    first = _drawn(rows, starting_rows, seed=0)
    goes_on = len(first) < len(rows)
    gain = STARTING_GAIN if goes_on else GAIN
    least = _affordable(first, num_components)
    counts = [
        least * m for m in MULTIPLES if m == 1 or least * m * ROWS_TRIED <= len(first)
    ]
    settings = [(count, ridge) for count in counts for ridge in RIDGES]
    fits = [_fit(first, *setting, seed=0, gain=gain) for setting in settings]
    others = held_out.astype(np.float32)
    likelihoods = [
        float(np.mean(Mixture.of_components(*fit).log_density(others))) for fit in fits
    ]
    best = int(np.argmax(likelihoods))
    count, ridge = settings[best]
    found = [fits[best]]
    for seed in range(1, num_fits if count > 1 else 1):
        part = _drawn(rows, starting_rows, seed)
        found.append(_fit(part, count, ridge, seed, gain=gain))
    if goes_on:
        found = [
            _fit(rows, count, ridge, 0, LAST_STEPS, start=start) for start in found
        ]
    center = found[0][0]
    whitenings, means, weights = (
        np.concatenate([fit[part] for fit in found]) for part in (1, 2, 3)
    )
    return Mixture.of_components(center, whitenings, means, weights / len(found))


def _drawn(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """`most` of more rows, in their order; else all."""
    if len(rows) <= most:
        return rows
    places = np.random.default_rng(seed).choice(len(rows), most, replace=False)
    return rows[np.sort(places)]


def _affordable(rows, num_components) -> int:
    """Components that there are rows for."""
    if len(rows) < 2:
        raise ValueError(
            f"`rows` must be two or more. Received: {len(rows)} of them to fit a "
            "mixture of Gaussians to."
        )
    return min(num_components, max(1, len(np.unique(rows, axis=0)) // ROWS_A_COMPONENT))


def _fit(rows, count, ridge, seed, max_steps=MAX_STEPS, gain=GAIN, start=None) -> tuple:
    """The arguments of `Mixture.of_components`, by scikit-learn; from others' too."""
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
        count,
        reg_covar=ridge,
        random_state=seed,
        max_iter=max_steps,
        tol=gain,
        **_start(center, *start) if start else {},
    )
    # Matrices are so small that threads wait for each other, longer than one would
    # work where other programs keep the cores busy.
    with _threads().limit(limits=1), warnings.catch_warnings():
        # Of whether its steps were enough. Any mixture serves.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(rows - center)
    return center, found.precisions_cholesky_, found.means_ + center, found.weights_


@functools.lru_cache(maxsize=1)
def _threads():
    """Sets the threads of numerical libraries; scikit-learn needs its package too."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _start(center, _, whitenings, means, weights) -> dict:
    """What scikit-learn starts from where a fit is to go on."""
    return {
        "weights_init": weights,
        "means_init": means - center,
        "precisions_init": whitenings @ np.swapaxes(whitenings, 1, 2),
    }
