"""How good samples of images are: by the features and classes a network sees in them.

Each measure is a function of arrays and a streaming Keras metric. All three depend on
the network (the feature extractor) and on the number of samples: compare only values
with the same of both.
"""

import dataclasses
import functools
import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ebm.arguments import check_size
from keras_ebm.random import StepRandom

INCEPTION = "inception"
#: Name of the extractor of features that were extracted elsewhere.
GIVEN = "features as given"
#: Rows of a kernel matrix that are held at a time.
CHUNK = 1000

Extractor = keras.Layer | Callable | str | None


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
    mean_a, mean_b = _finite("mean_a", mean_a, 1), _finite("mean_b", mean_b, 1)
    cov_a, cov_b = _finite("cov_a", cov_a, 2), _finite("cov_b", cov_b, 2)
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
    probabilities = _finite("probabilities", probabilities, 2)
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
    return _inception_estimate(
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
    a, b = _finite("features_a", features_a, 2), _finite("features_b", features_b, 2)
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


class InceptionFeatures:
    """Features and class probabilities of Keras's InceptionV3, built when first called.

    Images of any size are resized to 299 x 299 (bilinear, antialiased where they
    shrink), grey ones repeated to three channels. Keras's ImageNet weights are
    not those of the network that published FIDs are computed with: such figures are
    near to these, but not to be compared with them.

    Args:
        weights: `"imagenet"`, which Keras downloads once, or the path of a weights
            file for `keras.applications.InceptionV3`.

    Call arguments:
        images: `(batch, height, width, 1 or 3)`: integers from 0 to 255 (uint8), or
            floats in [-1, 1]; the dtype decides.

    Returns:
        Dict of `"features"` `(batch, 2048)` and `"probabilities"` `(batch, 1000)`.

    Raises:
        OSError: if the weights cannot be had.
    """

    SIZE = 299

    def __init__(self, weights: str = "imagenet"):
        self.weights = weights
        self.name = f"keras InceptionV3 {weights}"

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network, loaded on first use."""
        try:
            with tf.init_scope():
                network = keras.applications.InceptionV3(weights=self.weights)
        # Keras raises a bare Exception where a download fails.
        except Exception as error:
            reason = " ".join(str(error).split())
            raise OSError(
                f"The weights {self.weights!r} of InceptionV3 cannot be had "
                f"({reason}). Pass a `feature_extractor` of your own, such as a "
                "classifier of these images, or put Keras's file of weights in "
                "~/.keras/models."
            ) from error
        outputs = {
            "features": network.layers[-1].input,
            "probabilities": network.output,
        }
        return keras.Model(network.inputs, outputs)

    def __call__(self, images):
        model = self.model
        images = ops.convert_to_tensor(images)
        is_float = keras.backend.is_float_dtype(
            keras.backend.standardize_dtype(images.dtype)
        )
        images = ops.cast(images, "float32")
        if not is_float:
            images = images / 127.5 - 1.0
        images = ops.image.resize(images, (self.SIZE, self.SIZE), antialias=True)
        if images.shape[-1] == 1:
            images = ops.repeat(images, 3, axis=-1)
        return model(images, training=False)


@functools.cache
def _inception() -> InceptionFeatures:
    """One network for all metrics of a process."""
    return InceptionFeatures()


def extractor_name(feature_extractor: Extractor) -> str:
    """What tells one feature extractor from another, in files of statistics.

    Of a Keras layer or model a digest of its weights; of another callable its attribute
    `name`, or else its qualified name.
    """
    if feature_extractor is None:
        return GIVEN
    if feature_extractor == INCEPTION:
        return _inception().name
    if isinstance(feature_extractor, keras.Layer):
        digest = hashlib.sha256()
        for weight in feature_extractor.get_weights():
            digest.update(str(weight.shape).encode() + weight.tobytes())
        return f"keras weights {digest.hexdigest()[:16]}"
    name = getattr(feature_extractor, "name", None)
    return name or getattr(
        feature_extractor, "__qualname__", type(feature_extractor).__name__
    )


def extract(
    feature_extractor: Extractor,
    images,
    output: str = "features",
    from_logits: bool = False,
):
    """Runs a feature extractor.

    Args:
        feature_extractor: see `FrechetDistance`.
        images: what it takes; features or probabilities themselves for None.
        output: `"features"` or `"probabilities"`, which of its outputs to return.
        from_logits: bool, whether its only output holds the logits of these
            probabilities. Defaults to `False`.

    Returns:
        Tensor of shape `(batch, d)`, or `(batch, num_classes)`.

    Raises:
        ValueError: if the extractor has no such output, or it has another rank.
    """
    if feature_extractor == INCEPTION:
        feature_extractor = _inception()
    if feature_extractor is None:
        found = images
    elif isinstance(feature_extractor, keras.Layer):
        found = feature_extractor(images, training=False)
    else:
        found = feature_extractor(images)
    if isinstance(found, dict):
        found = _pick(found, output)
    elif from_logits:
        found = ops.softmax(ops.cast(found, "float32"), axis=-1)
    found = ops.convert_to_tensor(found)
    if len(found.shape) != 2 or found.shape[1] is None:
        raise ValueError(
            f"`feature_extractor` must give {output} of shape (batch, d). Received: "
            f"shape {tuple(found.shape)}; pool or flatten them, or name an extractor "
            "of images."
        )
    return found


def _pick(outputs: dict, output: str):
    if output == "probabilities" and output not in outputs and "logits" in outputs:
        return ops.softmax(ops.cast(outputs["logits"], "float32"), axis=-1)
    if output not in outputs:
        raise ValueError(
            f"`feature_extractor` must give {output!r}. Received: a dict with "
            f"{', '.join(map(repr, outputs))}."
        )
    return outputs[output]


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceStatistics:
    """What samples are compared with: statistics of the features of real images.

    Attributes:
        mean: float64 array of shape `(d,)`.
        cov: float64 array of shape `(d, d)`, with `num_samples - 1` in the
            denominator.
        num_samples: int, the images that they are of.
        features: float32 array of shape `(at most a capacity, d)`, the features of
            images drawn among them, for the kernel distance.
        extractor: str, the `extractor_name` of what made the features.
        description: str, which images they are; kept for the reader.
    """

    mean: np.ndarray
    cov: np.ndarray
    num_samples: int
    features: np.ndarray
    extractor: str
    description: str = ""

    def save(self, path: str | os.PathLike) -> None:
        """Writes an `.npz` file, under exactly this path."""
        with open(path, "wb") as file:
            np.savez_compressed(file, **dataclasses.asdict(self))

    @classmethod
    def load(
        cls, path: str | os.PathLike, feature_extractor: Extractor = None
    ) -> "ReferenceStatistics":
        """Reads what `save` wrote.

        Args:
            path: the file.
            feature_extractor: what samples will go through; None does not check it.

        Raises:
            ValueError: if the file is none of these, or of another extractor.
            OSError: if there is no such file.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        try:
            with np.load(path, allow_pickle=False) as file:
                values = {name: file[name] for name in names}
        except (KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} must be a file that `ReferenceStatistics.save` wrote. "
                f"Received: {error}."
            ) from error
        for name in ("num_samples", "extractor", "description"):
            values[name] = values[name].item()
        statistics = cls(**values)
        if feature_extractor is not None:
            statistics.check_extractor(feature_extractor, str(path))
        return statistics

    def check_extractor(
        self, feature_extractor: Extractor, where: str = "reference"
    ) -> None:
        """Raises `ValueError` unless these are features of that extractor."""
        name = extractor_name(feature_extractor)
        if name != self.extractor:
            raise ValueError(
                f"{where} must hold statistics of the feature extractor in use, "
                f"{name!r}. Received: those of {self.extractor!r}; compute them anew."
            )


def reference_statistics(
    batches: Iterable,
    feature_extractor: Extractor = INCEPTION,
    *,
    capacity: int = 2000,
    seed: int = 0,
    description: str = "",
) -> ReferenceStatistics:
    """Passes once over real images.

    Args:
        batches: iterable of batches in the form that the samples will have.
        feature_extractor: see `FrechetDistance`.
        capacity: see `KernelDistance`.
        seed: see `KernelDistance`.
        description: str, which images they are.

    Returns:
        `ReferenceStatistics`. It warns if there are fewer images than features and
        one, as their covariance is then singular.

    Raises:
        ValueError: if there are fewer than 2 images, or a feature is not finite.
    """
    moments, reservoir = _Moments(), _Reservoir(capacity, seed)
    for batch in batches:
        features = extract(feature_extractor, batch)
        moments.update_state(features)
        reservoir.update_state(features)
    num_samples = moments.num_samples()
    if num_samples < 2:
        raise ValueError(
            f"`batches` must hold at least 2 images. Received: {num_samples}."
        )
    mean, cov = _mean_and_cov(*(np.asarray(value) for value in moments.state()))
    _finite("batches", mean, 1)
    _warn_if_few("the reference", num_samples, len(mean))
    return ReferenceStatistics(
        mean,
        cov,
        num_samples,
        reservoir.kept(),
        extractor_name(feature_extractor),
        description,
    )


class _Moments(keras.metrics.Metric):
    """Sums of features and of their products, in float64.

    Sums rather than centred products, since replicas can add them up. They lose the
    digits by which a mean exceeds its standard deviation, squared: of 16, 4 at 100.
    """

    def __init__(self, **kwargs):
        super().__init__(dtype="float64", name="moments", **kwargs)
        self.count = self.add_variable((), "zeros", dtype="float64", name="count")
        self.total = self.products = None

    def update_state(self, features):
        features = ops.cast(features, "float64")
        if self.total is None:
            size = features.shape[1]
            self.total = self.add_variable((size,), "zeros", "float64", name="total")
            self.products = self.add_variable(
                (size, size), "zeros", "float64", name="products"
            )
        self.count.assign_add(ops.cast(ops.shape(features)[0], "float64"))
        self.total.assign_add(ops.sum(features, axis=0))
        self.products.assign_add(ops.matmul(ops.transpose(features), features))

    def num_samples(self) -> int:
        return int(self.count.numpy())

    def state(self) -> list:
        """Tensors for `_mean_and_cov`; empty before the first batch."""
        if self.total is None:
            return []
        return [
            ops.convert_to_tensor(v) for v in (self.count, self.total, self.products)
        ]


class _Reservoir(keras.metrics.Metric):
    """A uniform draw, without replacement, of at most `capacity` rows of all seen.

    Each row gets a random key, and the rows of the largest keys are kept; 0 is the key
    of a place that is still empty.
    """

    def __init__(self, capacity: int, seed: int, **kwargs):
        super().__init__(dtype="float32", name="reservoir", **kwargs)
        self.capacity = check_size("capacity", capacity)
        self.seed = seed
        self.seen = self.add_variable((), "zeros", dtype="int64", name="seen")
        # One that is not finite may be dropped, and shall not be forgotten.
        self.bad = self.add_variable((), "zeros", dtype="int64", name="bad")
        self.keys = self.rows = None

    def update_state(self, features):
        features = ops.cast(features, "float32")
        if self.rows is None:
            shape = (self.capacity, features.shape[1])
            self.rows = self.add_variable(shape, "zeros", "float32", name="rows")
            self.keys = self.add_variable(shape[:1], "zeros", "float32", name="keys")
        count = ops.shape(features)[0]
        drawn = StepRandom(self.seed, self.seen).uniform([count], "reservoir")
        keys = ops.concatenate([ops.convert_to_tensor(self.keys), drawn], axis=0)
        rows = ops.concatenate([ops.convert_to_tensor(self.rows), features], axis=0)
        largest, kept = ops.top_k(keys, self.capacity)
        self.keys.assign(largest)
        self.rows.assign(ops.take(rows, kept, axis=0))
        self.seen.assign_add(ops.cast(count, "int64"))
        bad = ops.logical_not(ops.isfinite(features))
        self.bad.assign_add(ops.sum(ops.cast(bad, "int64")))

    def kept(self) -> np.ndarray:
        """float32 array `(min(seen, capacity), d)`, in no order."""
        return _filled(*(np.asarray(value) for value in self.state()))

    def state(self) -> list:
        """Tensors for `_filled`; empty before the first batch."""
        if self.rows is None:
            return []
        return [ops.convert_to_tensor(v) for v in (self.keys, self.rows, self.bad)]


class _SampleMetric(keras.metrics.Metric):
    """Shares the extraction, and results that numpy computes."""

    def __init__(self, feature_extractor: Extractor, name: str, **kwargs):
        super().__init__(name=name, **kwargs)
        is_known = feature_extractor in (None, INCEPTION)
        if not is_known and not callable(feature_extractor):
            raise ValueError(
                "`feature_extractor` must be a Keras model or another callable, "
                f"{INCEPTION!r}, or None. Received: "
                f"feature_extractor={feature_extractor!r}."
            )
        self.feature_extractor = feature_extractor

    def update_state(self, images):
        """Adds a batch.

        Args:
            images: what `feature_extractor` takes, `(batch, ...)`.

        Raises:
            ValueError: if what it makes of them has another shape.
        """
        raise NotImplementedError

    def _state(self) -> list:
        """Tensors that `_statistic` takes; empty before the first batch."""
        raise NotImplementedError

    def _statistic(self, *state) -> float:
        """The value from arrays; `nan` where they have no value."""
        raise NotImplementedError

    def result(self):
        state = self._state()
        if not state:
            return ops.convert_to_tensor(float("nan"), self.dtype)
        if tf.executing_eagerly():
            value = self._statistic(*(np.asarray(part) for part in state))
        else:
            value = tf.numpy_function(
                lambda *state: np.float64(self._statistic(*state)),
                state,
                tf.float64,
                stateful=False,
            )
            value = tf.ensure_shape(value, ())
        return ops.cast(value, self.dtype)

    def get_config(self):
        extractor = self.feature_extractor
        if isinstance(extractor, keras.Layer) and extractor.weights:
            raise ValueError(
                f"`{type(self).__name__}` has no config with a trained "
                "`feature_extractor`, as a config keeps no weights; make the metric "
                "anew from the model. Received: "
                f"feature_extractor={extractor.name!r}."
            )
        if not isinstance(extractor, str | None):
            extractor = keras.saving.serialize_keras_object(extractor)
        return {**super().get_config(), "feature_extractor": extractor}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config["feature_extractor"], dict):
            config["feature_extractor"] = keras.saving.deserialize_keras_object(
                config["feature_extractor"]
            )
        return cls(**config)


class _ReferencedMetric(_SampleMetric):
    """A metric of samples against reference statistics."""

    def __init__(self, reference, feature_extractor, name, **kwargs):
        super().__init__(feature_extractor, name, **kwargs)
        self.reference_path = None
        if not isinstance(reference, ReferenceStatistics):
            self.reference_path = os.fspath(reference)
            reference = ReferenceStatistics.load(reference)
        if feature_extractor is not None:
            reference.check_extractor(feature_extractor, "`reference`")
        self.reference = reference

    def update_state(self, images):
        found = extract(self.feature_extractor, images)
        size = len(self.reference.mean)
        if found.shape[1] != size:
            raise ValueError(
                "`images` must have as many features as the reference, "
                f"{size}. Received: shape {tuple(found.shape)}."
            )
        self._add(found)

    def get_config(self):
        if self.reference_path is None:
            raise ValueError(
                f"`{type(self).__name__}` has a config only where `reference` was "
                "given as a path; save the statistics and pass the path."
            )
        return {**super().get_config(), "reference": self.reference_path}


@keras.saving.register_keras_serializable(package="keras_ebm")
class FrechetDistance(_ReferencedMetric):
    """Frechet distance of the features of samples and of real images (FID).

    Equal to `keras_ebm.metrics.frechet_distance` of both means and covariances. It
    is biased upwards for few samples. Fewer samples than features and one leave
    the covariance singular, of which `result` warns. Sums take `8 d^2` bytes; the
    result is computed by numpy, not under XLA (`jit_compile=True`).

    Args:
        reference: `ReferenceStatistics`, or the path of their file.
        feature_extractor: Keras model or callable from images to features `(batch,
            d)`, or to a dict with `"features"`. `"inception"` is
            `InceptionFeatures()`, which takes uint8 images, or floats in [-1, 1];
            another is given the images as they come, samples and real ones alike.
            None: `update_state` is given features.
        name: string. Defaults to `"frechet_distance"`.
        **kwargs: forwarded to `keras.metrics.Metric`.

    Call arguments:
        images: a batch of samples, `(batch, ...)`.

    Returns:
        A scalar >= 0; `nan` for fewer than 2 samples, or if a feature was not finite.

    Raises:
        ValueError: if `reference` is of another extractor.

    References:
        - Heusel et al. (2017), https://arxiv.org/abs/1706.08500.
    """

    def __init__(
        self,
        reference: ReferenceStatistics | str | os.PathLike,
        feature_extractor: Extractor = INCEPTION,
        name: str = "frechet_distance",
        **kwargs,
    ):
        super().__init__(reference, feature_extractor, name, **kwargs)
        self.moments = _Moments()

    def _add(self, found):
        self.moments.update_state(found)

    def _state(self):
        return self.moments.state()

    def _statistic(self, count, total, products):
        if count < 2 or not np.isfinite(products).all():
            return float("nan")
        _warn_if_few(f"`{self.name}`", int(count), len(total))
        mean, cov = _mean_and_cov(count, total, products)
        return frechet_distance(mean, cov, self.reference.mean, self.reference.cov)


@keras.saving.register_keras_serializable(package="keras_ebm")
class KernelDistance(_ReferencedMetric):
    """Kernel Inception Distance of samples: unbiased, at any number of them.

    `keras_ebm.metrics.kernel_distance` of the reference's features and of at most
    `capacity` samples, drawn among all that were seen. Every pair of rows counts, so
    there are no running sums. Memory is `4 capacity d` bytes; the result is computed
    by numpy, not under XLA (`jit_compile=True`).

    Args:
        reference: `ReferenceStatistics`, or the path of their file.
        feature_extractor: see `FrechetDistance`.
        capacity: int >= 3, samples to keep. Defaults to `2000`.
        seed: int, of the draw; it depends on the batches too.
        name: string. Defaults to `"kernel_distance"`.
        **kwargs: forwarded to `keras.metrics.Metric`.

    Call arguments:
        images: a batch of samples, `(batch, ...)`.

    Returns:
        A scalar, below 0 by chance where the samples are as good as real; `nan` for
        fewer than 3 of either, or if a feature was not finite.

    Raises:
        ValueError: if `reference` is of another extractor.

    References:
        - Binkowski et al. (2018), https://arxiv.org/abs/1801.01401.
    """

    def __init__(
        self,
        reference: ReferenceStatistics | str | os.PathLike,
        feature_extractor: Extractor = INCEPTION,
        capacity: int = 2000,
        seed: int = 0,
        name: str = "kernel_distance",
        **kwargs,
    ):
        super().__init__(reference, feature_extractor, name, **kwargs)
        self.capacity = capacity
        self.seed = seed
        self.reservoir = _Reservoir(capacity, seed)

    def _add(self, found):
        self.reservoir.update_state(found)

    def _state(self):
        return self.reservoir.state()

    def _statistic(self, keys, rows, bad):
        return self._estimate(_filled(keys, rows, bad)).value

    def _estimate(self, rows) -> KernelEstimate:
        few = min(len(rows), len(self.reference.features)) < 3
        if few or not np.isfinite(rows).all():
            return KernelEstimate(float("nan"), float("nan"))
        return kernel_distance(rows, self.reference.features)

    def estimate(self) -> KernelEstimate:
        """The result with its standard error; eagerly only."""
        state = self._state()
        rows = self.reservoir.kept() if state else np.zeros((0, 1))
        return self._estimate(rows)

    def get_config(self):
        return {**super().get_config(), "capacity": self.capacity, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_ebm")
class InceptionScore(_SampleMetric):
    """How sure a classifier is of each sample, and how evenly its classes occur.

    Equal to `keras_ebm.metrics.inception_score`. The result is computed by numpy, not
    under XLA (`jit_compile=True`).

    Args:
        feature_extractor: Keras model or callable from images to probabilities `(batch,
            num_classes)`, or to a dict with `"probabilities"` or `"logits"`.
            `"inception"` is `InceptionFeatures()`, which takes uint8 images, or floats
            in [-1, 1]. None: `update_state` is given probabilities.
        splits: int >= 1; sample `i` belongs to split `i % splits`. Defaults to `10`.
        from_logits: bool, whether the extractor's output, where it is no dict, or what
            `update_state` is given, holds logits. Defaults to `False`.
        name: string. Defaults to `"inception_score"`.
        **kwargs: forwarded to `keras.metrics.Metric`.

    Call arguments:
        images: a batch of samples, `(batch, ...)`.

    Returns:
        A scalar in `[1, num_classes]`, the mean over the splits; `nan` for fewer
        samples than splits.

    References:
        - Salimans et al. (2016), https://arxiv.org/abs/1606.03498.
    """

    def __init__(
        self,
        feature_extractor: Extractor = INCEPTION,
        splits: int = 10,
        from_logits: bool = False,
        name: str = "inception_score",
        **kwargs,
    ):
        super().__init__(feature_extractor, name, **kwargs)
        self.splits = check_size("splits", splits)
        self.from_logits = from_logits
        self.count = self.add_variable(
            (splits,), "zeros", dtype="float64", name="count"
        )
        self.negentropy = self.add_variable(
            (splits,), "zeros", dtype="float64", name="negentropy"
        )
        self.total = None

    def update_state(self, images):
        extractor = self.feature_extractor
        self._add(extract(extractor, images, "probabilities", self.from_logits))

    def _add(self, found):
        found = ops.cast(found, "float64")
        if self.total is None:
            shape = (self.splits, found.shape[1])
            self.total = self.add_variable(shape, "zeros", "float64", name="total")
        first = ops.cast(ops.sum(self.count), "int32")
        rows = first + ops.arange(ops.shape(found)[0], dtype="int32")
        split = ops.one_hot(rows % self.splits, self.splits, dtype="float64")
        # 0 log 0 is 0.
        logs = ops.where(
            found == 0.0, 0.0, ops.log(ops.where(found == 0.0, 1.0, found))
        )
        self.count.assign_add(ops.sum(split, axis=0))
        self.negentropy.assign_add(ops.matmul(ops.sum(found * logs, axis=1), split))
        self.total.assign_add(ops.matmul(ops.transpose(split), found))

    def _state(self):
        if self.total is None:
            return []
        parts = (self.count, self.total, self.negentropy)
        return [ops.convert_to_tensor(part) for part in parts]

    def _statistic(self, count, total, negentropy):
        return _inception_estimate(count, total, negentropy).mean

    def estimate(self) -> InceptionEstimate:
        """The result with its spread over the splits; eagerly only."""
        state = [np.asarray(part) for part in self._state()]
        if not state:
            return InceptionEstimate(float("nan"), float("nan"))
        return _inception_estimate(*state)

    def get_config(self):
        return {
            **super().get_config(),
            "splits": self.splits,
            "from_logits": self.from_logits,
        }


def _inception_estimate(count, total, negentropy) -> InceptionEstimate:
    """From sums over each split: of rows, of `p (splits, K)`, and of `p log p`."""
    with np.errstate(invalid="ignore"):  # 0 / 0 is the nan of an empty split
        mean = total / count[:, None]
        scores = np.exp(negentropy / count - _x_log_x(mean).sum(axis=1))
    return InceptionEstimate(float(scores.mean()), float(scores.std()))


def _x_log_x(x: np.ndarray) -> np.ndarray:
    """`x log x` with its limit 0 at 0."""
    return x * np.log(np.where(x == 0.0, 1.0, x))


def _mean_and_cov(count, total, products):
    """Mean `(d,)` and covariance `(d, d)` from sums over the rows."""
    mean = total / count
    cov = (products - count * np.outer(mean, mean)) / (count - 1.0)
    return mean, 0.5 * (cov + cov.T)


def _filled(keys: np.ndarray, rows: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """The rows of a reservoir that hold something; nan if a row it saw was bad."""
    rows = rows[keys > 0.0]
    return np.full_like(rows, np.nan) if bad else rows


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


def _finite(name: str, values, rank: int) -> np.ndarray:
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


def _warn_if_few(what: str, num_samples: int, num_features: int) -> None:
    if num_samples <= num_features:
        warnings.warn(
            f"{what} has {num_samples} images for {num_features} features: fewer than "
            f"{num_features + 1} leave the covariance singular, and the Frechet "
            "distance biased upwards.",
            UserWarning,
            stacklevel=3,
        )
