"""Random search by answers alone: the black-box attack."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_ebm.arguments import check_share, check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.robust.ball import Ball, by_row
from keras_ebm.robust.losses import Evasion, Goal
from keras_ebm.robust.pgd import (
    Attacked,
    better,
    checked_rows,
    compiled,
    in_chunks,
)


def square_attack(
    logits_fn: Callable,
    x: Any,
    y: Any,
    *,
    bound: float,
    norm: str = "linf",
    box: tuple[float, float] | None = None,
    num_queries: int = 500,
    initial_share: float = 0.3,
    targeted: bool = False,
    evade: Evasion | None = None,
    rows_at_a_time: int = 500,
    random: RandomDraws,
) -> Attacked:
    """Searches the ball about each input by changing a window of it at a time.

    A proposal sets the change of a random square of pixels, or of random entries of a
    vector, to plus or minus the bound in each channel (L-infinity), or adds such a
    pattern of length half the bound and goes back to the ball (L2). It is kept where
    the margin is larger. The window shrinks from `initial_share` of the entries by
    halves, as in the original; the first change is of random stripes.

    Args:
        logits_fn: see `pgd`; no gradient is asked of it.
        x: preprocessed inputs `(batch, ...)`.
        y: `(batch,)` labels.
        bound: float >= 0, in units of `x`.
        norm: `"linf"` or `"l2"`.
        box: `(low, high)` that inputs stay in, or None.
        num_queries: int >= 1, answers asked of each input.
        initial_share: float in (0, 1), share of the entries in the first window.
        targeted: see `pgd`.
        evade: see `pgd`; of its score too only values are asked.
        rows_at_a_time: int >= 1, rows in memory together.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        `Attacked`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Andriushchenko et al. (2020), "Square attack", https://arxiv.org/abs/1912.00049.
          The pattern of L2 is simpler here.
    """
    ball = Ball(norm, bound, box).check()
    check_size("num_queries", num_queries)
    check_share("initial_share", initial_share)
    x, y = checked_rows(x, y)
    goal = Goal(logits_fn, "margin", targeted, evade).check()
    shape = tuple(x.shape[1:])
    rows = tf.TensorSpec([None, *shape])
    labels, index = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int64)

    def look(at, y, number):
        return Attacked(at, goal.values(at, y, random.fold(number))[1])

    def attempt(best, centre, y, number, share):
        draws = random.fold(number)
        pattern = _signs(draws, tf.shape(centre)[0], shape, first=False)
        inside = _window(draws, tf.shape(centre)[0], shape, share)
        if ball.norm == "linf":
            moved = tf.where(inside, centre + ball.bound * pattern, best.x)
        else:
            change = ball.steepest(tf.where(inside, pattern, 0.0))
            moved = best.x + 0.5 * ball.bound * change
        return better(best, look(ball.project(moved, centre), y, number))

    def stripes(centre, y, number):
        pattern = _signs(random.fold(number), tf.shape(centre)[0], shape, first=True)
        change = ball.bound * ball.steepest(pattern)
        return look(ball.project(centre + change, centre), y, number)

    look_at = compiled(look, rows, labels, index)
    begin = compiled(stripes, rows, labels, index)
    seen = Attacked(rows, tf.TensorSpec([None]))
    turn = compiled(attempt, seen, rows, labels, index, tf.TensorSpec([]))

    def attack(x, y, first):
        best = look_at(x, y, first)
        if not bound:
            return best
        best = better(best, begin(x, y, first + 1))
        for query in range(num_queries - 1):
            share = window_share(initial_share, query / num_queries)
            best = turn(best, x, y, first + 2 + query, share)
        return best

    return in_chunks(attack, x, y, rows_at_a_time)


def window_share(initial: float, progress: float) -> float:
    """Share of the entries in a window, after that part of all queries."""
    # Where the original halves it, of 10,000 queries.
    steps = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
    return initial * 0.5 ** sum(progress > step for step in steps)


def _signs(random, rows, shape, first: bool):
    """Plus or minus 1: for each row, and of images by channel or in stripes."""
    if len(shape) == 3:
        height, width, channels = shape
        own = [rows, 1, width if first else 1, channels]
        signs = tf.sign(random.uniform(own, "signs") - 0.5)
        return tf.broadcast_to(signs, [rows, *shape])
    return tf.sign(random.uniform([rows, *shape], "signs") - 0.5)


def _window(random, rows, shape, share):
    """Booleans `(rows, *shape)`, true inside each row's window."""
    if len(shape) != 3:
        drawn = random.uniform([rows, *shape], "window")
        # One entry at least.
        flat = tf.reshape(drawn, [rows, math.prod(shape)])
        lowest = tf.reduce_min(flat, axis=1)
        return (drawn < share) | (drawn <= by_row(lowest, drawn))
    height, width, _ = shape
    side = tf.sqrt(share * height * width)
    side = tf.clip_by_value(tf.round(side), 1.0, min(height, width) * 1.0)
    masks = []
    for size, name in ((height, "top"), (width, "left")):
        first = tf.floor(random.uniform([rows, 1], name) * (size - side + 1.0))
        place = tf.range(size, dtype=tf.float32)[None]
        masks.append((place >= first) & (place < first + side))
    return (masks[0][:, :, None] & masks[1][:, None, :])[..., None]
