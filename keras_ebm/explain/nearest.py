"""The nearest point at which an energy is low enough."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_ebm.gradients import squared_norm

#: On energies of two tables the distance was 0.1 % above the least that any of twelve
#: methods found, sequential quadratic programming among them, and 2.3 % at most.
NUM_STEPS = 50
NUM_ROUNDS = 50
#: Steps back to the level after each pull towards the start; with fewer of them the
#: distance was up to 30 % above it.
NUM_CORRECTIONS = 3
#: What the largest pull falls by in a round, from all of the way.
PULL_DECAY = 0.95


class Place(NamedTuple):
    """Where a search stands.

    `position` is `(batch, n)`; `excess` `(batch,)` is the energy above the level, in
    nats, at most 0 where the position is acceptable; `gradient` `(batch, n)` is the
    energy's, 0 in the coordinates that cannot follow its descent.
    """

    position: tf.Tensor
    excess: tf.Tensor
    gradient: tf.Tensor


VisitFn = Callable[[tf.Tensor], Place]


def nearest_acceptable(
    visit: VisitFn,
    start: tf.Tensor,
    origin: tf.Tensor,
    *,
    slack: float,
    num_steps: int = NUM_STEPS,
    num_rounds: int = NUM_ROUNDS,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Looks for the point with `excess <= 0` that is nearest to `start`.

    From the origin it first descends to the level, then approaches the start along
    it. The result is a local minimum of the distance: with an energy that is not
    convex there may be a nearer point, and one that was missed. Rows do not depend
    on each other.

    Args:
        visit: callable from wished positions `(batch, n)` to the `Place` that they
            lead to, such as the nearest one within bounds.
        start: float tensor of shape `(batch, n)`, from which distance is measured.
        origin: position of that shape to descend from, such as `start`.
        slack: float > 0, how far below the level steps aim, in nats. The linear
            steps onto the boundary of a convex set end just outside of it.
        num_steps: int, gradients of the descent.
        num_rounds: int, rounds of the approach, of 4 gradients each.

    Returns:
        `(position, distance)`, `(batch, n)` and `(batch,)`. Where nothing was found
        the distance is infinite and the position where the search ended.
    """
    place = _descend(visit, visit(origin), slack, num_steps)
    return _approach(visit, place, start, slack, num_rounds)


def _descend(visit, place, slack, num_steps) -> Place:
    """Gradient descent that stops at the level; a radius limits each step."""

    def step(index, place, radius):
        moved = visit(place.position - _to_level(place, slack, radius))
        # False for NaN, which so never becomes a place.
        better = (moved.excess < place.excess) & (place.excess > 0.0)
        radius = tf.where(better, 2.0 * radius, 0.5 * radius)
        return index + 1, _choose(better, moved, place), radius

    loop = (0, place, tf.ones_like(place.excess))
    return tf.while_loop(lambda index, *_: index < num_steps, step, loop)[1]


def _approach(visit, place, start, slack, num_rounds):
    """Projected gradient descent of the distance within the acceptable set.

    A round pulls the position a share of the way to the start and returns to the
    level by Newton steps along the gradient. They project onto the level up to the
    turn of the gradient on the way, which the share keeps small: it grows while
    that shortens the distance, shrinks where it does not, and its limit falls.
    """

    def one_round(index, position, distance, pull):
        pull = tf.minimum(pull, tf.pow(PULL_DECAY, tf.cast(index, pull.dtype)))
        place = visit(position + pull[:, None] * (start - position))
        for _ in range(NUM_CORRECTIONS):
            # The point that was pulled lies this near: farther is no projection.
            place = visit(place.position - _to_level(place, slack, pull * distance))
        length = _length(place.position - start)
        better = (place.excess <= 0.0) & (length < distance)
        position = tf.where(better[:, None], place.position, position)
        distance = tf.where(better, length, distance)
        pull = tf.where(better, tf.minimum(1.5 * pull, 1.0), 0.5 * pull)
        return index + 1, position, distance, pull

    found = place.excess <= 0.0
    distance = tf.where(found, _length(place.position - start), float("inf"))
    loop = (0, place.position, distance, tf.fill(tf.shape(distance), 0.5))
    _, position, distance, _ = tf.while_loop(
        lambda index, *_: index < num_rounds, one_round, loop
    )
    return position, distance


def _to_level(place, slack, radius):
    """The step down the gradient that would end `slack` below the level.

    It is 0 below the level already; no longer than `radius`.
    """
    squared = squared_norm(place.gradient)
    wanted = tf.where(place.excess > 0.0, place.excess + slack, 0.0)
    share = tf.math.divide_no_nan(wanted, squared)
    share = tf.minimum(share, tf.math.divide_no_nan(radius, tf.sqrt(squared)))
    return share[:, None] * place.gradient


def _choose(where, first: Place, second: Place) -> Place:
    return Place(
        tf.where(where[:, None], first.position, second.position),
        tf.where(where, first.excess, second.excess),
        tf.where(where[:, None], first.gradient, second.gradient),
    )


def _length(vectors):
    return tf.sqrt(squared_norm(vectors))
