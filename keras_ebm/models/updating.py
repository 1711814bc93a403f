"""Updates of weights that nothing of the same step can overtake."""

import tensorflow as tf


def update(optimizer, gradients, variables, loss: tf.Tensor) -> None:
    """Applies gradients once the loss and all of them are there.

    TensorFlow has a variable's update wait for the passes that read it. Where such a
    read also leads to the update through the shape of some result, its optimizer of
    graphs drops the direct order as implied, then takes the shape for a constant, and
    the read may see the new weights: of a loss linear in an output, whose own
    gradient needs no value of the layer that makes it.

    Args:
        optimizer: Keras optimizer.
        gradients: list of tensors, one of each variable.
        variables: list of Keras variables.
        loss: scalar that the gradients are of.
    """
    optimizer.apply(tf.tuple(gradients, control_inputs=[loss]), variables)
