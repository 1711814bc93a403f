"""Jacobians of a decoder: all of it by forward mode, or its products with vectors."""

import math
from collections.abc import Callable

import tensorflow as tf


def dense_jacobian(function: Callable, z: tf.Tensor) -> tf.Tensor:
    """`d function(z) / dz` of each row, by one forward-mode pass a latent dimension.

    It can itself be differentiated with respect to weights when an outer tape
    is open (reverse over forward).

    Args:
        function: callable from `(batch, k)` to `(batch, ...)`; each row may
            depend on its own latent alone.
        z: float tensor of shape `(batch, k)`.

    Returns:
        Tensor of shape `(batch, k, D)`, `D` the size of one flattened output:
        the transposed Jacobians.
    """
    latent_dim = z.shape[-1]
    batch = tf.shape(z)[0]
    # All directions go through in one batch, latent by latent.
    repeated = tf.tile(z, [latent_dim, 1])
    directions = tf.repeat(tf.eye(latent_dim, dtype=z.dtype), batch, axis=0)
    product = jacobian_product(function, repeated, directions)
    columns = tf.reshape(product, [latent_dim, batch, product.shape[-1]])
    return tf.transpose(columns, [1, 0, 2])


def jacobian_product(function: Callable, z: tf.Tensor, direction: tf.Tensor):
    """`J v` of each row by forward mode, differentiable in the weights.

    Args:
        function: callable from `(batch, k)` to `(batch, ...)`.
        z: `(batch, k)`.
        direction: `(batch, k)`, the `v`.

    Returns:
        Tensor of shape `(batch, D)`.
    """
    with tf.autodiff.ForwardAccumulator(z, direction) as accumulator:
        output = function(z)
    return _flat(accumulator.jvp(output))


class Linearization:
    """Products with the Jacobian at one batch of latents, from a single forward pass.

    `J' w` is a backward pass over the recorded forward one, and `J v` the
    derivative of `J' w`, which is linear in `w`, so a backward pass as well.

    Args:
        function: callable from `(batch, k)` to `(batch, ...)`.
        z: `(batch, k)`.
    """

    def __init__(self, function: Callable, z: tf.Tensor):
        self.latents = z
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(z)
            self._output = _flat(function(z))
        self._tape = tape
        self._cotangent = tf.zeros_like(self._output)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(self._cotangent)
            self._pullback = self._transposed(self._cotangent)
        self._transposed_tape = tape

    def _transposed(self, cotangent):
        return self._tape.gradient(
            self._output, self.latents, output_gradients=cotangent
        )

    def transposed_product(self, cotangent: tf.Tensor):
        """`J' w` for `w` of shape `(batch, D)`; returns `(batch, k)`."""
        return self._transposed(cotangent)

    def product(self, direction: tf.Tensor):
        """`J v` for `v` of shape `(batch, k)`; returns `(batch, D)`."""
        return self._transposed_tape.gradient(
            self._pullback, self._cotangent, output_gradients=direction
        )


def _flat(x):
    return tf.reshape(x, [-1, math.prod(x.shape[1:])])
