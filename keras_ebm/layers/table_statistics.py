"""What `TableEncoder.adapt` finds out about a column of a table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_ebm.layers.piecewise import normal_score_knots
from keras_ebm.precision import float32_merges, moments

TRANSFORMS = ("standardise", "quantile", "blend")
#: The arguments of `TableEncoder` that hold statistics, by the fields below.
LISTS = (
    *("mean", "stddev", "missing", "kept"),
    *("knots", "centers", "wide", "low", "high"),
)
#: Share of a column's known cells from which one value counts as all of them.
NEAR_CONSTANT = 0.999
#: Standard deviations between 0 and a column's mean from which it is centred in
#: float64: float32 rounds the mean by a 4,000th of one there.
FAR_FROM_ZERO = 2.0**12


class ColumnStatistics(NamedTuple):
    """Statistics of one column, by the arguments of `TableEncoder` that hold them."""

    mean: float = 0.0
    stddev: float = 1.0
    missing: bool = False
    kept: bool = True
    knots: tuple | None = None
    center: float | None = None
    wide: bool = False
    low: float | None = None
    high: float | None = None


def study_column(
    values: np.ndarray,
    *,
    is_numeric: bool,
    narrow: bool,
    transform: str,
    drop_constant: bool,
) -> ColumnStatistics:
    """The statistics of one column.

    Args:
        values: float64 cells `(n,)`, NaN where one is missing, none infinite.
        is_numeric: bool; of other columns it is only asked whether they are kept.
        narrow: bool, whether the cells came in float32.
        transform: as of `TableEncoder`.
        drop_constant: likewise.
    """
    present = values[~np.isnan(values)]
    missing = len(present) < len(values)
    kept = not (drop_constant and not missing and _near_constant(present))
    if not is_numeric:
        return ColumnStatistics(kept=kept)
    if len(present) == 0:
        return ColumnStatistics(missing=missing, kept=kept)
    mean, stddev = moments(present)
    merges = float32_merges(present)
    center = None
    if merges or abs(mean) > FAR_FROM_ZERO * (stddev or 1.0):
        # A cell of its own, so that it and its equals become exactly 0.
        center = float(np.median(present)) if stddev else mean
    if not stddev:
        knots = None
    elif center is None:
        knots = _find_knots(present, transform)
    else:
        knots = _find_knots((present - center) / stddev, transform)
    wide = merges and not narrow
    ends = float(present.min()), float(present.max())
    return ColumnStatistics(
        mean, stddev or 1.0, missing, kept, knots, center, wide, *ends
    )


def _find_knots(values: np.ndarray, transform: str):
    """Knots of a column; None where it is standardised."""
    if transform == "quantile":
        return normal_score_knots(values)
    if transform == "blend" and _heavy_tailed(values):
        return normal_score_knots(values, 0.5)
    return None


def _near_constant(values: np.ndarray) -> bool:
    counts = np.unique(values, return_counts=True)[1]
    return bool(counts.max(initial=0) >= NEAR_CONSTANT * len(values))


def _heavy_tailed(values: np.ndarray) -> bool:
    """Whether a column's kurtosis is above a Gaussian's."""
    scores = (values - values.mean()) / values.std()
    return bool(np.mean(scores**4) > 3.0)


def check_rows(x: np.ndarray, expected: int, is_numeric: np.ndarray) -> None:
    """Raises ValueError unless statistics can be had of rows.

    Args:
        x: float64 array.
        expected: int, how many columns there must be.
        is_numeric: bool array `(expected,)`.
    """
    if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] != expected:
        raise ValueError(
            "`x` must have one row or more, and one column for each of the "
            f"schema's {expected}. Received: x of shape {x.shape}."
        )
    if np.isinf(x[:, is_numeric]).any():
        raise ValueError(
            "`x` must not be infinite in numeric columns. Received: infinite "
            f"cells in column {np.argmax(np.isinf(x).any(0) & is_numeric)} (counted "
            "from 0). Correct or drop such rows."
        )


def check_lengths(lists: dict, schema: dict | None) -> None:
    """Raises ValueError unless all of these lists have one entry a column.

    Args:
        lists: dict of lists by `LISTS`; the first four must not be None.
        schema: as of `TableEncoder`.
    """
    lengths = {
        name: len(() if values is None else values)
        for name, values in lists.items()
        if values is not None or name in LISTS[:4]
    }
    if schema is not None:
        lengths["schema"] = len(schema["columns"])
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"All of {', '.join(f'`{name}`' for name in lengths)} must have one "
            f"entry a column. Received: {lengths} entries."
        )
