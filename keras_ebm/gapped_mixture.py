"""Mixtures of Gaussians of rows with missing cells: fit, and what is missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_ebm.mixtures import Mixture, fit_mixture

#: Rows whose matrices are held at once.
CHUNK = 500
#: Steps of expectation maximisation at most, and the gain of a step, in nats a row,
#: below which it ends.
MAX_STEPS, LEAST_GAIN = 15, 1e-2


class GappedMixture(NamedTuple):
    """`q(x) = sum_k w_k N(x; m_k, S_k)`, which says what missing cells may hold.

    Attributes:
        weights: `(K,)`, of sum 1.
        means: `(K, dim)`.
        covariances: `(K, dim, dim)`.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """`log q` of what is known of each row, NaN elsewhere, in nats, `(rows,)`."""
        parts = [self._posterior(rows) for rows in _chunks(x)]
        return np.concatenate([log_total for _, _, _, log_total in parts])

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Rows `(rows, dim)` whose missing cells (NaN) hold their conditional mean."""
        filled = []
        for rows in _chunks(x):
            shares, guesses, _, _ = self._posterior(rows)
            filled.append(np.einsum("nk,nkd->nd", shares, guesses))
        return np.where(np.isnan(x), np.concatenate(filled), x)

    def draws(
        self, x: np.ndarray, count: int, random: np.random.Generator
    ) -> np.ndarray:
        """Rows `(count, rows, dim)` whose missing cells are drawn given the known."""
        parts = [self._draws(rows, count, random) for rows in _chunks(x)]
        return np.concatenate(parts, axis=1)

    def _draws(self, x, count, random):
        shares, guesses, inverses, _ = self._posterior(x)
        edges = shares.cumsum(axis=1)
        drawn = random.random((count, len(x), 1))
        chosen = np.minimum((drawn > edges).sum(axis=2), len(self.weights) - 1)
        noise = random.standard_normal((count, *x.shape))
        found = np.repeat(x[None], count, axis=0)
        for k, covariance in enumerate(self.covariances):
            rows = np.flatnonzero((chosen == k).any(axis=0))
            rest = covariance - covariance @ inverses[k][rows] @ covariance
            factors = _factors(rest, np.isnan(x[rows]))
            moved = np.einsum("nde,cne->cnd", factors, noise[:, rows])
            of_k = np.where(np.isnan(x[rows]), guesses[rows, k] + moved, x[rows])
            taken = (chosen[:, rows] == k)[:, :, None]
            found[:, rows] = np.where(taken, of_k, found[:, rows])
        return found

    def _posterior(self, x):
        """Of each row what the components say of it.

        Returns:
            `(shares, guesses, inverses, log_total)`: `(n, K)`; `(n, K, dim)` with known
            cells as they are; for each component the inverse `A` of the covariance of
            the known cells, `(n, dim, dim)` with zeros for the others, so that
            `S - S A S` is the covariance of what is missing and 0 elsewhere; `(n,)` in
            nats.
        """
        known = ~np.isnan(x)
        both = known[:, :, None] & known[:, None, :]
        eye = np.eye(x.shape[1])
        size = 0.5 * known.sum(axis=1) * np.log(2.0 * np.pi)
        logs = np.empty((len(x), len(self.weights)))
        guesses = np.empty((len(x), len(self.weights), x.shape[1]))
        inverses = []
        parts = zip(self.weights, self.means, self.covariances, strict=True)
        for k, (weight, mean, covariance) in enumerate(parts):
            matrices = np.where(both, covariance, eye)
            inverse = np.where(both, np.linalg.inv(matrices), 0.0)
            off = np.where(known, x - mean, 0.0)
            solved = (inverse @ off[:, :, None])[..., 0]
            factors = np.linalg.cholesky(matrices)
            log_det = 2.0 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
            squared = (off * solved).sum(axis=1)
            logs[:, k] = np.log(weight) - 0.5 * (squared + log_det) - size
            guesses[:, k] = np.where(known, x, mean + solved @ covariance)
            inverses.append(inverse)
        log_total = np.logaddexp.reduce(logs, axis=1)
        return np.exp(logs - log_total[:, None]), guesses, inverses, log_total

    def as_mixture(self) -> Mixture:
        """The same as a `Mixture`, whose density TensorFlow has."""
        # S = L L^T, so that W = L^-T is upper triangular with W W^T the inverse of S.
        lower = np.linalg.cholesky(self.covariances)
        whitenings = np.swapaxes(np.linalg.inv(lower), 1, 2)
        center = self.weights @ self.means
        return Mixture.of_components(center, whitenings, self.means, self.weights)


def fit_gapped_mixture(
    x: np.ndarray, num_components: int, ridge: float = 0.01, seed: int = 0
) -> GappedMixture:
    """Fits a mixture to rows with missing cells by expectation maximisation.

    What is missing counts as drawn from the mixture, given what is known: right where
    cells are missing for no reason that they themselves would tell.

    Args:
        x: float array `(rows, dim)`, NaN where a cell is missing; no column of NaN.
        num_components: int >= 1, at most; see `keras_ebm.mixtures.fit_mixture`.
        ridge: float > 0, added to the variances, in mean variances.
        seed: int, of the first assignment.

    Returns:
        `GappedMixture`, float64.

    References:
        - Ghahramani and Jordan (1994), "Supervised learning from incomplete data via
          an EM approach".
    """
    ridge *= float(np.nanvar(x, axis=0).mean()) or 1.0
    found = _first(x, num_components, ridge, seed)
    last = -np.inf
    for _ in range(MAX_STEPS):
        found, gain = _step(found, x, ridge)
        if gain - last < LEAST_GAIN:
            break
        last = gain
    return found


def _first(x, num_components, ridge, seed):
    """A mixture of rows whose missing cells were drawn from one Gaussian."""
    mean = np.nanmean(x, axis=0)[None]
    found = GappedMixture(np.ones(1), mean, np.diag(np.nanvar(x, axis=0) + ridge)[None])
    for _ in range(5):
        found, _ = _step(found, x, ridge)
    if num_components == 1:
        return found
    filled = found.draws(x, 1, np.random.default_rng(seed))[0]
    start = fit_mixture(filled, num_components, seed=seed, max_steps=20)
    factors = np.linalg.inv(start.whitenings.astype(np.float64))
    covariances = np.swapaxes(factors, 1, 2) @ factors
    return GappedMixture(start.weights(), start.means().astype(np.float64), covariances)


def _step(mixture, x, ridge):
    """One step of expectation maximisation, and the likelihood before it in nats."""
    count, dim = mixture.means.shape
    total, sums = np.zeros(count), np.zeros((count, dim))
    squares, likelihood = np.zeros((count, dim, dim)), 0.0
    for rows in _chunks(x):
        shares, guesses, inverses, log_total = mixture._posterior(rows)
        likelihood += log_total.sum()
        total += shares.sum(axis=0)
        sums += np.einsum("nk,nkd->kd", shares, guesses)
        for k in range(count):
            off = guesses[:, k] - mixture.means[k]
            weighed = off * shares[:, k, None]
            squares[k] += weighed.T @ off
            # The sum of `S - S A S` over the rows.
            inverse = np.tensordot(shares[:, k], inverses[k], axes=1)
            covariance = mixture.covariances[k]
            squares[k] += shares[:, k].sum() * covariance
            squares[k] -= covariance @ inverse @ covariance
    total = np.maximum(total, 1e-9)
    means = sums / total[:, None]
    shift = means - mixture.means
    covariances = squares / total[:, None, None] - shift[:, :, None] * shift[:, None, :]
    covariances = covariances + ridge * np.eye(dim)
    return (
        GappedMixture(total / total.sum(), means, covariances),
        likelihood / len(x),
    )


def _factors(rest, missing):
    """Lower triangular factors of the covariances of missing cells; 1 for others."""
    both = missing[:, :, None] & missing[:, None, :]
    rest = np.where(both, rest, 0.0)
    places = np.arange(rest.shape[1])
    rest[:, places, places] += np.where(missing, 1e-9, 1.0)
    return np.linalg.cholesky(rest)


def _chunks(x):
    """Parts of rows, so that their matrices fit into memory."""
    return [x[first : first + CHUNK] for first in range(0, len(x), CHUNK)]
