"""Intervals of shares that hold at all times at once."""

import math

from keras_ebm.arguments import check_share


def share_interval(count: int, total: int, coverage: float) -> tuple[float, float]:
    """An interval for a share that may be looked at after every row.

    Of independent rows that each count with probability `q`, it holds `q` at *all*
    times at once with probability `coverage` at least: the likelihood of the rows,
    averaged over a uniform share, over that of `q` is a martingale that starts at 1,
    and those `q` are kept at which it is below `1 / (1 - coverage)`. It is wider than
    an interval for one look only.

    Args:
        count: int, rows that count.
        total: int >= 1, rows in all.
        coverage: float in (0, 1).

    Returns:
        `(low, high)`, in [0, 1].

    References:
        - Robbins (1970), "Statistical methods related to the law of the iterated
          logarithm", section 9.
    """
    check_share("coverage", coverage)
    if total < 1 or not 0 <= count <= total:
        raise ValueError(
            "`count` must be from 0 to `total`, which is at least 1. Received: "
            f"count={count}, total={total}."
        )
    other = total - count
    averaged = math.lgamma(count + 1) + math.lgamma(other + 1) - math.lgamma(total + 2)
    lowest = averaged + math.log(1.0 - coverage)

    def is_kept(share: float) -> bool:
        return _xlogy(count, share) + _xlogy(other, 1.0 - share) > lowest

    likeliest = count / total
    low = 0.0 if not count else _boundary(is_kept, likeliest, 0.0)
    return low, 1.0 if not other else _boundary(is_kept, likeliest, 1.0)


def _boundary(is_kept, inside: float, outside: float) -> float:
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        if is_kept(middle):
            inside = middle
        else:
            outside = middle
    return outside


def _xlogy(x: int, y: float) -> float:
    return 0.0 if not x else x * math.log(y) if y > 0.0 else -math.inf
