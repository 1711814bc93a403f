"""Scores that compare a row's features with those of the training rows."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from keras_ebm import mixtures
from keras_ebm.arguments import check_size
from keras_ebm.ood import projection
from keras_ebm.ood.projection import MAX_DIM, Projection
from keras_ebm.ood.score import Score
from keras_ebm.ood.training_rows import check_kept, read_class_rows, read_matrix

# Leaves a row without any active feature at 0, where 0 / 0 would be nan.
SMALLEST_NORM = 1e-12


class KNN(Score):
    """Distance to the k-th nearest training row, on L2-normalised features.

    Uses every training row, labelled or not, and keeps them all: 4 bytes a
    number, within a SavedModel too. More than 1 GB of them are refused.

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
        _check_rows_kept(self.name, train, "features")
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
        _check_rows_kept(self.name, train, "inputs")
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


class _Gaussian(Score):
    """What scores by Gaussians share: features above `max_dim` are projected."""

    _values = ("max_dim",)

    def __init__(self, max_dim: int = MAX_DIM):
        super().__init__()
        self.max_dim = check_size("max_dim", max_dim)

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]):
        # Earlier versions knew no projection, beside which a ridge is read.
        ridges = dict.fromkeys(("ridge", "global_ridge"), np.zeros(1, np.float32))
        return super().from_state({**Projection.none().arrays(), **ridges, **state})

    def _check_kept(self, train, num_covariances: int) -> None:
        """Refuses features whose covariances would take too much memory."""
        dim = np.shape(train.get("features", ()))[-1:]
        kept = min(self.max_dim, *dim) if dim else 0
        check_kept(
            self.name,
            4 * num_covariances * kept**2,
            f"{num_covariances} covariance(s) of {kept} features",
            f"lower `max_dim`={self.max_dim}, or take a layer of fewer features",
        )

    def _read_features(self, train) -> np.ndarray:
        """Features in float64, or in float32 where they will be projected."""
        dim = np.shape(train.get("features", ()))[-1:]
        wide = bool(dim) and dim[0] > self.max_dim
        return read_matrix(train, dtype="float32" if wide else "float64")


class Mahalanobis(_Gaussian):
    """Squared Mahalanobis distance to the nearest class mean.

    All classes share one covariance, to whose diagonal 1/1000 of the mean
    variance is added. Needs labels.

    Of more than `max_dim` features the covariance is taken in that many directions,
    those in which the training rows vary most, and what is left of a row is measured
    by the mean variance of all the other directions.

    Args:
        max_dim: int >= 1. Defaults to `512`.

    References:
        - Lee et al. (2018), "A simple unified framework for detecting
          out-of-distribution samples and adversarial attacks", equation 2.
    """

    name = "mahalanobis"
    requires = frozenset({"features"})
    # The means of the classes are whitened.
    fitted_names = ("center", "whitening", "class_means", "ridge", *projection.NAMES)

    def fit(self, train, validation=None):
        self._check_kept(train, 1)
        features = self._read_features(train)
        found = Projection.fit(features, self.max_dim)
        self.arrays = _class_distances(train, found, found.project(features))
        return self

    def _score(self, inputs):
        found = Projection.from_arrays(self.arrays)
        features, left = found.split(inputs["features"])
        nearest = _nearest_class(self.arrays, features)
        if left is None:
            return nearest
        return nearest + left / (found.rest[0] + self.arrays["ridge"][0])


class RelativeMahalanobis(_Gaussian):
    """Mahalanobis distance to the nearest class less that to all rows at once.

    The second is taken under one Gaussian fitted to every training row,
    labelled or not; it cancels directions in which no class differs.

    Args:
        max_dim: int >= 1, see `Mahalanobis`. Defaults to `512`.

    References:
        - Ren et al. (2021), "A simple fix to Mahalanobis distance for
          improving near-OOD detection", section 3.
    """

    name = "relative_mahalanobis"
    requires = frozenset({"features"})
    fitted_names = (
        *Mahalanobis.fitted_names,
        "global_center",
        "global_whitening",
        "global_ridge",
    )

    def fit(self, train, validation=None):
        self._check_kept(train, 2)
        features = self._read_features(train)
        found = Projection.fit(features, self.max_dim)
        features = found.project(features)
        center = features.mean(axis=0)
        covariance = _covariance(features - center)
        ridge = 1e-3 * _mean_variance(covariance, found)
        whitening = _whitening(covariance, ridge)
        self.arrays = {
            **_class_distances(train, found, features),
            "global_center": center.astype(np.float32),
            "global_whitening": whitening.astype(np.float32),
            "global_ridge": np.array([ridge], np.float32),
        }
        return self

    def _score(self, inputs):
        found = Projection.from_arrays(self.arrays)
        features, left = found.split(inputs["features"])
        nearest = _nearest_class(self.arrays, features)
        centered = features - self.arrays["global_center"]
        white = centered @ self.arrays["global_whitening"]
        relative = nearest - tf.reduce_sum(tf.square(white), axis=-1)
        if left is None:
            return relative
        ridges = (self.arrays[name][0] for name in ("ridge", "global_ridge"))
        near, all_rows = (1.0 / (found.rest[0] + ridge) for ridge in ridges)
        return relative + (near - all_rows) * left


class ClassGaussian(_Gaussian):
    """`-log p(u)` in nats, `u` the L2-normalised features, one Gaussian a class.

    `p(u) = sum_c p(c) N(u; m_c, S_c)`: an energy in feature space. Each class
    has its own full covariance; 1/100 of the mean variance within classes is
    added to its diagonal, so a class of a few rows stays usable. Needs labels,
    and keeps `num_classes * dim**2` numbers, of which more than 1 GB are refused.

    Of more than `max_dim` features a class has its covariance in that many directions,
    those in which the training rows vary most; in the others all classes share one
    variance.

    Args:
        max_dim: int >= 1. Defaults to `512`.
    """

    name = "class_gaussian"
    requires = frozenset({"features"})
    fitted_names = (*mixtures.NAMES, *projection.NAMES, "ridge")

    def fit(self, train, validation=None):
        self._check_kept(train, len(np.unique(train.get("labels", ()))))
        units = _unit_rows(self._read_features(train))
        found = Projection.fit(units, self.max_dim)
        rows = read_class_rows(train, found.project(units))
        center = rows.features.mean(axis=0)
        residuals = rows.features - rows.means[rows.labels]
        ridge = 1e-2 * _mean_variance(_covariance(residuals), found)
        whitenings = np.stack(
            [
                _whitening(_covariance(residuals[rows.labels == c]), ridge)
                for c in range(len(rows.means))
            ]
        )
        weights = rows.counts / rows.counts.sum()
        mixture = mixtures.Mixture.of_components(
            center, whitenings, rows.means, weights
        )
        self.arrays = {
            **mixture.arrays(),
            **found.arrays(),
            "ridge": np.array([ridge], np.float32),
        }
        return self

    def _score(self, inputs):
        mixture = mixtures.Mixture.from_arrays(self.arrays)
        found = Projection.from_arrays(self.arrays)
        features, left = found.split(_unit_tensor(inputs["features"]))
        energy = -mixture.log_density(features)
        if left is None:
            return energy
        return energy - found.log_density_of_rest(left, float(self.arrays["ridge"][0]))


def _class_distances(train, found: Projection, features) -> dict[str, np.ndarray]:
    """What `_nearest_class` reads, of features that are projected already."""
    rows = read_class_rows(train, features)
    center = rows.features.mean(axis=0)
    covariance = _covariance(rows.features - rows.means[rows.labels])
    ridge = 1e-3 * _mean_variance(covariance, found)
    whitening = _whitening(covariance, ridge)
    # Centring first keeps the float32 products of the score small.
    return {
        "center": center.astype(np.float32),
        "whitening": whitening.astype(np.float32),
        "class_means": ((rows.means - center) @ whitening).astype(np.float32),
        "ridge": np.array([ridge], np.float32),
        **found.arrays(),
    }


def _nearest_class(arrays, features: tf.Tensor) -> tf.Tensor:
    """Squared distances to the nearest class mean, `(batch,)`."""
    white = (features - arrays["center"]) @ arrays["whitening"]
    squared = _squared_distances(white, tf.constant(arrays["class_means"]))
    return tf.reduce_min(squared, axis=-1)


def _check_rows_kept(name: str, train, key: str) -> None:
    """Refuses training rows that are too many to be kept."""
    shape = np.shape(train.get(key, ()))
    if len(shape) == 2:
        check_kept(
            name,
            4 * shape[0] * shape[1],
            f"{shape[0]} training rows of {shape[1]} {key}",
            "give fewer training rows, or take a score that keeps none, such as "
            "'mahalanobis'",
        )


def _covariance(residuals: np.ndarray) -> np.ndarray:
    return residuals.T @ residuals / len(residuals)


def _mean_variance(covariance: np.ndarray, found: Projection) -> float:
    variance = found.mean_variance(covariance)
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
