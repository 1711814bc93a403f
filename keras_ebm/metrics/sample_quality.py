"""How good samples of images are: by the features and classes a network sees in them.

These are functions of arrays; `sample_quality_metrics` has them as Keras metrics. All
depend on the network (the feature extractor) and on the number of samples: compare
only values with the same of both.
"""

import warnings
from typing import NamedTuple

import numpy as np

from keras_ebm.arguments import check_size

#: Rows of a kernel matrix that are held at a time.
CHUNK = 1000


class InceptionEstimate(NamedTuple):
    """Mean and spread over splits.

    Attributes:
        mean: float >= 1.
        stddev: float >= 0 over the splits (0 for one split, which says nothing).
    """

    mean: float
    stddev: float


class KernelEstimate(NamedTuple):
    """A squared maximum mean discrepancy and how sure it is.

    Attributes:
        value: float, unbiased; below 0 by chance where the distributions are one.
        standard_error: float >= 0, by the jackknife over the rows of both sides.
    """

    value: float
    standard_error: float


def frechet_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians.

    `||mean_a - mean_b||^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2))`. The trace of
    the last root is the sum of the singular values of `cov_a^(1/2) cov_b^(1/2)`, which
    stays exact to rounding where a covariance is singular.

    Args:
        mean_a: float array of shape `(d,)`.
        cov_a: float array of shape `(d, d)`, symmetric and without a negative
            eigenvalue, beyond rounding.
        mean_b: see `mean_a`.
        cov_b: see `cov_a`.

    Returns:
        A float >= 0, in squared units of the features.

    Raises:
        ValueError: if shapes do not agree, a value is not finite, or a matrix is no
            covariance.

    References:
        - Heusel et al. (2017), "GANs trained by a two time-scale update rule converge
          to a local Nash equilibrium", https://arxiv.org/abs/1706.08500, equation 6.
    """
    mean_a, mean_b = (
        check_finite("mean_a", mean_a, 1),
        check_finite("mean_b", mean_b, 1),
    )
    cov_a, cov_b = check_finite("cov_a", cov_a, 2), check_finite("cov_b", cov_b, 2)
    size = len(mean_a)
    if mean_b.shape != (size,) or {cov_a.shape, cov_b.shape} != {(size, size)}:
        raise ValueError(
            "Means must have shape `(d,)` and covariances `(d, d)`. Received: "
            f"mean_a {mean_a.shape}, cov_a {cov_a.shape}, mean_b {mean_b.shape}, "
            f"cov_b {cov_b.shape}."
        )
    root_a, root_b = _root("cov_a", cov_a), _root("cov_b", cov_b)
    overlap = np.linalg.svd(root_a @ root_b, compute_uv=False).sum()
    # Traces of the squared roots, so that equal inputs give 0 to rounding.
    spread = np.square(root_a).sum() + np.square(root_b).sum() - 2.0 * overlap
    distance = float(np.square(mean_a - mean_b).sum() + spread)
    return 0.0 if distance < 0.0 else distance


def inception_score(probabilities: np.ndarray, splits: int = 10) -> InceptionEstimate:
    """`exp(mean_x KL(p(y|x) || mean_x p(y|x)))`, over splits of the rows.

    Row `i` belongs to split `i % splits`; published code takes runs of rows, which
    comes to the same for rows in no order. A split of `n` rows scores at most `n`.

    Args:
        probabilities: float array of shape `(rows, num_classes)`; each row sums to 1.
        splits: int >= 1. Defaults to `10`.

    Returns:
        `InceptionEstimate`; the mean is in `[1, num_classes]`.

    Raises:
        ValueError: if an argument breaks its rule, or a split would be empty.

    References:
        - Salimans et al. (2016), "Improved techniques for training GANs",
          https://arxiv.org/abs/1606.03498, section 4.
    """
    probabilities = check_finite("probabilities", probabilities, 2)
    check_size("splits", splits)
    if len(probabilities) < splits:
        raise ValueError(
            "`probabilities` must have a row for each split. Received: "
            f"{len(probabilities)} rows for splits={splits}."
        )
    total = probabilities.sum(axis=1)
    if probabilities.min() < 0.0 or np.abs(total - 1.0).max() > 1e-3:
        raise ValueError(
            "`probabilities` must be non-negative with rows that sum to 1; apply a "
            f"softmax to logits first. Received: smallest value {probabilities.min()}, "
            f"row sums from {total.min()} to {total.max()}."
        )
    parts = [probabilities[i::splits] for i in range(splits)]
    return inception_estimate(
        np.array([len(part) for part in parts], np.float64),
        np.stack([part.sum(axis=0) for part in parts]),
        np.array([_x_log_x(part).sum() for part in parts]),
    )


def kernel_distance(features_a: np.ndarray, features_b: np.ndarray) -> KernelEstimate:
    """Kernel Inception Distance: the unbiased squared MMD of two sets of features.

    The kernel is `k(x, y) = (x . y / d + 1)^3`. Means are over all pairs, each row with
    itself left out:

        mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{ij} k(a_i, b_j)

    Published code averages this over random subsets; the mean over all pairs is what
    that average tends to. Time grows with the square of the rows.

    Args:
        features_a: float array of shape `(rows, d)` with at least 3 rows.
        features_b: float array of shape `(other_rows, d)` with at least 3 rows.

    Returns:
        `KernelEstimate`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Binkowski et al. (2018), "Demystifying MMD GANs",
          https://arxiv.org/abs/1801.01401, section 4.
    """
    a, b = (
        check_finite("features_a", features_a, 2),
        check_finite("features_b", features_b, 2),
    )
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 3:
        raise ValueError(
            "`features_a` and `features_b` must have at least 3 rows of as many "
            f"features. Received: shapes {a.shape} and {b.shape}."
        )
    own_a, own_b = _kernel_sums(a), _kernel_sums(b)
    cross_a, cross_b = _kernel_sums(a, b), _kernel_sums(b, a)
    m, n = len(a), len(b)
    within_a = own_a.sum() / (m * (m - 1))
    within_b = own_b.sum() / (n * (n - 1))
    across = cross_a.sum() / (m * n)
    # The value without each row of one side in turn, for the jackknife.
    without_a = _left_out(own_a) + within_b - 2.0 * _left_out_mean(cross_a, n)
    without_b = within_a + _left_out(own_b) - 2.0 * _left_out_mean(cross_b, m)
    variance = (m - 1) * without_a.var() + (n - 1) * without_b.var()
    value = within_a + within_b - 2.0 * across
    return KernelEstimate(float(value), float(np.sqrt(variance)))


def inception_estimate(
    count: np.ndarray, total: np.ndarray, negentropy: np.ndarray
) -> InceptionEstimate:
    """From sums over each split: of rows, of `p (splits, K)`, and of `p log p`."""
    with np.errstate(invalid="ignore"):  # 0 / 0 is the nan of an empty split
        mean = total / count[:, None]
        scores = np.exp(negentropy / count - _x_log_x(mean).sum(axis=1))
    return InceptionEstimate(float(scores.mean()), float(scores.std()))


def _x_log_x(x: np.ndarray) -> np.ndarray:
    """`x log x` with its limit 0 at 0."""
    return x * np.log(np.where(x == 0.0, 1.0, x))


def mean_and_cov(count: int | np.ndarray, total: np.ndarray, products: np.ndarray):
    """Mean `(d,)` and covariance `(d, d)` from sums over the rows."""
    mean = total / count
    cov = (products - count * np.outer(mean, mean)) / (count - 1.0)
    return mean, 0.5 * (cov + cov.T)


def _root(name: str, cov: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance; rounding below 0 counts as 0."""
    values, vectors = np.linalg.eigh(cov)
    scale = np.abs(values).max(initial=0.0)
    asymmetry = np.abs(cov - cov.T).max(initial=0.0)
    if values.min(initial=0.0) < -1e-6 * scale or asymmetry > 1e-6 * scale:
        raise ValueError(
            f"`{name}` must be a covariance: symmetric, without negative eigenvalues. "
            f"Received: eigenvalues from {values.min()} to {values.max()}, differing "
            f"from its transpose by up to {asymmetry}."
        )
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _kernel_sums(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """`sum_j k(a_i, b_j)` for each row of `a`; within `a`, without `j = i`."""
    others = a if b is None else b
    size = a.shape[1]
    parts = [
        np.sum((a[start : start + CHUNK] @ others.T / size + 1.0) ** 3, axis=1)
        for start in range(0, len(a), CHUNK)
    ]
    sums = np.concatenate(parts)
    if b is None:
        sums -= (np.square(a).sum(axis=1) / size + 1.0) ** 3
    return sums


def _left_out(sums: np.ndarray) -> np.ndarray:
    """Mean over the pairs of a set without each row in turn."""
    n = len(sums)
    return (sums.sum() - 2.0 * sums) / ((n - 1) * (n - 2))


def _left_out_mean(sums: np.ndarray, others: int) -> np.ndarray:
    """Mean over the pairs with `others` rows without each row in turn."""
    return (sums.sum() - sums) / ((len(sums) - 1) * others)


def check_finite(name: str, values: np.ndarray, rank: int) -> np.ndarray:
    """`values` in float64; ValueError if they are not finite or of another rank."""
    values = np.asarray(values, np.float64)
    if values.ndim != rank or not values.size:
        raise ValueError(
            f"`{name}` must be an array of rank {rank} that is not empty. Received: "
            f"shape {values.shape}."
        )
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"`{name}` must be finite. Received: {bad.sum()} of {values.size} values "
            "with nan or inf."
        )
    return values


def warn_if_few(what: str, num_samples: int, num_features: int) -> None:
    if num_samples <= num_features:
        warnings.warn(
            f"{what} has {num_samples} images for {num_features} features: fewer than "
            f"{num_features + 1} leave the covariance singular, and the Frechet "
            "distance biased upwards.",
            UserWarning,
            stacklevel=3,
        )
