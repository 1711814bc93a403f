"""Rows that a transition is: the states before it and the one after."""

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size


def windows(states: np.ndarray, past: int = 1) -> np.ndarray:
    """All transitions of episodes, each with the states before it.

    Before an episode begins it is taken to have rested in its first state.

    Args:
        states: `(n, steps + 1, state)`.
        past: int >= 1, states before the one after the transition.

    Returns:
        `(n * steps, past + 1, state)`, episode by episode; the last state of a row is
        the one after the transition.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    check_size("past", past)
    states = np.asarray(states)
    if states.ndim != 3 or states.shape[1] < 2:
        raise ValueError(
            "`states` must have shape (n, states, state) with at least 2 states. "
            f"Received: shape {states.shape}."
        )
    steps = states.shape[1] - 1
    resting = np.repeat(states[:, :1], past - 1, axis=1)
    padded = np.concatenate([resting, states], axis=1)
    rows = np.stack([padded[:, i : i + steps] for i in range(past + 1)], axis=2)
    return rows.reshape(-1, past + 1, states.shape[-1])


def with_next(past: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Windows `(n, past + 1, state)` of the states before and the one after."""
    return tf.concat([past, after[:, None]], axis=1)
