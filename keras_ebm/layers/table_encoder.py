"""Raw table cells to features, with the statistics inside the model."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ebm.arguments import check_choice
from keras_ebm.layers.piecewise import PiecewiseLinear, normal_score_knots

TRANSFORMS = ("standardise", "quantile", "blend")
#: Share of a column's known cells from which one value counts as all of them.
NEAR_CONSTANT = 0.999


class _Column(NamedTuple):
    """What `adapt` finds out about a column."""

    mean: float = 0.0
    stddev: float = 1.0
    missing: bool = False
    kept: bool = True
    knots: tuple | None = None


@keras.saving.register_keras_serializable(package="keras_ebm")
class TableEncoder(keras.layers.Layer):
    """Turns the raw rows of a table into features of comparable scale.

    A numeric cell becomes `(x - mean) / stddev`. A missing one (NaN) becomes
    0, the mean, and sets an indicator feature to 1; this holds for columns
    that had missing cells when the layer was adapted. **A missing cell in any
    other column stays NaN**, and so does the energy of its row, since nothing
    was learned of its absence. A categorical cell becomes one feature for each
    category and a last one for "unknown or missing": a code that is no position
    in the vocabulary, or NaN. An infinite cell is never hidden either.

    With `transform="quantile"` a numeric cell becomes its normal score instead:
    the normal quantile of its mid-rank among the training cells (equal cells
    share a rank), standardised, piecewise linear between at most 100 knots. It
    spreads heavy tails and keeps atoms in place; beyond the training cells it goes
    on by the column's standard deviation, so that far cells stay far.
    `transform="blend"` is half of each, standardised again, in columns whose tails are
    heavier than a Gaussian's (kurtosis above 3), so that a tail keeps some of its
    length. Other columns are standardised, since normal scores would stretch their
    tails, and with them the distances between ordinary rows.

    The features are the numeric columns, then the indicators, then each
    categorical column's, in the order of the columns.

    Args:
        schema: `keras_ebm.data.TableSchema`, or what its `to_config` returns.
            With `None` all columns are numeric.
        mean: list of float, one a column, in units of the column. Set by
            `adapt`; categorical columns have 0.
        stddev: list of float > 0, likewise; 1 for constant and categorical
            columns.
        missing: list of bool, likewise; whether the column has an indicator.
        kept: list of bool, likewise; whether the column becomes features at all.
        knots: list, likewise; `(values, scores)` of the quantile transform, None
            for columns that it leaves alone; None where there is no such transform.
        transform: `"standardise"`, `"quantile"` or `"blend"`.
        drop_constant: bool, leaves out columns of which one value fills at least
            99.9 % of the known cells of training. Nothing is learned of them, so
            an unusual value there is not noticed either; `dropped_columns` names
            them.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: float tensor of shape `(batch, columns)`, computed on in float32.

    Returns:
        Features of shape `(batch, num_features)`.

    Example:

    >>> encoder = TableEncoder()
    >>> encoder.adapt(np.array([[1.0], [3.0]]))
    >>> encoder(np.array([[5.0]])).numpy()
    array([[3.]], dtype=float32)
    """

    def __init__(
        self,
        schema=None,
        mean=None,
        stddev=None,
        missing=None,
        kept=None,
        knots=None,
        transform: str = "standardise",
        drop_constant: bool = False,
        **kwargs,
    ):
        # Keras would cast the inputs to bfloat16 under mixed precision, which
        # tells no two codes above 256 apart.
        super().__init__(autocast=False, **kwargs)
        self.schema = schema.to_config() if hasattr(schema, "to_config") else schema
        self.transform = check_choice("transform", transform, TRANSFORMS)
        self.drop_constant = bool(drop_constant)
        self.mean = mean
        self.stddev = stddev
        self.missing = missing
        self.kept = [True] * len(mean) if kept is None and mean is not None else kept
        self.knots = knots
        if mean is not None:
            self._check_statistics()
            self._prepare()

    def adapt(self, x: np.ndarray) -> None:
        """Computes the statistics from training rows.

        Args:
            x: float array of shape `(n, columns)`.

        Raises:
            ValueError: if there are no rows, the number of columns is not the
                schema's, a numeric cell is infinite, or every column is dropped.
        """
        x = np.asarray(x, np.float64)
        expected = x.shape[-1] if self.schema is None else len(self.schema["columns"])
        if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] != expected:
            raise ValueError(
                "`x` must have one row or more, and one column for each of the "
                f"schema's {expected}. Received: x of shape {x.shape}."
            )
        numeric = self._is_numeric(expected)
        if np.isinf(x[:, numeric]).any():
            raise ValueError(
                "`x` must not be infinite in numeric columns. Received: infinite "
                f"cells in column {np.argmax(np.isinf(x).any(0) & numeric)} (counted "
                "from 0). Correct or drop such rows."
            )
        columns = [self._study(x[:, j], numeric[j]) for j in range(expected)]
        self.mean, self.stddev, self.missing, self.kept, knots = (
            list(values) for values in zip(*columns, strict=True)
        )
        self.knots = None if self.transform == "standardise" else knots
        if not any(self.kept):
            raise ValueError(
                "`x` must have a column that varies. Received: "
                f"{expected} columns, each of one value in nearly all rows."
            )
        self._prepare()

    def _study(self, values: np.ndarray, is_numeric: bool) -> _Column:
        """The statistics of one column."""
        present = values[~np.isnan(values)]
        missing = len(present) < len(values)
        kept = not (self.drop_constant and not missing and _near_constant(present))
        if not is_numeric:
            return _Column(kept=kept)
        if len(present) == 0:
            return _Column(missing=missing, kept=kept)
        # Rounding gives a constant column a spread that is tiny but not 0.
        if present.min() == present.max():
            return _Column(float(present[0]), 1.0, missing, kept)
        return _Column(
            float(present.mean()),
            float(present.std()),
            missing,
            kept,
            self._find_knots(present),
        )

    def _find_knots(self, values: np.ndarray):
        """Knots of a column; None where it is standardised."""
        if self.transform == "quantile":
            return normal_score_knots(values)
        if self.transform == "blend" and _heavy_tailed(values):
            return normal_score_knots(values, 0.5)
        return None

    def _prepare(self):
        """What `call` reads again and again, out of the statistics."""
        is_numeric = self._is_numeric(len(self.mean))
        self._numeric = np.flatnonzero(is_numeric & np.array(self.kept, bool))
        self._mean = np.array(self.mean, np.float32)[self._numeric]
        self._stddev = np.array(self.stddev, np.float32)[self._numeric]
        self._missing = np.array(self.missing, bool)[self._numeric]
        self._scores = self._make_scores() if len(self._numeric) else None

    def _make_scores(self):
        """The map of numeric columns to features and back."""
        knots = [None if self.knots is None else self.knots[j] for j in self._numeric]
        # A column without knots is a straight line: its standard score.
        lines = zip(knots, self._mean.tolist(), self._stddev.tolist(), strict=True)
        ends = [k or ((m, m + s), (0.0, 1.0)) for k, m, s in lines]
        positions, scores = zip(*ends, strict=True)
        return PiecewiseLinear(
            [list(row) for row in positions],
            [list(row) for row in scores],
            1.0 / self._stddev,
        )

    @property
    def dropped_columns(self) -> list[str]:
        """Names of the columns that were left out; numbers without a schema."""
        self._require_statistics()
        dropped = np.flatnonzero(~np.array(self.kept, bool))
        if self.schema is None:
            return [str(position) for position in dropped]
        return [self.schema["columns"][position]["name"] for position in dropped]

    @property
    def feature_columns(self) -> np.ndarray:
        """The number of the column that each feature is made from, `(features,)`."""
        self._require_statistics()
        indicated = self._numeric[self._missing]
        one_hot = [[column] * (size + 1) for column, size in self._categorical()]
        return np.concatenate([self._numeric, indicated, *one_hot]).astype(np.int64)

    @property
    def num_numeric(self) -> int:
        """How many features, the first ones, are values of numeric columns."""
        self._require_statistics()
        return len(self._numeric)

    def decode_numeric(self, features):
        """Values of the numeric columns that are kept, in their units.

        Args:
            features: `(batch, num_numeric)`, the first features of rows.
        """
        if self._scores is None:
            return features
        if self.knots is None:
            return features * self._stddev + self._mean
        return self._scores.inverse(features)

    @property
    def num_features(self) -> int:
        """How many features a row becomes."""
        return len(self.feature_columns)

    def call(self, inputs):
        self._require_statistics()
        inputs = ops.cast(inputs, "float32")
        parts = self._encode_numeric(inputs) if len(self._numeric) else []
        for column, size in self._categorical():
            parts.append(_one_hot(inputs[:, column], size))
        return ops.cast(ops.concatenate(parts, axis=-1), self.compute_dtype)

    def _encode_numeric(self, inputs):
        values = ops.take(inputs, self._numeric, axis=1)
        absent = ops.isnan(values)
        indicated = ops.logical_and(absent, self._missing)
        # Replaced before the arithmetic, for 0 * NaN in its gradient is NaN.
        values = ops.where(indicated, self._mean, values)
        if self.knots is None:
            parts = [(values - self._mean) / self._stddev]
        else:
            # The mean score is 0 whatever the column's mean is mapped to.
            parts = [ops.where(indicated, 0.0, self._scores(values))]
        if self._missing.any():
            indicators = ops.take(absent, np.flatnonzero(self._missing), axis=1)
            parts.append(ops.cast(indicators, "float32"))
        return parts

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_features)

    def get_config(self):
        return {
            **super().get_config(),
            "schema": self.schema,
            "mean": _as_list(self.mean),
            "stddev": _as_list(self.stddev),
            "missing": _as_list(self.missing),
            "kept": _as_list(self.kept),
            "knots": _as_list(self.knots),
            "transform": self.transform,
            "drop_constant": self.drop_constant,
        }

    def _is_numeric(self, num_columns: int) -> np.ndarray:
        if self.schema is None:
            return np.ones(num_columns, bool)
        return np.array([c["kind"] == "numeric" for c in self.schema["columns"]], bool)

    def _categorical(self) -> list[tuple[int, int]]:
        """Position and vocabulary size of each categorical column that is kept."""
        if self.schema is None:
            return []
        return [
            (position, len(column["vocabulary"]))
            for position, column in enumerate(self.schema["columns"])
            if column["kind"] != "numeric" and self.kept[position]
        ]

    def _require_statistics(self) -> None:
        if self.mean is None:
            raise ValueError(
                f"The layer {self.name!r} must know the mean and spread of the "
                "columns before it is used. Call `adapt(x)` with the training rows."
            )

    def _check_statistics(self) -> None:
        lengths = {
            "mean": len(self.mean),
            "stddev": len(self.stddev or ()),
            "missing": len(self.missing or ()),
            "kept": len(self.kept),
        }
        if self.knots is not None:
            lengths["knots"] = len(self.knots)
        if self.schema is not None:
            lengths["schema"] = len(self.schema["columns"])
        if len(set(lengths.values())) > 1:
            raise ValueError(
                "`mean`, `stddev`, `missing`, `kept`, `knots` and `schema` must "
                f"have one entry a column. Received: {lengths} entries."
            )


def _near_constant(values: np.ndarray) -> bool:
    counts = np.unique(values, return_counts=True)[1]
    return counts.max(initial=0) >= NEAR_CONSTANT * len(values)


def _heavy_tailed(values: np.ndarray) -> bool:
    """Whether a column's kurtosis is above a Gaussian's."""
    scores = (values - values.mean()) / values.std()
    return bool(np.mean(scores**4) > 3.0)


def _one_hot(codes, size: int):
    known = ops.equal(codes[:, None], np.arange(size, dtype=np.float32))
    known = ops.cast(known, "float32")
    other = 1.0 - ops.sum(known, axis=-1, keepdims=True)
    other = ops.where(ops.isinf(codes)[:, None], np.float32("nan"), other)
    return ops.concatenate([known, other], axis=-1)


def _as_list(values):
    return None if values is None else list(values)
