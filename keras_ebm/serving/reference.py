"""What new p-values are ranked among: the calibration rows, and the answers since.

A p-value `(1 + #{calibration scores >= s}) / (n + 1)` of one fixed set of calibration
rows is not uniform: in the long run its distribution is that set's own. Its rank among
the calibration rows *and all answers before it*, ties broken at random, is. All that
this needs of the former answers is how many came into each gap between calibration
scores, and bins of neighbouring gaps will do: while calibration rows and answers are
exchangeable, the next one comes into a bin with a probability that is its number of
gaps over all, and is as likely in each of these.
"""

import dataclasses

import numpy as np

#: Gaps in a bin, as a share of those before it, and at most as a share of all.
FINENESS, WIDEST = 0.1, 0.01
#: p-values are told apart to this part of 1 where no number of rows is known.
GRID = 1_000
#: How far from a whole number p * (n + 1) may be, and as a share of n + 1: p-values
#: are float32.
ROUNDING, FLOAT32 = 0.01, 2.0**-22


@dataclasses.dataclass(frozen=True)
class Reference:
    """Calibration rows in bins of neighbouring p-values.

    Use `of_rows`, `of_scores` or `unknown`.

    Args:
        rows: int, calibration rows; 0 where the answers alone are the reference.
        edges: rank from which on each bin holds p-values: `p (n + 1) - 1`, from 0.
        counts: gaps between calibration scores in each bin, `n + 1` in all.
    """

    rows: int
    edges: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of_rows(cls, rows: int) -> "Reference":
        """Calibration rows of different scores, of which only the number is known."""
        return cls.of_scores(np.arange(rows)) if rows else cls.unknown()

    @classmethod
    def of_scores(cls, scores: np.ndarray) -> "Reference":
        """The calibration rows of a detector; those of equal scores share a gap."""
        scores = np.sort(np.asarray(scores))
        rows = len(scores)
        if not rows:
            return cls.unknown()
        # Calibration scores at least as large, which gives each row's own p-value.
        ranks = rows - np.searchsorted(scores, scores, side="left")
        edges = _edges(np.unique(ranks), rows + 1)
        counts = np.histogram(ranks, [*edges, rows + 1])[0]
        # The gap above all scores has no row below it.
        counts[0] += 1
        return cls(rows, tuple(edges), tuple(counts.tolist()))

    @classmethod
    def unknown(cls) -> "Reference":
        """No calibration rows: each answer is ranked among those before it alone."""
        edges = _edges(np.arange(GRID), GRID)
        return cls(0, tuple(edges), (0,) * len(edges))

    @property
    def cumulative(self) -> np.ndarray:
        """Gaps before each bin, and in all: int64 `(bins + 1,)`."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    def bins(self, p_values: np.ndarray) -> np.ndarray:
        """The bin of each p-value.

        Raises:
            ValueError: if one is none of as many calibration rows.
        """
        if not self.rows:
            ranks = np.maximum(np.ceil(p_values * GRID) - 1, 0)
        else:
            steps = p_values * (self.rows + 1)
            ranks = np.rint(steps) - 1
            off = np.abs(steps - ranks - 1) > ROUNDING + FLOAT32 * (self.rows + 1)
            wrong = off | (ranks < 0)
            if wrong.any():
                raise ValueError(
                    "`p_values` must be those of the monitor's calibration rows, "
                    f"whole multiples of 1 / (n + 1) for n = {self.rows}. Received: "
                    f"{p_values[wrong.argmax()]}; watch the answers of each version "
                    "of a model by a monitor of their own."
                )
        return np.searchsorted(self.edges, ranks, side="right") - 1


def _edges(ranks: np.ndarray, end: int) -> list[int]:
    """Ranks at which bins begin: 0, and such of `ranks` that they grow wider."""
    edges = [0]
    while True:
        width = max(1, int(min(FINENESS * edges[-1], WIDEST * end)))
        place = np.searchsorted(ranks, edges[-1] + width)
        if place == len(ranks):
            return edges
        edges.append(int(ranks[place]))


def place(
    cumulative: np.ndarray, bins: np.ndarray, draws: np.ndarray, unknown: bool
) -> np.ndarray:
    """Ranks the next answer of each stream among all before it, and counts it.

    Args:
        cumulative: int array `(streams, bins + 1)`, gaps before each bin and in all,
            which is changed.
        bins: int array `(streams,)`, where the answers come.
        draws: float array `(streams,)`, uniform on [0, 1), which break the ties.
        unknown: whether there are no calibration rows. Bins are the same for any
            answers then, and an answer is in one bin with itself.

    Returns:
        Float array `(streams,)`, independent and uniform while calibration rows and
        answers are exchangeable; small is foreign.
    """
    streams = np.arange(len(bins))
    low = cumulative[streams, bins]
    high = cumulative[streams, bins + 1] + unknown
    u = (low + draws * (high - low)) / (cumulative[:, -1] + unknown)
    cumulative += np.arange(cumulative.shape[1]) > bins[:, None]
    return u
