"""What samples are compared with: sums over a reference set, cached in a file."""

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ebm.archives import read_arrays
from keras_ebm.arguments import check_size
from keras_ebm.files import written_beside
from keras_ebm.metrics.feature_extraction import (
    INCEPTION,
    Extractor,
    extract,
    extractor_name,
)
from keras_ebm.metrics.sample_quality import check_finite, mean_and_cov, warn_if_few
from keras_ebm.random import StepRandom


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
        with written_beside(path) as file:
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
            arrays, _ = read_arrays(path, names)
            absent = [name for name in names if name not in arrays]
            if absent:
                raise ValueError(f"it lacks {', '.join(absent)}")
        except ValueError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from None
            raise ValueError(
                f"{path} must be a file that `ReferenceStatistics.save` wrote. "
                f"Received: {error}."
            ) from error
        values: dict[str, Any] = dict(arrays)
        for name in ("num_samples", "extractor", "description"):
            values[name] = arrays[name].item()
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
    moments, reservoir = Moments(), Reservoir(capacity, seed)
    for batch in batches:
        features = extract(feature_extractor, batch)
        moments.update_state(features)
        reservoir.update_state(features)
    num_samples = moments.num_samples()
    if num_samples < 2:
        raise ValueError(
            f"`batches` must hold at least 2 images. Received: {num_samples}."
        )
    count, total, products = (np.asarray(value) for value in moments.state())
    mean, cov = mean_and_cov(count, total, products)
    check_finite("batches", mean, 1)
    warn_if_few("the reference", num_samples, len(mean))
    return ReferenceStatistics(
        mean,
        cov,
        num_samples,
        reservoir.kept(),
        extractor_name(feature_extractor),
        description,
    )


class Moments(keras.metrics.Metric):
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
        """Tensors for `mean_and_cov`; empty before the first batch."""
        if self.total is None:
            return []
        return [
            ops.convert_to_tensor(v) for v in (self.count, self.total, self.products)
        ]


class Reservoir(keras.metrics.Metric):
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
        return filled_rows(*(np.asarray(value) for value in self.state()))

    def state(self) -> list:
        """Tensors for `filled_rows`; empty before the first batch."""
        if self.rows is None:
            return []
        return [ops.convert_to_tensor(v) for v in (self.keys, self.rows, self.bad)]


def filled_rows(keys: np.ndarray, rows: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """The rows of a reservoir that hold something; nan if a row it saw was bad."""
    rows = rows[keys > 0.0]
    return np.full_like(rows, np.nan) if bad else rows
