"""Episodes that a model makes, step by step from what it made before."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size
from keras_ebm.random import StepRandom


def rollout(model: Any, start: np.ndarray, num_steps: int, seed: int = 0) -> np.ndarray:
    """Rolls a model out, each state held in the range that was seen in training.

    Args:
        model: `TransitionModel`, `GaussianStep`, `NearestStep`, or another object with
            `scale`, `past` and `next_states`.
        start: where episodes start, raw states `(n, state)`, each taken to have rested
            there; or `(n, states, state)`, of which the last is where they start.
        num_steps: int >= 1.
        seed: int; the same seed gives the same episodes.

    Returns:
        float32 `(n, num_steps + 1, state)`, raw states, the first of them `start`.

    Raises:
        ValueError: if `start` has another shape or a value that is not finite.
        RuntimeError: if a state that the model gives is not finite.
    """
    check_size("num_steps", num_steps)
    past = first_past(model, start)

    @tf.function(autograph=False)
    def step(past, index):
        return model.next_states(past, StepRandom(seed, index))

    states = [past[:, -1]]
    for index in range(num_steps):
        after = step(past, tf.constant(index, tf.int64))
        _check_finite(after, index)
        after = model.scale.hold(after)
        states.append(after)
        past = tf.concat([past[:, 1:], after[:, None]], axis=1)
    made = model.scale.raw(tf.stack(states, axis=1)).numpy()
    # Rounding would move it otherwise.
    made[:, 0] = _last(start)
    return np.clip(made, *_widened(model.scale, made[:, :1]))


def first_past(model: Any, start: np.ndarray) -> tf.Tensor:
    """The standardised states `(n, past, state)` that a rollout starts from.

    Args:
        model: see `rollout`.
        start: see `rollout`.

    Raises:
        ValueError: if `start` has another shape or a value that is not finite.
    """
    start = np.asarray(start, np.float32)
    size = len(model.scale.mean)
    if start.ndim not in (2, 3) or start.shape[-1] != size or not start.size:
        raise ValueError(
            f"`start` must have shape (n, {size}) or (n, states, {size}). Received: "
            f"shape {start.shape}."
        )
    if not np.all(np.isfinite(start)):
        raise ValueError(
            "`start` must be finite. Received: values that are not, in "
            f"{int((~np.isfinite(start)).reshape(len(start), -1).any(1).sum())} row(s)."
        )
    states = start if start.ndim == 3 else start[:, None]
    missing = max(0, model.past - states.shape[1])
    states = np.concatenate([np.repeat(states[:, :1], missing, axis=1), states], axis=1)
    return model.scale(states[:, states.shape[1] - model.past :])


def _last(start):
    start = np.asarray(start, np.float32)
    return start if start.ndim == 2 else start[:, -1]


def _widened(scale, first):
    """The range of raw states, and beyond it where an episode started there."""
    return np.minimum(scale.low, first), np.maximum(scale.high, first)


def _check_finite(states, index) -> None:
    wrong = ~np.isfinite(states.numpy()).all(axis=1)
    if wrong.any():
        raise RuntimeError(
            f"{int(wrong.sum())} of {len(wrong)} episodes left the numbers at step "
            f"{index + 1}; the model gives states that are not finite: take smaller "
            "steps of its chains, or train it again with a lower learning rate"
        )
