"""What a false-alarm rate is in ranks of calibration rows, and where it may fall."""

import math
from fractions import Fraction

import numpy as np
import tensorflow as tf

#: The most that rounding of a rate may lift a rank, so that a share of few binary
#: digits, .5 or .75 of a rank, is never lifted, however many rows there are.
LARGEST_LIFT = 0.2
#: The step from 1 to the next number of each type of a rate.
EPSILON = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23}
EPSILON64 = 2.0**-52


def conformal_band(
    target_fpr: float, num_calibration: int, num_test: int, level: float = 0.95
) -> tuple[float, float]:
    """Where the false-alarm rate on held-out known rows should fall.

    Of a calibration set of `n` rows, `k = floor(target_fpr * (n + 1))` lie at
    or above the threshold. The chance that a known row is refused then has
    the law `Beta(k, n + 1 - k)` over calibration sets, so the number refused
    of `num_test` rows is beta-binomial. Exact for scores without ties, and
    for a detector that does not compare within classes.

    Args:
        target_fpr: float in (0, 1), the rate aimed at.
        num_calibration: int, the `n` above.
        num_test: int, how many held-out rows the rate is measured on.
        level: float in (0, 1), the coverage of the equal-tailed band.

    Returns:
        `(low, high)`, the two rates.

    Raises:
        ValueError: if an argument breaks its rule, or `num_calibration` rows
            cannot keep the rate.

    References:
        - Vovk (2012), "Conditional validity of inductive conformal
          predictors", proposition 2a.
    """
    check_in_unit_interval(target_fpr, "target_fpr")
    check_in_unit_interval(level, "level")
    refused = num_refused(target_fpr, num_calibration)
    if refused < 1 or num_test < 1:
        raise ValueError(
            "`num_calibration` must be at least 1 / target_fpr - 1 and "
            f"`num_test` at least 1. Received: num_calibration="
            f"{num_calibration}, num_test={num_test}, target_fpr={target_fpr}."
        )
    cdf = _beta_binomial_cdf(num_test, refused, num_calibration + 1 - refused)
    tail = 0.5 * (1.0 - level)
    low, high = np.searchsorted(cdf, [tail, 1.0 - tail])
    return float(low / num_test), float(high / num_test)


def _beta_binomial_cdf(size: int, a: int, b: int) -> np.ndarray:
    """Distribution function at `0, 1, ..., size` of a beta-binomial count."""
    x = np.arange(size, dtype=np.float64)
    # p(x + 1) / p(x), which needs no gamma function.
    ratios = (size - x) * (x + a) / ((x + 1.0) * (size - x - 1.0 + b))
    log_p = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    p = np.exp(log_p - log_p.max())
    return np.cumsum(p) / p.sum()


def rows_needed(target_fpr: float) -> int:
    """The fewest calibration rows that can keep a rate: `1 / target_fpr - 1`.

    Args:
        target_fpr: float in (0, 1), the share of known inputs that may be refused.

    Returns:
        An int >= 1, exact: what rounded `target_fpr` to a float adds no row.

    Raises:
        ValueError: if `target_fpr` is not between 0 and 1.
    """
    check_in_unit_interval(target_fpr, "target_fpr")
    highest = Fraction(float(target_fpr)) * (1 + Fraction(_rounding(target_fpr)))
    return max(1, math.ceil(1 / highest) - 1)


def num_refused(rate: float, num_rows: int) -> int:
    """Rank from the top of the calibration score that is the threshold.

    `floor(rate * (num_rows + 1))` in exact arithmetic, where a rate that rounding
    alone keeps below the next rank has that one: .01 in float32 is less than 1/100,
    and refuses 1 of 99 + 1 all the same.
    """
    rank = Fraction(float(rate)) * (int(num_rows) + 1)
    lift = min(rank * Fraction(_rounding(rate)), Fraction(LARGEST_LIFT))
    return min(math.floor(rank + lift), int(num_rows))


def _rounding(rate: float) -> float:
    """How far a rate may be from what was meant, as a share of it."""
    if isinstance(rate, np.floating) and rate.dtype.name in EPSILON:
        return EPSILON[rate.dtype.name]
    short = np.float32(rate)
    # A float that came from float32, as 0.009999999776482582 did from .01. One that
    # float32 writes in full, as .5, was not rounded.
    came_from_float32 = float(short) == rate and float(str(short)) != rate
    return EPSILON["float32"] if came_from_float32 else EPSILON64


def num_refused_of(rate: tf.Tensor, num_rows: tf.Tensor) -> tf.Tensor:
    """`num_refused` of a tensor of rates, float64; 0 of a rate of 0."""
    rank = tf.cast(rate, tf.float64) * (num_rows + 1.0)
    if not rate.dtype.is_floating:
        return rank
    lift = tf.minimum(rank * _tensor_rounding(rate), LARGEST_LIFT)
    return tf.floor(rank + lift)


def _tensor_rounding(rate: tf.Tensor) -> float | tf.Tensor:
    """`_rounding` of a tensor: by its type alone, but for float64."""
    if rate.dtype != tf.float64:
        return EPSILON[rate.dtype.name]
    came_from_float32 = tf.cast(tf.cast(rate, tf.float32), tf.float64) == rate
    return tf.where(
        came_from_float32, tf.constant(EPSILON["float32"], tf.float64), EPSILON64
    )


def check_in_unit_interval(value: float, name: str) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(
            f"`{name}` must be between 0 and 1, both excluded. Received: "
            f"{name}={value}."
        )
