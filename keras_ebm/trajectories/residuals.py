"""Walks over what a Gaussian leaves, in its own units."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_ebm.protocols import EnergyFn
from keras_ebm.trajectories.gaussian_step import GaussianStep
from keras_ebm.trajectories.windows import with_next


def walk_residuals(
    step: GaussianStep, energy_fn: EnergyFn, past: tf.Tensor, walk: Callable
) -> tuple[tf.Tensor, tf.Tensor]:
    """Walks over `u` of `next = mean(past) + root u`.

    Args:
        step: `GaussianStep`, whose mean and root these are.
        energy_fn: callable from standardised windows to energies `(n,)`.
        past: `(n, past, state)`, standardised.
        walk: callable on the energy of `u` that returns the sampler's state and info.

    Returns:
        `(after, movement)`: next states `(n, state)`, and how far a step goes, a
        scalar.
    """
    mean = step(past)

    def after(u):
        return mean + tf.matmul(u, step.root, transpose_b=True)

    state, info = walk(lambda u: energy_fn(with_next(past, after(u))))
    return after(state.x), tf.reduce_mean(info.movement)
