"""How well a score separates known rows from foreign ones, and how surely.

Foreign (out-of-distribution) rows are the positive class and a higher score
means more foreign. Scores only ever meet by comparison, so `inf` is a legal
score; `nan` is not, and raises.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Statistic = Callable[[np.ndarray, np.ndarray], float]


class ScoreCounts(NamedTuple):
    """How many rows of each kind have each distinct score, scores ascending."""

    known: np.ndarray
    foreign: np.ndarray


def auroc(known: np.ndarray, foreign: np.ndarray) -> float:
    """Probability that a foreign row scores above a known one.

    Ties count one half, which makes this the area under the ROC curve with
    its straight segments.

    Args:
        known: float array of shape `(num_known,)`, scores of known rows.
        foreign: float array of shape `(num_foreign,)`.

    Returns:
        A float in [0, 1]; 0.5 for a score that says nothing.

    Raises:
        ValueError: if an argument is empty, not one-dimensional, or has a
            `nan`.

    References:
        - Hanley and McNeil (1982), "The meaning and use of the area under a
          receiver operating characteristic (ROC) curve".
    """
    return _auroc(_count(*_checked(known, foreign)))


def aupr(known: np.ndarray, foreign: np.ndarray) -> float:
    """Average precision with the foreign rows as the positive class.

    `sum_i (recall_i - recall_{i-1}) * precision_i` over the distinct scores
    from the highest down, without interpolation. A score that says nothing
    reaches the share of foreign rows, so the value depends on that share.

    Args:
        known: float array of shape `(num_known,)`, scores of known rows.
        foreign: float array of shape `(num_foreign,)`.

    Returns:
        A float in (0, 1].

    Raises:
        ValueError: if an argument is empty, not one-dimensional, or has a
            `nan`.

    References:
        - Davis and Goadrich (2006), "The relationship between
          precision-recall and ROC curves".
    """
    return _aupr(_count(*_checked(known, foreign)))


def fpr_at_recall(
    known: np.ndarray, foreign: np.ndarray, recall: float = 0.95
) -> float:
    """Share of foreign rows accepted when `recall` of the known ones are.

    The OOD literature calls this FPR95. Its "positive" is an accepted row,
    the reverse of the positive class of `auroc` and `aupr`. The threshold is
    the smallest known score that accepts at least `recall` of the known rows,
    and a row at the threshold is accepted, so ties need no rule of their own.

    Args:
        known: float array of shape `(num_known,)`, scores of known rows.
        foreign: float array of shape `(num_foreign,)`.
        recall: float in (0, 1]. Defaults to `0.95`.

    Returns:
        A float in [0, 1]; low is good.

    Raises:
        ValueError: if `recall` is not in (0, 1], or a score array is empty,
            not one-dimensional, or has a `nan`.

    References:
        - Liang et al. (2018), "Enhancing the reliability of
          out-of-distribution image detection in neural networks", section 4.3.
    """
    check_recall(recall)
    return _fpr_at_recall(_count(*_checked(known, foreign)), recall)


def bootstrap_interval(
    statistic: Statistic,
    known: np.ndarray,
    foreign: np.ndarray,
    *,
    num_resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic over resampled rows.

    Known and foreign rows are drawn with replacement each among themselves,
    so their numbers stay. The interval covers the choice of test rows alone,
    not that of the training rows or of the training seed.

    Args:
        statistic: callable of `(known, foreign)` that returns a float, such
            as `auroc`.
        known: float array of shape `(num_known,)`, scores of known rows.
        foreign: float array of shape `(num_foreign,)`.
        num_resamples: int >= 2.
        level: float in (0, 1), the coverage aimed at.
        seed: int. The same seed draws the same rows for every statistic.

    Returns:
        `(low, high)`, two floats.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Efron and Tibshirani (1993), "An introduction to the bootstrap",
          chapter 13.
    """
    known, foreign = _checked(known, foreign)
    draws = _resamples(len(known), len(foreign), num_resamples, seed)
    values = [statistic(known[i], foreign[j]) for i, j in draws]
    return _percentiles(values, level)


def detection_report(
    known: np.ndarray,
    foreign: np.ndarray,
    *,
    num_resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """AUROC, AUPR and FPR95 with bootstrap intervals, ranking only once.

    The intervals equal those of `bootstrap_interval` with the same arguments.
    A resample only changes how often each score occurs, so the scores are
    sorted once and every resample is a pass over counts.

    Args:
        known: float array of shape `(num_known,)`, scores of known rows.
        foreign: float array of shape `(num_foreign,)`.
        num_resamples: int >= 2.
        level: float in (0, 1), the coverage aimed at.
        seed: int, of the resampling.

    Returns:
        `{"auroc": {"value": v, "low": l, "high": h}, "aupr": ...,
        "fpr95": ...}`.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    whole, resampled = _whole_and_resampled(known, foreign, num_resamples, seed)
    report = {}
    for name, value in whole.items():
        low, high = _percentiles(resampled[name], level)
        report[name] = {"value": value, "low": low, "high": high}
    return report


def resampled_detection(
    known: np.ndarray,
    foreign: np.ndarray,
    *,
    num_resamples: int = 200,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """AUROC, AUPR and FPR95 of rows drawn with replacement, ranking only once.

    The same seed and numbers of rows draw the same rows, so that the difference of two
    scores of the same rows has its interval by subtracting what this gives for each.

    Args:
        known: float array of shape `(num_known,)`, scores of known rows.
        foreign: float array of shape `(num_foreign,)`.
        num_resamples: int >= 2.
        seed: int, of the resampling.

    Returns:
        Arrays `(num_resamples,)` under `"auroc"`, `"aupr"` and `"fpr95"`.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    return _whole_and_resampled(known, foreign, num_resamples, seed)[1]


def _whole_and_resampled(known, foreign, num_resamples, seed) -> tuple[dict, dict]:
    """Statistics of all rows, and arrays of those of rows drawn with replacement."""
    known, foreign = _checked(known, foreign)
    ranks, num_scores = _ranks(known, foreign)
    known_ranks, foreign_ranks = np.split(ranks, [len(known)])
    whole = _statistics(_count_ranks(known_ranks, foreign_ranks, num_scores))
    values = [
        _statistics(_count_ranks(known_ranks[i], foreign_ranks[j], num_scores))
        for i, j in _resamples(len(known), len(foreign), num_resamples, seed)
    ]
    return whole, {name: np.array([own[name] for own in values]) for name in whole}


def check_recall(recall: float) -> None:
    """Raises `ValueError` unless `recall` is in (0, 1]."""
    if not 0.0 < recall <= 1.0:
        raise ValueError(
            "`recall` is the share of known rows to accept and must be in "
            f"(0, 1]. Received: recall={recall}."
        )


def rows_to_accept(num_known: int, recall: float) -> int:
    """Smallest count that is at least `recall` of `num_known`.

    The margin keeps a product such as `100 * 0.55 = 55.00000000000001` from
    asking for one row more.
    """
    return int(np.ceil(num_known * recall * (1.0 - 1e-12)))


def _auroc(counts: ScoreCounts) -> float:
    known, foreign = counts
    below = np.cumsum(known) - known
    wins = np.dot(foreign, below + 0.5 * known)
    return float(wins / (known.sum() * foreign.sum()))


def _aupr(counts: ScoreCounts) -> float:
    # From the highest score down, at scores that some foreign row has: the
    # others leave recall as it is.
    known, foreign = (count[::-1] for count in counts)
    steps = np.flatnonzero(foreign)
    true_positives = np.cumsum(foreign)[steps]
    called = true_positives + np.cumsum(known)[steps]
    gained = foreign[steps] / foreign.sum()
    # Rounding can take a sum of shares past 1.
    return min(1.0, float(np.dot(gained, true_positives / called)))


def _fpr_at_recall(counts: ScoreCounts, recall: float) -> float:
    accepted = np.cumsum(counts.known)
    needed = rows_to_accept(accepted[-1], recall)
    threshold = np.searchsorted(accepted, needed)
    return float(counts.foreign[: threshold + 1].sum() / counts.foreign.sum())


def _statistics(counts: ScoreCounts) -> dict[str, float]:
    return {
        "auroc": _auroc(counts),
        "aupr": _aupr(counts),
        "fpr95": _fpr_at_recall(counts, 0.95),
    }


def _ranks(known, foreign):
    scores, ranks = np.unique(np.concatenate([known, foreign]), return_inverse=True)
    return ranks, len(scores)


def _count_ranks(known_ranks, foreign_ranks, num_scores) -> ScoreCounts:
    return ScoreCounts(
        np.bincount(known_ranks, minlength=num_scores),
        np.bincount(foreign_ranks, minlength=num_scores),
    )


def _count(known: np.ndarray, foreign: np.ndarray) -> ScoreCounts:
    ranks, num_scores = _ranks(known, foreign)
    known_ranks, foreign_ranks = np.split(ranks, [len(known)])
    return _count_ranks(known_ranks, foreign_ranks, num_scores)


def _resamples(num_known, num_foreign, num_resamples, seed):
    """Yields `num_resamples` pairs of row indices, drawn with replacement."""
    if num_resamples < 2:
        raise ValueError(
            "`num_resamples` must be at least 2; a few hundred give a steady "
            f"interval. Received: num_resamples={num_resamples}."
        )
    rng = np.random.default_rng(seed)
    for _ in range(num_resamples):
        yield (
            rng.integers(num_known, size=num_known),
            rng.integers(num_foreign, size=num_foreign),
        )


def _percentiles(values, level: float) -> tuple[float, float]:
    if not 0.0 < level < 1.0:
        raise ValueError(
            "`level` is the coverage of the interval and must be in (0, 1). "
            f"Received: level={level}."
        )
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def _checked(known, foreign) -> tuple[np.ndarray, np.ndarray]:
    return _check_scores(known, "known"), _check_scores(foreign, "foreign")


def _check_scores(scores, name: str) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(
            f"`{name}` must hold one score per row, in an array of shape "
            f"`(rows,)` with at least one row. Received: shape {scores.shape}."
        )
    missing = np.isnan(scores)
    if missing.any():
        raise ValueError(
            f"`{name}` must not contain nan, which has no rank. Received: "
            f"{missing.sum()} nan among {scores.size} scores, the first in row "
            f"{missing.argmax()}. Find the input that gave it."
        )
    return scores
