"""Scores that compare a row's features with those of the training rows."""

import numpy as np
import tensorflow as tf

from keras_ebm import mixtures
from keras_ebm.ood.score import Score
from keras_ebm.ood.training_rows import read_class_rows, read_matrix

# Leaves a row without any active feature at 0, where 0 / 0 would be nan.
SMALLEST_NORM = 1e-12


class KNN(Score):
    """Distance to the k-th nearest training row, on L2-normalised features.

    Uses every training row, labelled or not, and keeps them all: 4 bytes a
    number, within a SavedModel too, whose graph is limited to 2 GB.

    Args:
        k: int >= 1. Defaults to `10`.

    References:
        - Sun et al. (2022), "Out-of-distribution detection with deep nearest
          neighbors", section 3.
    """

    _values = ("k",)

    name = "knn"
    requires = frozenset({"features"})
    fitted_names = ("rows",)

    def __init__(self, k: int = 10):
        super().__init__()
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}.")
        self.k = k

    def fit(self, train, validation=None):
        features = read_matrix(train)
        if len(features) < self.k:
            raise ValueError(
                f"`train['features']` must have at least k={self.k} rows. "
                f"Received: {len(features)}. Lower `k` or pass more rows."
            )
        self.arrays = {"rows": _unit_rows(features).astype(np.float32)}
        return self

    def _score(self, inputs):
        return _kth_distance(
            _unit_tensor(inputs["features"]), self.arrays["rows"], self.k
        )


class Nearest(Score):
    """Distance to the k-th nearest training row, of preprocessed inputs.

    No network is asked: for tables, whose entries are standardised or normal
    scores, it is the score to beat. Keeps every training row, as `KNN` does.

    Args:
        k: int >= 1. Defaults to `1`.

    References:
        - Ramaswamy et al. (2000), "Efficient algorithms for mining outliers from
          large data sets", definition of D^k.
    """

    _values = ("k",)

    name = "nearest"
    requires = frozenset({"inputs"})
    fitted_names = ("center", "rows")

    def __init__(self, k: int = 1):
        super().__init__()
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}.")
        self.k = k

    def fit(self, train, validation=None):
        rows = read_matrix(train, "inputs")
        if len(rows) < self.k:
            raise ValueError(
                f"`train['inputs']` must have at least k={self.k} rows. "
                f"Received: {len(rows)}. Lower `k` or pass more rows."
            )
        # Centred in float32, as `_score` does: equal rows stay equal to the bit.
        center = rows.mean(axis=0).astype(np.float32)
        self.arrays = {"center": center, "rows": rows.astype(np.float32) - center}
        return self

    def _score(self, inputs):
        centred = inputs["inputs"] - self.arrays["center"]
        return _kth_distance(centred, self.arrays["rows"], self.k)


class Mahalanobis(Score):
    """Squared Mahalanobis distance to the nearest class mean.

    All classes share one covariance, to whose diagonal 1/1000 of the mean
    variance is added. Needs labels.

    References:
        - Lee et al. (2018), "A simple unified framework for detecting
          out-of-distribution samples and adversarial attacks", equation 2.
    """

    name = "mahalanobis"
    requires = frozenset({"features"})
    # The means of the classes are whitened.
    fitted_names = ("center", "whitening", "class_means")

    def fit(self, train, validation=None):
        rows = read_class_rows(train, read_matrix(train))
        center = rows.features.mean(axis=0)
        covariance = _covariance(rows.features - rows.means[rows.labels])
        whitening = _whitening(covariance, 1e-3 * _mean_variance(covariance))
        # Centring first keeps the float32 products of the score small.
        self.arrays = {
            "center": center.astype(np.float32),
            "whitening": whitening.astype(np.float32),
            "class_means": ((rows.means - center) @ whitening).astype(np.float32),
        }
        return self

    def _score(self, inputs):
        white = (inputs["features"] - self.arrays["center"]) @ self.arrays["whitening"]
        squared = _squared_distances(white, tf.constant(self.arrays["class_means"]))
        return tf.reduce_min(squared, axis=-1)


class RelativeMahalanobis(Score):
    """Mahalanobis distance to the nearest class less that to all rows at once.

    The second is taken under one Gaussian fitted to every training row,
    labelled or not; it cancels directions in which no class differs.

    References:
        - Ren et al. (2021), "A simple fix to Mahalanobis distance for
          improving near-OOD detection", section 3.
    """

    name = "relative_mahalanobis"
    requires = frozenset({"features"})
    fitted_names = (*Mahalanobis.fitted_names, "global_center", "global_whitening")

    def fit(self, train, validation=None):
        features = read_matrix(train)
        center = features.mean(axis=0)
        covariance = _covariance(features - center)
        whitening = _whitening(covariance, 1e-3 * _mean_variance(covariance))
        self.arrays = {
            **Mahalanobis().fit(train).arrays,
            "global_center": center.astype(np.float32),
            "global_whitening": whitening.astype(np.float32),
        }
        return self

    def _score(self, inputs):
        nearest = Mahalanobis._score(self, inputs)
        centered = inputs["features"] - self.arrays["global_center"]
        white = centered @ self.arrays["global_whitening"]
        return nearest - tf.reduce_sum(tf.square(white), axis=-1)


class ClassGaussian(Score):
    """`-log p(u)` in nats, `u` the L2-normalised features, one Gaussian a class.

    `p(u) = sum_c p(c) N(u; m_c, S_c)`: an energy in feature space. Each class
    has its own full covariance; 1/100 of the mean variance within classes is
    added to its diagonal, so a class of a few rows stays usable. Needs labels,
    and keeps `num_classes * dim**2` numbers.
    """

    name = "class_gaussian"
    requires = frozenset({"features"})
    fitted_names = mixtures.NAMES

    def fit(self, train, validation=None):
        rows = read_class_rows(train, _unit_rows(read_matrix(train)))
        center = rows.features.mean(axis=0)
        residuals = rows.features - rows.means[rows.labels]
        ridge = 1e-2 * _mean_variance(_covariance(residuals))
        whitenings = np.stack(
            [
                _whitening(_covariance(residuals[rows.labels == c]), ridge)
                for c in range(len(rows.means))
            ]
        )
        weights = rows.counts / rows.counts.sum()
        self.arrays = mixtures.Mixture.of_components(
            center, whitenings, rows.means, weights
        ).arrays()
        return self

    def _score(self, inputs):
        mixture = mixtures.Mixture.from_arrays(self.arrays)
        return -mixture.log_density(_unit_tensor(inputs["features"]))


def _covariance(residuals: np.ndarray) -> np.ndarray:
    return residuals.T @ residuals / len(residuals)


def _mean_variance(covariance: np.ndarray) -> float:
    variance = float(np.trace(covariance)) / len(covariance)
    if variance <= 0.0:
        raise ValueError(
            "`train['features']` must vary within the classes. Received: "
            "features that are the same for every row of a class."
        )
    return variance


def _whitening(covariance: np.ndarray, ridge: float) -> np.ndarray:
    """Upper triangular `W` with `W W^T = (covariance + ridge I)^-1`."""
    identity = np.eye(len(covariance))
    factor = np.linalg.cholesky(covariance + ridge * identity)
    return np.linalg.solve(factor, identity).T


def _unit_rows(features: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(norms, SMALLEST_NORM)


def _unit_tensor(features: tf.Tensor) -> tf.Tensor:
    norms = tf.norm(features, axis=-1, keepdims=True)
    return features / tf.maximum(norms, SMALLEST_NORM)


def _kth_distance(x: tf.Tensor, rows: np.ndarray, k: int) -> tf.Tensor:
    """Distance of each `x` to its k-th nearest of `rows`, `(batch,)`; 0 if equal to k.

    Products in float64 find the k nearest, as those of float32 would blur distances
    below about 1e-3 of the rows' lengths; the distances are then of differences.
    """
    rows = tf.constant(rows)
    wide = tf.cast(rows, tf.float64)
    lengths = tf.reduce_sum(tf.square(wide), axis=-1)
    products = tf.matmul(tf.cast(x, tf.float64), wide, transpose_b=True)
    nearest = tf.math.top_k(2.0 * products - lengths, k).indices
    differences = x[:, None] - tf.gather(rows, nearest)
    squared = tf.reduce_sum(tf.square(differences), axis=-1)
    return tf.sqrt(tf.reduce_max(squared, axis=-1))


def _squared_distances(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """`|a - b|^2` of each row of one with each of the other, `(n, m)`."""
    products = tf.matmul(left, right, transpose_b=True)
    left_norms = tf.reduce_sum(tf.square(left), axis=-1)
    right_norms = tf.reduce_sum(tf.square(right), axis=-1)
    return left_norms[:, None] - 2.0 * products + right_norms
