"""Which numbers float32 cannot tell apart, and their moments in float64."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

#: Rounding a cell may move it by this share of its column's standard deviation.
#: Ordinary columns, whose mean is up to a thousand deviations from 0, stay below it.
LARGEST_SHIFT = 2.0**-12
#: Share of different values that may become equal without a word.
MERGED_SHARE = 1e-3
#: Spreads and values beyond these leave float32 in the arithmetic on them: squares of
#: the first are 0, and sums of the second infinite.
SMALLEST_SPREAD, LARGEST_VALUE = 1e-36, 1e37
#: Below it float64 itself has no spread: processors take such numbers for 0.
NO_SPREAD = 1e-300


def moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation in float64, whatever the size of the values.

    Args:
        values: float array `(n,)` of at least one finite number.

    Returns:
        `(mean, stddev)`; a standard deviation of 0 says that float64 cannot tell the
        values apart.
    """
    values = np.asarray(values, np.float64)
    # Rounding gives a constant column a spread that is tiny but not 0.
    if values.min() == values.max():
        return float(values[0]), 0.0
    with np.errstate(over="ignore", under="ignore"):
        mean, stddev = float(values.mean()), float(values.std())
    if not (np.isfinite(stddev) and stddev > np.sqrt(NO_SPREAD)):
        # Squares left the range of float64: in units of the largest deviation.
        half = 0.5 * values
        center = float(np.median(half))
        unit = float(np.abs(half - center).max())
        if unit < NO_SPREAD:
            return float(values[0]), 0.0
        scaled = (half - center) / unit
        mean = 2.0 * (center + unit * float(scaled.mean()))
        stddev = 2.0 * unit * float(scaled.std())
    return mean, stddev


def float32_merges(values: np.ndarray) -> bool:
    """Whether float32 loses what tells the cells of a column apart.

    So it does where rounding moves a cell by more than `2**-12` of the column's
    standard deviation (a time in milliseconds, whose hour is 100,000 times its
    spread from 0), or one of the middle half of its different values by more than
    that share of their range; where it makes more than a thousandth of different
    whole numbers equal; or where the values or their spread leave its range.

    Args:
        values: float array `(n,)`; NaN is left out.
    """
    values = np.asarray(values)
    narrow = values.dtype in (np.float16, np.float32)
    values = values[~np.isnan(values)].astype(np.float64)
    if len(values) == 0 or narrow or not _rounding(values).any():
        return len(values) > 0 and _leaves_range(values)
    if _blurs(values, moments(values)[1] or 1.0) or _leaves_range(values):
        return True
    different = np.unique(values)
    middle = different[len(different) // 4 : -(len(different) // 4) or None]
    if len(middle) > 2 and _blurs(middle, np.ptp(middle)):
        return True
    merged = len(different) - len(np.unique(different.astype(np.float32)))
    whole = np.array_equal(values, np.rint(values))
    return bool(whole and merged > MERGED_SHARE * len(different))


def warn_of_merged_integers(x: np.ndarray, names: Sequence[str] | None = None) -> None:
    """Says which columns of whole numbers lose some in float64, beyond `2**53`.

    Args:
        x: array `(n, columns)`; those that are of no integers lose none here.
        names: of the columns, their numbers without.

    A `UserWarning` names the columns, and how many values become how many.
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or not len(x):
        return
    lost = []
    beyond = (x.max(axis=0) > 2**53) | (x.min(axis=0) < -(2**53))
    for place in np.flatnonzero(beyond).tolist():
        count = len(np.unique(x[:, place]))
        left = len(np.unique(x[:, place].astype(np.float64)))
        if left < count:
            name = place if names is None else names[place]
            lost.append(f"{name} ({count} become {left})")
    if lost:
        more = f" and {len(lost) - 20} more" if len(lost) > 20 else ""
        warnings.warn(
            "different whole numbers that float64 cannot tell apart, in columns: "
            f"{', '.join(lost[:20])}{more}",
            stacklevel=3,
        )


def _rounding(values) -> np.ndarray:
    """How far float32 moves each value; infinite or NaN beyond its range."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.abs(values - values.astype(np.float32))


def _blurs(values, spread: float) -> bool:
    # An infinite shift, or NaN, is none that may be.
    return not _rounding(values).max() <= LARGEST_SHIFT * spread


def _leaves_range(values) -> bool:
    spread = moments(values)[1]
    return bool(np.abs(values).max() > LARGEST_VALUE or 0.0 < spread < SMALLEST_SPREAD)
