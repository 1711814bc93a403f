"""A test martingale on a stream of numbers that are uniform while nothing changes.

It is the capital of one who bets on each number before it is seen, at odds that are
fair for uniform numbers: `S_t = S_{t-1} sum_k w_k f_k(u_t)`, where every bet `f_k` is a
density on the unit interval and the shares `w_k` of the capital sum to 1. Capital that
starts at 1 ever reaches `1 / level` with probability at most `level` then (Ville).

All functions take streams along leading axes, so that one and ten thousand are moved by
the same lines.
"""

import math

import numpy as np

#: Bets `1 - c + c Beta(a, b)`, as `(a, b, c)`. The first does not bet.
BETS = (
    (1.0, 1.0, 0.0),
    # All p-values smaller, or larger: scores that moved.
    (0.9, 1.1, 1.0),
    (0.8, 1.2, 1.0),
    (0.6, 1.4, 1.0),
    (1.1, 0.9, 1.0),
    (1.2, 0.8, 1.0),
    (1.4, 0.6, 1.0),
    # Some rows are foreign, the others as before.
    (0.1, 1.0, 0.05),
    (0.1, 1.0, 0.3),
    # More p-values below a usual rate.
    (1.0, 20.0, 0.07),
    (1.0, 100.0, 0.04),
    # Some p-values larger: rows that are known by heart, or repeated.
    (1.0, 0.1, 0.1),
    # Scores spread more, or less.
    (0.8, 0.8, 1.0),
    (1.3, 1.3, 1.0),
)
#: After `t` numbers the share `1 / (t + STEADY)` of the capital is dealt anew, as bets
#: that lost would else never come back. It falls, so that the capital does too slowly
#: for a change to be missed that comes late.
STEADY = 1_000
#: Share that the first bet, which is none, gets of it.
KEPT = 0.5
#: Numbers nearer to 0 or 1 count as this near. Every bet there pays less than it might.
NEAREST = 1e-12

_A, _B, _C = (np.array(column) for column in zip(*BETS, strict=True))
_LOG_NORM = np.array(
    [math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) for a, b, _ in BETS]
)
#: Shares of the capital at first, and of what is dealt anew.
DEAL = np.full(len(BETS), (1.0 - KEPT) / (len(BETS) - 1))
DEAL[0] = KEPT


def payoffs(u: np.ndarray) -> np.ndarray:
    """What each bet pays, `f_k(u)`, shape `(..., bets)`, of numbers `(...)`."""
    u = np.clip(u, NEAREST, 1.0 - NEAREST)[..., None]
    density = np.exp((_A - 1.0) * np.log(u) + (_B - 1.0) * np.log1p(-u) + _LOG_NORM)
    return 1.0 - _C + _C * density


def stake(
    shares: np.ndarray, u: np.ndarray, before: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bets on the next number of each stream.

    Args:
        shares: float array `(..., bets)`, of the capital, each row summing to 1.
        u: float array `(...)` of numbers in [0, 1].
        before: int >= 0, how many numbers came before.

    Returns:
        `(shares, growth)`: the shares afterwards, and the log of the factor, in nats,
        by which the capital of each stream grew, `(...)`.
    """
    dealt = 1.0 / (before + STEADY)
    won = ((1.0 - dealt) * shares + dealt * DEAL) * payoffs(u)
    factor = won.sum(axis=-1)
    return won / factor[..., None], np.log(factor)
