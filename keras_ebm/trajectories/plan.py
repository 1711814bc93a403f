"""Ways to a goal, by descent on the energy of every transition at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.trajectories.rollout import first_past


class Plan(NamedTuple):
    """A way for each row.

    Attributes:
        states: float32 `(n, horizon + 1, state)`, raw, the first of them the start.
        energy: float32 `(n, horizon)`, nats, of each transition.
        miss: float32 `(n,)`, distance of the last state from the goal over the entries
            that have one, in standardised units.
    """

    states: np.ndarray
    energy: np.ndarray
    miss: np.ndarray


def plan(
    model: Any,
    start: np.ndarray,
    goal: np.ndarray,
    horizon: int,
    *,
    goal_weight: float = 10.0,
    num_steps: int = 300,
    learning_rate: float = 0.02,
) -> Plan:
    """Finds likely transitions from a start that end near a goal.

    Descends `sum_t E(past_t, s_t) + goal_weight / 2 * ||s_horizon - goal||^2` over the
    standardised states `s_1, ..., s_horizon` by Adam, from the straight line, each
    state held in the range seen in training. It says which states would be likely, not
    which actions lead there.

    Args:
        model: `TransitionModel` or `GaussianStep`.
        start: see `rollout`.
        goal: raw states `(n, state)` or `(state,)`; NaN where an entry may end as it
            likes.
        horizon: int >= 1, transitions.
        goal_weight: float > 0, nats per squared standardised unit.
        num_steps: int >= 1, of the descent.
        learning_rate: float > 0, in standardised units a step.

    Returns:
        `Plan`.

    Raises:
        ValueError: if an argument breaks its rule, or `goal` has no finite entry.
        RuntimeError: if the descent left the numbers.
    """
    check_size("horizon", horizon)
    check_size("num_steps", num_steps)
    check_positive("goal_weight", goal_weight)
    check_positive("learning_rate", learning_rate)
    past = first_past(model, start)
    wanted, given = _goal(model, goal, past)
    end = tf.where(given, wanted, past[:, -1])
    line = tf.linspace(past[:, -1], end, horizon + 1, axis=1)
    states = tf.Variable(model.scale.hold(line[:, 1:]))
    optimizer = keras.optimizers.Adam(learning_rate)

    def miss():
        off = tf.where(given, states[:, -1] - wanted, 0.0)
        return tf.reduce_sum(tf.square(off), axis=1)

    @tf.function(autograph=False)
    def descend():
        with tf.GradientTape() as tape:
            energy = _energies(model, past, states)
            cost = tf.reduce_sum(energy) + 0.5 * goal_weight * tf.reduce_sum(miss())
        gradient = tape.gradient(cost, states)
        optimizer.apply_gradients([(gradient, states)])
        states.assign(model.scale.hold(states))

    optimizer.build([states])
    for _ in range(num_steps):
        descend()
    found = tf.concat([past[:, -1:], states], axis=1)
    result = Plan(
        model.scale.raw(found).numpy(),
        _energies(model, past, states).numpy(),
        tf.sqrt(miss()).numpy(),
    )
    if not all(np.all(np.isfinite(part)) for part in result):
        raise RuntimeError(
            "the descent of `plan` left the numbers; lower its learning_rate or its "
            "goal_weight"
        )
    return result


def _goal(model, goal, past):
    """The standardised goal and which entries have one, both `(n, state)`."""
    goal = np.asarray(goal, np.float32)
    count, size = past.shape[0], past.shape[-1]
    given = np.isfinite(goal)
    if goal.shape not in ((size,), (count, size)) or not given.any():
        raise ValueError(
            f"`goal` must have shape ({size},) or ({count}, {size}) and a finite entry."
            f" Received: shape {goal.shape} with {int(given.sum())} finite entries."
        )
    if np.isinf(goal).any():
        raise ValueError(
            "`goal` must be finite, or NaN where an entry has no goal. Received: an "
            "entry that is infinite."
        )
    shape = (count, size)
    wanted = np.broadcast_to(np.where(given, goal, 0.0), shape).astype(np.float32)
    return model.scale(wanted), tf.constant(np.broadcast_to(given, shape))


def _energies(model, past, states):
    """Energies of all transitions, `(n, horizon)`."""
    whole = tf.concat([past, states], axis=1)
    horizon = states.shape[1]
    rows = tf.stack([whole[:, i : i + horizon] for i in range(model.past + 1)], axis=2)
    shape = tf.shape(rows)
    flat = tf.reshape(rows, [-1, model.past + 1, states.shape[2]])
    return tf.reshape(model.row_energy(flat), [shape[0], horizon])
