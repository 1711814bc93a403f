"""Whether what is set against the data can come where the data are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

#: Rows of the data that are looked at.
ROWS = 256
#: Share of cells, and of rows, that may lie beyond a range.
CELLS, HALF = 0.1, 0.5
#: A row that is so many widths of a range beyond it is of another scale.
WIDTHS = 10.0
#: Data in so small a part of a range are of another scale too.
PART = 1 / 50


REMEDY = (
    "Use a preprocessor such as keras.layers.Rescaling(1 / 127.5, -1) with a network "
    "that does not rescale itself, or "
)


class Reach(NamedTuple):
    """The range of a source of negatives.

    Args:
        name: of what has it, as in an error.
        low: least value.
        high: largest value; either may be infinite.
        remedy: what to do if the data lie elsewhere.
        fixed: bool, whether nothing leads out of the range, or it is a start only.
    """

    name: str
    low: float
    high: float
    remedy: str
    fixed: bool = True


def check_reach(reach: Reach, x: np.ndarray) -> None:
    """Compares a range with preprocessed data.

    Args:
        reach: `Reach`.
        x: rows `(n, ...)` of floats.

    Raises:
        ValueError: if the range is fixed and of another scale than the data: a tenth of
            the cells lie further beyond it than it is wide, or half of the rows have a
            cell ten widths beyond it.

    A `UserWarning` is given where data of a lesser distance lie beyond, where a range
    that is no fixed one is of another scale, or where the data fill no fiftieth of it.
    """
    low, high = reach.low, reach.high
    width = high - low if math.isfinite(high - low) else float(np.ptp(x)) or 1.0
    beyond = np.maximum(np.maximum(low - x, x - high), 0.0) / width
    rows = beyond.reshape(len(x), -1).max(axis=1)
    other_scale = np.mean(beyond > 1.0) > CELLS or np.mean(rows > WIDTHS) > HALF
    # No fault of a start that chains leave.
    outside = reach.fixed and np.mean(beyond > 0.1) > CELLS
    bounded = reach.fixed and math.isfinite(high - low)
    narrow = bounded and 0.0 < np.ptp(x) < PART * width
    if not (other_scale or outside or narrow):
        return
    message = (
        f"{reach.name} gives values from {low:g} to {high:g}, but the preprocessed "
        f"data lie between {x.min():g} and {x.max():g}: negatives of another range are "
        f"told apart by it alone. {reach.remedy}"
    )
    if other_scale and reach.fixed:
        raise ValueError(message)
    warnings.warn(message, stacklevel=5)


def check_reaches(reaches: Iterable[Reach], x: Any) -> None:
    """`check_reach` for each range; data that are no tensor of floats are let pass."""
    if not hasattr(x, "dtype") or not tf.as_dtype(x.dtype).is_floating:
        return
    rows = np.asarray(tf.cast(x, tf.float32))
    if rows.size and np.isfinite(rows).all():
        for reach in reaches:
            check_reach(reach, rows)


def some_rows(x: Any) -> Any:
    """A few hundred rows of arrays, evenly from first to last; None of what is none."""
    leaves = keras.tree.flatten(x)
    if not leaves or not all(hasattr(leaf, "__array__") for leaf in leaves):
        return None
    step = max(1, len(leaves[0]) // ROWS)
    return keras.tree.map_structure(lambda leaf: np.asarray(leaf)[::step][:ROWS], x)
