"""The measures of `sample_quality` as streaming Keras metrics."""

import os

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ebm.arguments import check_size
from keras_ebm.metrics.checked_rows import not_on_simplex, refuse_rows, tolerance
from keras_ebm.metrics.feature_extraction import INCEPTION, Extractor, extract
from keras_ebm.metrics.references import (
    Moments,
    ReferenceStatistics,
    Reservoir,
    filled_rows,
)
from keras_ebm.metrics.sample_metric import ReferencedMetric, SampleMetric
from keras_ebm.metrics.sample_quality import (
    InceptionEstimate,
    KernelEstimate,
    frechet_distance,
    inception_estimate,
    kernel_distance,
    mean_and_cov,
    warn_if_few,
)


@keras.saving.register_keras_serializable(package="keras_ebm")
class FrechetDistance(ReferencedMetric):
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
        self.moments = Moments()
        self._direction = "down"

    def _add(self, found):
        self.moments.update_state(found)

    def _state(self):
        return self.moments.state()

    def _statistic(self, count, total, products):
        if count < 2 or not np.isfinite(products).all():
            return float("nan")
        warn_if_few(f"`{self.name}`", int(count), len(total))
        mean, cov = mean_and_cov(count, total, products)
        return frechet_distance(mean, cov, self.reference.mean, self.reference.cov)


@keras.saving.register_keras_serializable(package="keras_ebm")
class KernelDistance(ReferencedMetric):
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

    _values = ("capacity", "seed")

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
        self.reservoir = Reservoir(capacity, seed)
        self._direction = "down"

    def _add(self, found):
        self.reservoir.update_state(found)

    def _state(self):
        return self.reservoir.state()

    def _statistic(self, keys, rows, bad):
        return self._estimate(filled_rows(keys, rows, bad)).value

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


@keras.saving.register_keras_serializable(package="keras_ebm")
class InceptionScore(SampleMetric):
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

    _values = ("splits", "from_logits")

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
        self._direction = "up"

    def update_state(self, images):
        extractor = self.feature_extractor
        self._add(extract(extractor, images, "probabilities", self.from_logits))

    def _add(self, found):
        gap = tolerance(keras.backend.standardize_dtype(found.dtype))
        found = ops.cast(found, "float64")
        bad, received = not_on_simplex(found, gap)
        rule = (
            "`images`, or what `feature_extractor` makes of them, must be non-negative "
            "with rows that sum to 1; apply a softmax to logits first, or set "
            "`from_logits=True`."
        )
        found = refuse_rows(found, bad, rule, received)
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
        # No row of a batch counts where one is refused.
        with tf.control_dependencies([found]):
            self.count.assign_add(ops.sum(split, axis=0))
            self.negentropy.assign_add(ops.matmul(ops.sum(found * logs, axis=1), split))
            self.total.assign_add(ops.matmul(ops.transpose(split), found))

    def _state(self):
        if self.total is None:
            return []
        parts = (self.count, self.total, self.negentropy)
        return [ops.convert_to_tensor(part) for part in parts]

    def _statistic(self, count, total, negentropy):
        return inception_estimate(count, total, negentropy).mean

    def estimate(self) -> InceptionEstimate:
        """The result with its spread over the splits; eagerly only."""
        state = [np.asarray(part) for part in self._state()]
        if not state:
            return InceptionEstimate(float("nan"), float("nan"))
        return inception_estimate(*state)
