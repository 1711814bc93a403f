"""Updates of weights that nothing of the same step can overtake."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_ebm.random import replica_context


def descend(
    tape: tf.GradientTape,
    loss: tf.Tensor,
    variables: list,
    optimizer: keras.optimizers.Optimizer,
    sources: Sequence[tf.Tensor] = (),
    constant_allowed: bool = False,
):
    """One update of variables down a loss: a mean over replicas, at any loss scale.

    TensorFlow has a variable's update wait for the passes that read it, but its
    optimizer of graphs (2.21, `dependency_optimization`) loses some of that order: of
    a loss linear in an output, the gradient of the layer that makes the output needs
    no value of it, and its update could come before another gradient had its weights.
    So all gradients, and the loss, are there before the first is applied.

    Args:
        tape: `tf.GradientTape` that watched the variables' values and the sources.
        loss: scalar, of this replica's rows.
        variables: list of Keras variables.
        optimizer: Keras optimizer, which sums over replicas.
        sources: tensors whose gradients are wanted too.
        constant_allowed: bool, whether a variable may have no part in the loss, such
            as a constant added to an energy in its score.

    Returns:
        `(gradients, factor)`: those of `factor * loss` at the sources. `factor` makes
        the sum over replicas a mean, and carries the loss scale of half precision.
    """
    _, num_replicas = replica_context()
    factor = optimizer.scale_loss(tf.constant(1.0 / num_replicas))
    gradients = tape.gradient(
        loss,
        [*(variable.value for variable in variables), *sources],
        output_gradients=factor,
        unconnected_gradients="zero" if constant_allowed else "none",
    )
    own, others = gradients[: len(variables)], gradients[len(variables) :]
    optimizer.apply(tf.tuple(own, control_inputs=[loss]), variables)
    return others, factor
