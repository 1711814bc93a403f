"""Energies and their gradients with respect to inputs: the one tape over inputs."""

import tensorflow as tf

from keras_ebm.protocols import EnergyFn


def squared_norm(gradient: tf.Tensor) -> tf.Tensor:
    """Squared L2 norm of each row of `(batch, ...)`; returns `(batch,)`."""
    axes = list(range(1, len(gradient.shape)))
    return tf.reduce_sum(tf.square(gradient), axis=axes)


def energy_and_gradient(energy_fn: EnergyFn, x: tf.Tensor):
    """Evaluates an energy and its gradient with respect to the input.

    The gradient can itself be differentiated with respect to weights when an
    outer tape is open (double backpropagation).

    Args:
        energy_fn: callable from `(batch, ...)` to energies of shape `(batch,)`
            in nats; each energy may depend on its own row alone.
        x: float tensor of shape `(batch, ...)`.

    Returns:
        `(energy, gradient)` of shapes `(batch,)` and `(batch, ...)`.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        energy = energy_fn(x)
    return energy, tape.gradient(energy, x)


def gradient_norm(energy_fn: EnergyFn, x: tf.Tensor) -> tf.Tensor:
    """`||dE/dx||_2` of each row, in nats per unit of `x`; shape `(batch,)`."""
    _, gradient = energy_and_gradient(energy_fn, x)
    return tf.sqrt(squared_norm(gradient))
