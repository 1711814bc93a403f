"""Numeric columns of a table as entries of a network's inputs, and back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from keras import ops

from keras_ebm.arguments import listed
from keras_ebm.layers.piecewise import PiecewiseLinear
from keras_ebm.precision import MERGED_SHARE

#: Widths of a column's range in training from which on a cell outside of it is far.
REACH = 1.0


class NumericColumns:
    """The arithmetic of a `TableEncoder` on those of its columns that are numbers.

    Args:
        positions: int array `(m,)`, the numbers of the columns, in order.
        statistics: dict of the lists of `TableEncoder`'s arguments, one entry for each
            column of the table.
        input_dtype: `"float32"` or `"float64"`, what cells must come as.
    """

    def __init__(self, positions: np.ndarray, statistics: dict, input_dtype: str):
        self.positions = positions
        self.input_dtype = input_dtype
        mean, stddev = (
            np.array(statistics[name], np.float64)[positions]
            for name in ("mean", "stddev")
        )
        self._center = self._unit = None
        if statistics["centers"] is not None:
            centers = [statistics["centers"][j] for j in positions]
            is_centred = np.array([center is not None for center in centers], bool)
            self._center = np.array([center or 0.0 for center in centers], np.float64)
            # From here on a centred column is in its own standard deviations.
            self._unit = np.where(is_centred, stddev, 1.0)
            mean, stddev = (mean - self._center) / self._unit, stddev / self._unit
        self._mean, self._stddev = mean.astype(np.float32), stddev.astype(np.float32)
        self.indicated = np.array(statistics["missing"], bool)[positions]
        self._has_knots = statistics["knots"] is not None
        knots = statistics["knots"]
        self._scores = self._make_scores(knots) if len(positions) else None
        self._reach = _reach(positions, statistics, input_dtype)

    def _make_scores(self, knots):
        """The map of the columns to scores and back."""
        knots = [None if knots is None else knots[j] for j in self.positions]
        # A column without knots is a straight line: its standard score.
        lines = zip(knots, self._mean.tolist(), self._stddev.tolist(), strict=True)
        ends = [k or ((m, m + s), (0.0, 1.0)) for k, m, s in lines]
        positions, scores = zip(*ends, strict=True)
        return PiecewiseLinear(
            [list(row) for row in positions],
            [list(row) for row in scores],
            1.0 / self._stddev,
        )

    def cells(self, inputs: tf.Tensor):
        """Their cells `(batch, m)` of raw rows."""
        return ops.take(ops.convert_to_tensor(inputs), self.positions, axis=1)

    def far(self, inputs: tf.Tensor):
        """See `TableEncoder.far`."""
        cells = ops.cast(self.cells(inputs), self.input_dtype)
        if self._reach is None:
            return ops.zeros_like(cells, dtype="bool")
        low, high = self._reach
        return ops.logical_or(cells < low, cells > high)

    def encode(self, inputs: tf.Tensor, bounded: bool) -> list:
        """Entries of raw rows: the columns' values, and indicators of missing cells.

        With `bounded`, cells count as no further away than `far` begins.
        """
        values = self.cells(inputs)
        if bounded and self._reach is not None:
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
        if self._scores is None or not self._has_knots:
            parts = [(values - self._mean) / self._stddev]
        else:
            # The mean score is 0 whatever the column's mean is mapped to.
            parts = [ops.where(absent, 0.0, self._scores(values))]
        if self.indicated.any():
            indicators = ops.take(absent, np.flatnonzero(self.indicated), axis=1)
            parts.append(ops.cast(indicators, "float32"))
        return parts

    def decode(self, entries: tf.Tensor):
        """See `TableEncoder.decode_numeric`."""
        if self._scores is None:
            values = entries
        elif not self._has_knots:
            values = entries * self._stddev + self._mean
        else:
            values = self._scores.inverse(entries)
        if self._center is not None:
            values = ops.cast(values, "float64") * self._unit + self._center
        return ops.cast(values, self.input_dtype)


def _reach(positions, statistics: dict, dtype: str):
    """The least and the largest cell of each column that is not far, or None."""
    if statistics["low"] is None:
        return None
    ends = ([statistics[name][j] for j in positions] for name in ("low", "high"))
    low, high = (np.array(values, np.float64) for values in ends)
    width = high - low
    # A constant has no range: its unit is what a cell is compared with anyway.
    units = np.array(statistics["stddev"])[positions]
    width = REACH * np.where(width > 0.0, width, units)
    with np.errstate(over="ignore"):
        low = np.where(np.isnan(low), -np.inf, low - width).astype(dtype)
        return low, np.where(np.isnan(high), np.inf, high + width).astype(dtype)


def warn_of_merged(
    x: np.ndarray,
    entries: tf.Tensor,
    positions: np.ndarray,
    centers: Sequence[float | None],
    names: Sequence[str],
) -> None:
    """Warns of columns whose different values become equal entries.

    Args:
        x: float64 rows `(n, columns)` that the statistics are of.
        entries: tensor `(n, m)`, what their numeric columns became.
        positions: `(m,)`, the numbers of these columns.
        centers: as of `TableEncoder`; the columns without one are not looked at.
        names: of all columns.
    """
    lost = []
    entries = ops.convert_to_numpy(entries)
    for place, column in enumerate(positions):
        cells, made = (
            len(np.unique(values[~np.isnan(x[:, column])]))
            for values in (x[:, column], entries[:, place])
        )
        if centers[column] is not None and made < (1 - MERGED_SHARE) * cells:
            lost.append(f"{names[column]} ({cells} become {made})")
    if lost:
        warnings.warn(
            "different values that entries in float32 cannot tell apart, in "
            f"columns: {listed(lost)}",
            stacklevel=3,
        )
