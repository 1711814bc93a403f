"""Updates of weights that nothing of the same step can overtake."""

import tensorflow as tf


def update(optimizer, gradients, variables, loss: tf.Tensor) -> None:
    """Applies gradients once the loss and all of them are there.

    TensorFlow has a variable's update wait for the passes that read it, but its
    optimizer of graphs (2.21, `dependency_optimization`) loses some of that order: of
    a loss linear in an output, the gradient of the layer that makes the output needs
    no value of it, and its update could come before another gradient had its weights.

    Args:
        optimizer: Keras optimizer.
        gradients: list of tensors, one of each variable.
        variables: list of Keras variables.
        loss: scalar that the gradients are of.
    """
    optimizer.apply(tf.tuple(gradients, control_inputs=[loss]), variables)
