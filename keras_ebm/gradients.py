"""Energies and their gradients with respect to inputs: the one tape over inputs."""

import math

import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive
from keras_ebm.protocols import EnergyFn

#: What a bound of a gradient is of.
CLIPS = ("element", "norm")


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


def with_clipped_gradient(
    energy_fn: EnergyFn, max_gradient: float, clip: str = "element"
) -> EnergyFn:
    """The same energy, whose gradient in the input is bounded.

    Of a sum of energies each can be bounded by itself, so that a steep one does not
    drown the others, as it does where their sum is clipped.

    Args:
        energy_fn: callable from `(batch, ...)` to energies `(batch,)` in nats.
        max_gradient: float > 0, in nats per unit of `x`.
        clip: `"element"`, each entry to plus and minus the bound, or `"norm"`, that of
            each row.

    Returns:
        Callable like `energy_fn`. What it multiplies is clipped with its factor: put
        a weight into `energy_fn`, or scale the bound.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    check_positive("max_gradient", max_gradient)
    check_choice("clip", clip, CLIPS)

    @tf.custom_gradient
    def bounded(x):
        return tf.identity(x), lambda upstream: clip_gradient(
            upstream, max_gradient, clip
        )

    return lambda x: energy_fn(bounded(x))


def clip_gradient(
    gradient: tf.Tensor, max_gradient: float | None, clip: str = "element"
):
    """Bounds a gradient `(batch, ...)`; what is not finite becomes NaN, not the bound.

    Args:
        gradient: `(batch, ...)`.
        max_gradient: float or None, which leaves it alone.
        clip: see `Langevin`.
    """
    if max_gradient is None:
        return gradient
    if clip == "element":
        bounded = tf.clip_by_value(gradient, -max_gradient, max_gradient)
    else:
        norm = tf.sqrt(squared_norm(gradient))
        factor = max_gradient / tf.maximum(norm, max_gradient)
        bounded = gradient * tf.reshape(factor, [-1, *[1] * (gradient.shape.rank - 1)])
    return where_finite(gradient, bounded)


def where_finite(x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """`value` where `x` is finite, and NaN elsewhere."""
    return tf.where(tf.math.is_finite(x), value, tf.constant(math.nan, x.dtype))


def gradient_norm(energy_fn: EnergyFn, x: tf.Tensor) -> tf.Tensor:
    """`||dE/dx||_2` of each row, in nats per unit of `x`; shape `(batch,)`."""
    _, gradient = energy_and_gradient(energy_fn, x)
    return tf.sqrt(squared_norm(gradient))
