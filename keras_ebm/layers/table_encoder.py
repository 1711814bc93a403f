"""Raw table cells to a network's inputs, with the statistics inside the model."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ebm.arguments import check_choice, listed
from keras_ebm.layers.piecewise import PiecewiseLinear, normal_score_knots
from keras_ebm.precision import (
    MERGED_SHARE,
    float32_merges,
    moments,
    warn_of_merged_integers,
)
from keras_ebm.saveable import Saveable

TRANSFORMS = ("standardise", "quantile", "blend")
#: Share of a column's known cells from which one value counts as all of them.
NEAR_CONSTANT = 0.999
#: Standard deviations between 0 and a column's mean from which it is centred in
#: float64: float32 rounds the mean by a 4,000th of one there.
FAR_FROM_ZERO = 2.0**12
#: Widths of a column's range in training from which on a cell outside of it is far.
REACH = 1.0


class _Column(NamedTuple):
    """What `adapt` finds out about a column."""

    mean: float = 0.0
    stddev: float = 1.0
    missing: bool = False
    kept: bool = True
    knots: tuple | None = None
    center: float | None = None
    wide: bool = False
    low: float | None = None
    high: float | None = None


@keras.saving.register_keras_serializable(package="keras_ebm")
class TableEncoder(Saveable, keras.layers.Layer):
    """Turns the raw rows of a table into entries of comparable scale.

    A numeric cell becomes `(x - mean) / stddev`. A missing one (NaN) becomes 0, the
    mean, in any column; one that had missing cells when the layer was adapted has an
    indicator feature besides, which is then 1. In other columns nothing was learned of
    their absence, and nothing says that a cell was missing. A categorical cell becomes
    one feature for each category and a last one for "unknown or missing": a code that
    is no position in the vocabulary, or NaN. An infinite cell is never hidden.

    Columns that float32 would blur (times in milliseconds, long account numbers, see
    `keras_ebm.precision.float32_merges`) are centred and scaled in float64 before
    anything else. If they need their cells as float64, `input_dtype` is that, and rows
    of float32 are refused, as what told them apart is lost. **`fit` of arrays is such a
    case**, since Keras casts them to float32: give it a `tf.data.Dataset`.

    With `bounded=True` a cell further outside the column's range in training than that
    range is wide counts as one at this distance. A network's energy may fall without
    bound far from its training rows; so it cannot. `far` says which rows have such
    cells, whatever `bounded` is.

    With `transform="quantile"` a numeric cell becomes its normal score instead:
    the normal quantile of its mid-rank among the training cells (equal cells
    share a rank), standardised, piecewise linear between at most 100 knots. It
    spreads heavy tails and keeps atoms in place; beyond the training cells it goes
    on by the column's standard deviation, so that far cells stay far.
    `transform="blend"` is half of each, standardised again, in columns whose tails are
    heavier than a Gaussian's (kurtosis above 3), so that a tail keeps some of its
    length. Other columns are standardised, since normal scores would stretch their
    tails, and with them the distances between ordinary rows.

    The entries are the numeric columns, then the indicators, then each
    categorical column's, in the order of the columns.

    Args:
        schema: `keras_ebm.data.TableSchema`, or what its `to_config` returns.
            With `None` all columns are numeric.
        mean: list of float, one a column, in units of the column. Set by
            `adapt`; categorical columns have 0.
        stddev: list of float > 0, likewise; 1 for constant and categorical
            columns.
        missing: list of bool, likewise; whether the column has an indicator.
        kept: list of bool, likewise; whether the column becomes entries at all.
        knots: list, likewise; `(values, scores)` of the quantile transform, None
            for columns that it leaves alone; None where there is no such transform.
            Values of a column with a center are in its standard deviations from it.
        transform: `"standardise"`, `"quantile"` or `"blend"`.
        drop_constant: bool, leaves out columns of which one value fills at least
            99.9 % of the known cells of training. Nothing is learned of them, so
            an unusual value there is not noticed either; `dropped_columns` names
            them.
        centers: list, one a column, or None: what is subtracted in float64, None for
            columns that float32 serves.
        wide: list of bool, likewise; whether a column's cells must come as float64.
        low: list, likewise, or None: the least cell of training, None for categorical
            columns and those without a number.
        high: likewise, the largest.
        bounded: bool, whether cells count as no further away than `far` begins.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: float tensor of shape `(batch, columns)`, computed on in float32 but
            for the columns that are centred.

    Returns:
        Preprocessed inputs of shape `(batch, num_entries)`.

    Raises:
        ValueError: if it was not adapted, or columns need their cells as float64 and
            the inputs have another type.

    Example:

    >>> encoder = TableEncoder()
    >>> encoder.adapt(np.array([[1.0], [3.0]]))
    >>> encoder(np.array([[5.0]])).numpy()
    array([[3.]], dtype=float32)
    """

    _values = (
        "schema",
        "mean",
        "stddev",
        "missing",
        "kept",
        "knots",
        "transform",
        "drop_constant",
        "centers",
        "wide",
        "low",
        "high",
        "bounded",
    )

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
        centers=None,
        wide=None,
        low=None,
        high=None,
        bounded: bool = False,
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
        self.centers = centers
        self.wide = wide
        self.low, self.high = low, high
        self.bounded = bool(bounded)
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

        A `UserWarning` counts the values of a column that its entries cannot tell
        apart, where they are more than one in a thousand.
        """
        given = np.asarray(x)
        warn_of_merged_integers(given)
        x = np.asarray(given, np.float64)
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
        narrow = given.dtype in (np.float16, np.float32)
        columns = [self._study(x[:, j], numeric[j], narrow) for j in range(expected)]
        self.mean, self.stddev, self.missing, self.kept, knots, centers, wide, *ends = (
            list(values) for values in zip(*columns, strict=True)
        )
        self.low, self.high = ends
        self.knots = None if self.transform == "standardise" else knots
        centred = any(center is not None for center in centers)
        self.centers, self.wide = (centers, wide) if centred else (None, None)
        if not any(self.kept):
            raise ValueError(
                "`x` must have a column that varies. Received: "
                f"{expected} columns, each of one value in nearly all rows."
            )
        self._prepare()
        self._report_merged(x)

    def _study(self, values: np.ndarray, is_numeric: bool, narrow: bool) -> _Column:
        """The statistics of one column; `narrow` says that it came in float32."""
        present = values[~np.isnan(values)]
        missing = len(present) < len(values)
        kept = not (self.drop_constant and not missing and _near_constant(present))
        if not is_numeric:
            return _Column(kept=kept)
        if len(present) == 0:
            return _Column(missing=missing, kept=kept)
        mean, stddev = moments(present)
        merges = float32_merges(present)
        center = None
        if merges or abs(mean) > FAR_FROM_ZERO * (stddev or 1.0):
            # A cell of its own, so that it and its equals become exactly 0.
            center = float(np.median(present)) if stddev else mean
        if not stddev:
            knots = None
        elif center is None:
            knots = self._find_knots(present)
        else:
            knots = self._find_knots((present - center) / stddev)
        wide = merges and not narrow
        ends = float(present.min()), float(present.max())
        return _Column(mean, stddev or 1.0, missing, kept, knots, center, wide, *ends)

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
        mean, stddev = (
            np.array(values, np.float64)[self._numeric]
            for values in (self.mean, self.stddev)
        )
        self._center = self._unit = None
        if self.centers is not None:
            centers = [self.centers[j] for j in self._numeric]
            is_centred = np.array([center is not None for center in centers], bool)
            self._center = np.array([center or 0.0 for center in centers], np.float64)
            # From here on a centred column is in its own standard deviations.
            self._unit = np.where(is_centred, stddev, 1.0)
            mean, stddev = (mean - self._center) / self._unit, stddev / self._unit
        self._mean, self._stddev = mean.astype(np.float32), stddev.astype(np.float32)
        self._missing = np.array(self.missing, bool)[self._numeric]
        self._scores = self._make_scores() if len(self._numeric) else None
        self._reach = None if self.low is None else self._make_reach()

    def _make_reach(self):
        """The least and the largest cell of each numeric column that is not far."""
        ends = ([values[j] for j in self._numeric] for values in (self.low, self.high))
        low, high = (np.array(values, np.float64) for values in ends)
        width = high - low
        # A constant has no range: its unit is what a cell is compared with anyway.
        width = REACH * np.where(
            width > 0.0, width, np.array(self.stddev)[self._numeric]
        )
        dtype = self.input_dtype
        with np.errstate(over="ignore"):
            low = np.where(np.isnan(low), -np.inf, low - width).astype(dtype)
            return low, np.where(np.isnan(high), np.inf, high + width).astype(dtype)

    def _report_merged(self, x: np.ndarray) -> None:
        """Warns of columns whose different values become equal entries."""
        if self.centers is None:
            return
        names, lost = self.column_names, []
        entries = ops.convert_to_numpy(self._encode_numeric(x)[0])
        for place, column in enumerate(self._numeric):
            cells, made = (
                len(np.unique(values[~np.isnan(x[:, column])]))
                for values in (x[:, column], entries[:, place])
            )
            if self.centers[column] is not None and made < (1 - MERGED_SHARE) * cells:
                lost.append(f"{names[column]} ({cells} become {made})")
        if lost:
            warnings.warn(
                "different values that entries in float32 cannot tell apart, in "
                f"columns: {listed(lost)}",
                stacklevel=3,
            )

    def _make_scores(self):
        """The map of numeric columns to entries and back."""
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
        names = self.column_names
        return [names[j] for j in np.flatnonzero(~np.array(self.kept, bool))]

    @property
    def column_names(self) -> list[str]:
        """Names of all columns; their numbers without a schema."""
        self._require_statistics()
        if self.schema is None:
            return [str(position) for position in range(len(self.mean))]
        return [column["name"] for column in self.schema["columns"]]

    def far(self, inputs):
        """Which numeric cells are further outside their column's range than it is wide.

        Args:
            inputs: as of a call.

        Returns:
            Bool tensor `(batch, num_numeric)` in the order of `entry_columns`; false
            where a cell is missing, and for an encoder of an earlier version.
        """
        self._require_statistics()
        cells = ops.take(ops.convert_to_tensor(inputs), self._numeric, axis=1)
        cells = ops.cast(cells, self.input_dtype)
        if self._reach is None:
            return ops.zeros_like(cells, dtype="bool")
        low, high = self._reach
        return ops.logical_or(cells < low, cells > high)

    def absent(self, inputs):
        """Which numeric cells are missing, so that the column's mean stands for them.

        Args:
            inputs: as of a call.

        Returns:
            Bool tensor `(batch, num_numeric)` in the order of `entry_columns`.
        """
        self._require_statistics()
        return ops.isnan(ops.take(ops.convert_to_tensor(inputs), self._numeric, axis=1))

    @property
    def input_dtype(self) -> str:
        """`"float64"` where a column needs its cells so, else `"float32"`."""
        return "float64" if any(self.wide or ()) else "float32"

    @property
    def entry_columns(self) -> np.ndarray:
        """The number of the column that each entry is made from, `(num_entries,)`."""
        self._require_statistics()
        indicated = self._numeric[self._missing]
        one_hot = [[column] * (size + 1) for column, size in self._categorical()]
        return np.concatenate([self._numeric, indicated, *one_hot]).astype(np.int64)

    @property
    def num_numeric(self) -> int:
        """How many entries, the first ones, are values of numeric columns."""
        self._require_statistics()
        return len(self._numeric)

    def decode_numeric(self, entries):
        """Values of the numeric columns that are kept, in their units.

        Args:
            entries: `(batch, num_numeric)`, the first entries of preprocessed rows.

        Returns:
            Tensor of that shape, of `input_dtype`.
        """
        if self._scores is None:
            values = entries
        elif self.knots is None:
            values = entries * self._stddev + self._mean
        else:
            values = self._scores.inverse(entries)
        if self._center is not None:
            values = ops.cast(values, "float64") * self._unit + self._center
        return ops.cast(values, self.input_dtype)

    @property
    def num_entries(self) -> int:
        """How many entries a row becomes."""
        return len(self.entry_columns)

    # Earlier names, from when what a row becomes was called its features.
    num_features = num_entries
    feature_columns = entry_columns

    def call(self, inputs):
        self._require_statistics()
        inputs = ops.convert_to_tensor(inputs)
        self._check_dtype(inputs)
        parts = self._encode_numeric(inputs) if len(self._numeric) else []
        for column, size in self._categorical():
            parts.append(_one_hot(ops.cast(inputs[:, column], "float32"), size))
        return ops.cast(ops.concatenate(parts, axis=-1), self.compute_dtype)

    def _encode_numeric(self, inputs):
        values = ops.take(inputs, self._numeric, axis=1)
        if self.bounded and self._reach is not None:
            values = ops.cast(values, self.input_dtype)
            # An infinite cell stays one, for it is none that could be near.
            within = ops.clip(values, *self._reach)
            values = ops.where(ops.isinf(values), values, within)
        if self._center is not None:
            values = (ops.cast(values, "float64") - self._center) / self._unit
        values = ops.cast(values, "float32")
        absent = ops.isnan(values)
        # Replaced before the arithmetic, for 0 * NaN in its gradient is NaN.
        values = ops.where(absent, self._mean, values)
        if self.knots is None:
            parts = [(values - self._mean) / self._stddev]
        else:
            # The mean score is 0 whatever the column's mean is mapped to.
            parts = [ops.where(absent, 0.0, self._scores(values))]
        if self._missing.any():
            indicators = ops.take(absent, np.flatnonzero(self._missing), axis=1)
            parts.append(ops.cast(indicators, "float32"))
        return parts

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_entries)

    def _check_dtype(self, inputs) -> None:
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if self.input_dtype == "float32" or dtype == "float64" or "int" in dtype:
            return
        names = [
            name for name, w in zip(self.column_names, self.wide, strict=True) if w
        ]
        raise ValueError(
            f"`inputs` must be float64, as float32 merges the cells of {names[0]!r}"
            f"{f' and {len(names) - 1} other columns' if names[1:] else ''}. Received: "
            f"{dtype}. Keras casts arrays that `fit` and `predict` are given: give "
            "them a tf.data.Dataset of float64 rows."
        )

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
        for name in ("knots", "centers", "wide", "low", "high"):
            if getattr(self, name) is not None:
                lengths[name] = len(getattr(self, name))
        if self.schema is not None:
            lengths["schema"] = len(self.schema["columns"])
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"All of {', '.join(f'`{name}`' for name in lengths)} must have one "
                f"entry a column. Received: {lengths} entries."
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
