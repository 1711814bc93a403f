"""Projected gradient ascent: the white-box attack."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.robust.ball import Ball, by_row
from keras_ebm.robust.losses import Evasion, Goal


class Attacked(NamedTuple):
    """What an attack found.

    Attributes:
        x: `(batch, ...)`, preprocessed: for each row the best that was seen.
        success: `(batch,)`, above 0 where that reached the goal when it was seen. Of
            answers that are drawn it is the best of many draws: ask anew.
    """

    x: tf.Tensor
    success: tf.Tensor


def pgd(
    logits_fn: Callable,
    x: Any,
    y: Any,
    *,
    bound: float,
    norm: str = "linf",
    box: tuple[float, float] | None = None,
    num_steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    eot: int = 1,
    loss: str = "cross_entropy",
    targeted: bool = False,
    evade: Evasion | None = None,
    rows_at_a_time: int = 500,
    random: RandomDraws,
) -> Attacked:
    """Searches the ball about each input by projected gradient ascent.

    From a random place of the ball each step goes `step_size` along the sign of the
    loss's gradient (L-infinity) or along the gradient (L2), and then to the nearest
    place of the ball about the *given* input, inside the box. Of all places of all
    restarts, and of the given input, the one of the largest margin is kept.

    Args:
        logits_fn: callable from preprocessed inputs `(batch, ...)` to logits
            `(batch, K)`; with an attribute `draws` that is true, from `(x, random)`.
        x: preprocessed inputs.
        y: `(batch,)` labels; with `targeted` those that are to be answered.
        bound: float >= 0, in units of `x`.
        norm: `"linf"` or `"l2"`.
        box: `(low, high)` that inputs stay in, or None.
        num_steps: int >= 1.
        step_size: float > 0 in units of `x`; default `2.5 * bound / num_steps`.
        restarts: int >= 1, random starts.
        eot: int >= 1, draws that each gradient is a mean over (expectation over
            transformation), of answers that are drawn.
        loss: `"cross_entropy"`, or `"margin"`, which goes on where probabilities are 1.
        targeted: bool, whether `y` is what is to be answered.
        evade: `Evasion`, a detector to go round, or None.
        rows_at_a_time: int >= 1, rows in memory together.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        `Attacked`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Madry et al. (2018), https://arxiv.org/abs/1706.06083, section 2.1.
        - Athalye et al. (2018), https://arxiv.org/abs/1802.00420, section 4.2.
    """
    ball = Ball(norm, bound, box).check()
    for name, value in {
        "num_steps": num_steps,
        "restarts": restarts,
        "eot": eot,
    }.items():
        check_size(name, value)
    if step_size is None:
        step_size = 2.5 * bound / num_steps
    check_positive("step_size", step_size, zero_allowed=not bound)
    x, y = checked_rows(x, y)
    goal = Goal(logits_fn, loss, targeted, evade, eot).check()
    search = _Search(goal, ball, step_size, random, x)
    return in_chunks(
        lambda x, y, first: search.run(x, y, first, num_steps, restarts),
        x,
        y,
        rows_at_a_time,
    )


class _Search:
    """The compiled parts of an attack on rows like `x`."""

    def __init__(self, goal: Goal, ball: Ball, step_size: float, random, x):
        rows = tf.TensorSpec([None, *x.shape[1:]])
        labels, index = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int64)
        seen = Attacked(rows, tf.TensorSpec([None]))
        self.bound = ball.bound

        def advance(best, at, centre, y, number):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(at)
                loss, success = goal.values(at, y, random.fold(number))
            gradient = checked_gradient(tape.gradient(loss, at))
            moved = at + step_size * ball.steepest(gradient)
            return better(best, Attacked(at, success)), ball.project(moved, centre)

        def look(x, y, number):
            return Attacked(x, goal.values(x, y, random.fold(number))[1])

        def start(centre, number):
            return ball.start(centre, random.fold(number))

        self.look = compiled(look, rows, labels, index)
        if ball.bound:
            self.start = compiled(start, rows, index)
            self.advance = compiled(advance, seen, rows, rows, labels, index)

    def run(self, x, y, first: int, num_steps: int, restarts: int) -> Attacked:
        """The attack; its draws have numbers from `first` on."""
        number = itertools.count(first)
        best = self.look(x, y, next(number))
        for _ in range(restarts if self.bound else 0):
            at = self.start(x, next(number))
            for _ in range(num_steps):
                best, at = self.advance(best, at, x, y, next(number))
            best = better(best, self.look(at, y, next(number)))
        return best


def compiled(function: Callable, *signature: Any) -> Callable:
    """A function traced once, of tensors or of tuples of them like the signature.

    Its arguments are given as they stand there; numbers become tensors.
    """
    traced = tf.function(function, input_signature=signature, autograph=False)
    traced = traced.get_concrete_function()
    specs = tf.nest.flatten(signature)

    def call(*arguments):
        flat = [
            tf.convert_to_tensor(value, spec.dtype)
            for value, spec in zip(tf.nest.flatten(arguments), specs, strict=True)
        ]
        return traced(*tf.nest.pack_sequence_as(signature, flat))

    return call


def checked_gradient(gradient: tf.Tensor | None) -> tf.Tensor:
    """The gradient; ValueError where answers have none in their inputs."""
    if gradient is None:
        raise ValueError(
            "`logits_fn` must have a gradient in its inputs. Received: one without, as "
            "rounding has; give keras_ebm.robust.bpda of that part, or use "
            "square_attack."
        )
    return gradient


#: Numbers of draws that a chunk of rows has for itself.
DRAWS_OF_CHUNK = 10**7


def in_chunks(attack: Callable, x: tf.Tensor, y: tf.Tensor, size: int) -> Attacked:
    """Attacks so many rows at a time.

    Args:
        attack: callable `(x, y, first) -> Attacked`; its draws have numbers from
            `first` on.
        x: `(batch, ...)`.
        y: `(batch,)`.
        size: int >= 1.
    """
    check_size("rows_at_a_time", size)
    starts = range(0, len(x), size)
    parts = [
        attack(x[start : start + size], y[start : start + size], i * DRAWS_OF_CHUNK)
        for i, start in enumerate(starts)
    ]
    return Attacked(*(tf.concat(column, axis=0) for column in zip(*parts, strict=True)))


def better(one: Attacked, other: Attacked) -> Attacked:
    """For each row what came nearer to the goal."""
    won = other.success > one.success
    x = tf.where(by_row(won, one.x), other.x, one.x)
    return Attacked(x, tf.where(won, other.success, one.success))


def checked_rows(x: Any, y: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Inputs as floats and labels as integers; ValueError if they do not go together.

    Args:
        x: `(batch, ...)`.
        y: `(batch,)`.
    """
    x, y = tf.cast(tf.convert_to_tensor(x), tf.float32), tf.convert_to_tensor(y)
    if y.shape.rank != 1 or not y.dtype.is_integer or len(y) != len(x) or not len(x):
        raise ValueError(
            "`y` must hold the number of a class for each row of `x`, one at least. "
            f"Received: y of shape {tuple(y.shape)} and {y.dtype.name} for x of shape "
            f"{tuple(x.shape)}."
        )
    y = tf.cast(y, tf.int32)
    if bool(tf.reduce_any(y < 0)):
        raise ValueError(
            "`y` must hold labels, which an attack leads away from. Received: rows "
            "without (-1); leave them out."
        )
    return x, y
