"""Increasing piecewise linear maps of columns, such as to normal scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

#: Knots of a column at most; they lie evenly along its normal scores. A blend needs
#: no others, as standard scores are straight between any.
MAX_KNOTS = 100
#: The smallest number of float32 that all processors compute with.
_TINY = np.finfo(np.float32).tiny


def normal_score_knots(
    values: np.ndarray, share: float = 1.0
) -> tuple[list[float], list[float]]:
    """Knots of the map from a column's values to standardised normal scores.

    A value's score is the normal quantile of its mid-rank: equal values share the
    middle of their ranks, so that a column that is mostly one value has no far
    atom. Scores are then brought to mean 0 and standard deviation 1.

    Args:
        values: float array `(n,)` without NaN, of two values or more that float32
            tells apart.
        share: float in (0, 1], weight of the normal scores in a mean with standard
            scores.

    Returns:
        `(positions, scores)`, both increasing, of equal length.
    """
    # In the precision of the map, which could not tell closer values apart.
    values = _without_denormals(values)
    unique, counts = np.unique(values, return_counts=True)
    ranks = np.cumsum(counts) - counts / 2.0
    scores = tf.math.ndtri(tf.constant(ranks / counts.sum(), tf.float64)).numpy()
    scores = _standardised(scores, counts)
    kept = np.arange(len(unique))
    if len(unique) > MAX_KNOTS:
        wanted = np.linspace(scores[0], scores[-1], MAX_KNOTS)
        kept = np.unique(np.searchsorted(scores, wanted).clip(0, len(scores) - 1))
    if share < 1.0:
        plain = _standardised(unique.astype(np.float64), counts)
        scores = _standardised(share * scores + (1.0 - share) * plain, counts)
    kept = kept[_increasing(unique[kept], scores[kept])]
    return unique[kept].tolist(), scores[kept].tolist()


def _without_denormals(values) -> np.ndarray:
    """Values in float32, those that processors take for 0 in its place."""
    values = np.asarray(values, np.float32)
    return np.where(np.abs(values) < _TINY, np.float32(0.0), values)


def _increasing(positions, scores) -> np.ndarray:
    """Numbers of the knots between which float32 sees a slope in both directions."""
    kept = [0]
    scores = scores.astype(np.float32)
    for place in range(1, len(positions)):
        rise = positions[place] - positions[kept[-1]]
        if rise >= _TINY and scores[place] > scores[kept[-1]]:
            kept.append(place)
    return np.array(kept)


def _standardised(values, counts):
    """Values of mean 0 and standard deviation 1, each counted so often."""
    mean = np.average(values, weights=counts)
    variance = np.average(np.square(values - mean), weights=counts)
    return (values - mean) / np.sqrt(variance)


class PiecewiseLinear:
    """One increasing map a column, and its inverse.

    Beyond the outermost knots a map goes on with the slope given, so that what
    lies far outside of the training rows stays far outside.

    Args:
        positions: list of lists of increasing floats, one a column, two or more.
        values: likewise, of the same lengths.
        slopes: list of float > 0, one a column, used beyond the knots.
    """

    def __init__(
        self,
        positions: Sequence[Sequence[float]],
        values: Sequence[Sequence[float]],
        slopes: Sequence[float] | np.ndarray,
    ):
        self._positions = _padded(positions)
        self._values = _padded(values)
        self._last = np.array([len(knots) - 2 for knots in positions], np.int32)
        self._slopes = np.array(slopes, np.float32)

    def __call__(self, x: tf.Tensor):
        """Maps `(batch, columns)`; NaN stays NaN."""
        return self._map(x, self._positions, self._values, self._slopes)

    def inverse(self, y: tf.Tensor):
        """Maps `(batch, columns)` back."""
        return self._map(y, self._values, self._positions, 1.0 / self._slopes)

    def _map(self, x, sources, targets, slopes):
        x = tf.transpose(x)
        piece = tf.searchsorted(tf.constant(sources), x, side="right") - 1
        piece = tf.clip_by_value(piece, 0, self._last[:, None])
        low, high, start, end = (
            tf.gather(tf.constant(knots), piece + shift, batch_dims=1)
            for knots in (sources, targets)
            for shift in (0, 1)
        )
        inside = start + (x - low) / (high - low) * (end - start)
        below, above = (
            targets[columns] + slopes[:, None] * (x - sources[columns])
            for columns in (np.s_[:, :1], self._outermost())
        )
        mapped = tf.where(x < sources[:, :1], below, inside)
        mapped = tf.where(x > sources[self._outermost()], above, mapped)
        return tf.transpose(mapped)

    def _outermost(self):
        rows = np.arange(len(self._last))[:, None]
        return rows, self._last[:, None] + 1


def _padded(lists) -> np.ndarray:
    """Lists of different lengths as rows, the last entry repeated."""
    width = max(len(row) for row in lists)
    return np.array([row + [row[-1]] * (width - len(row)) for row in lists], np.float32)
