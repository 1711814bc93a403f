"""Refusals of a batch with a stated share of false ones among them."""

import numpy as np

from keras_ebm.ood.conformal_rates import EPSILON, check_in_unit_interval


def benjamini_hochberg(
    p_values: np.ndarray, rate: float, counts: np.ndarray | None = None
) -> np.ndarray:
    """Says which rows of a batch are refused, so that few refusals are false.

    Of `m` p-values in ascending order the first `k` are refused, for the largest `k`
    with `p_(k) <= rate k / m`. The expected share of known rows among the refused is
    then at most `rate`, times the share of known rows in the batch. A threshold on each
    row alone promises another thing: how many of the known rows are refused.

    p-values of one calibration set depend on one another, but positively, and the
    promise holds: on average over calibration rows and batches. Those of a
    `CrossConformalDetector` are no such p-values. The smallest one of `n` calibration
    rows is `1 / (n + 1)`: of foreign rows `f` of `m` can be refused only if
    `rate f / m` is as large.

    Args:
        p_values: float array `(rows,)`, of all rows of the batch.
        rate: float in (0, 1), the expected share of false ones among refusals.
        counts: int array `(rows,)`, how many rows each p-value stands for. Defaults
            to one each. A conformal detector's p-values are few, so that those of any
            number of rows can be counted in little memory.

    Returns:
        Bool array `(rows,)`; nothing may be refused.

    Raises:
        ValueError: if an argument breaks its rule; a row without a p-value is no row
            of the batch.

    Example:

    >>> benjamini_hochberg(np.array([0.01, 0.5, 0.04, 0.2]), 0.1)
    array([ True, False,  True, False])

    References:
        - Benjamini and Hochberg (1995), "Controlling the false discovery rate".
        - Bates, Candes, Lei, Romano and Sesia (2023), "Testing for outliers with
          conformal p-values", theorem 2 and corollary 1.
    """
    check_in_unit_interval(rate, "rate")
    p_values = np.asarray(p_values, np.float64)
    if p_values.ndim != 1 or not np.all((p_values >= 0.0) & (p_values <= 1.0)):
        raise ValueError(
            "`p_values` must be from 0 to 1, of shape `(rows,)`. Received: shape "
            f"{p_values.shape} with {_worst(p_values)}; leave rows without one out."
        )
    counts = np.ones(len(p_values), np.int64) if counts is None else np.asarray(counts)
    if (
        counts.shape != p_values.shape
        or counts.dtype.kind not in "iu"
        or (counts.size and counts.min() < 1)
    ):
        raise ValueError(
            "`counts` must be integers of at least 1, one for each p-value. Received: "
            f"shape {counts.shape} of {counts.dtype} for {len(p_values)} p-values."
        )
    order = np.argsort(p_values)
    ascending, ranks = p_values[order], np.cumsum(counts[order])
    bounds = rate * ranks / max(counts.sum(), 1)
    # As elsewhere, what float32 alone keeps above a bound is at it.
    below = np.flatnonzero(ascending <= bounds * (1.0 + EPSILON["float32"]))
    return p_values <= (ascending[below[-1]] if len(below) else -1.0)


def _worst(p_values: np.ndarray) -> str:
    wrong = p_values[~((p_values >= 0.0) & (p_values <= 1.0))]
    return str(wrong.flat[0]) if wrong.size else "such values"
