"""Loss scaling for parts of a model that compute in float16."""

import keras
import tensorflow as tf


def with_loss_scale(
    optimizer: keras.optimizers.Optimizer | str, part: keras.layers.Layer
):
    """The optimizer of a part, inside a `LossScaleOptimizer` if it needs one.

    Gradients of float16 activations underflow; scaled up they do not. bfloat16 has
    float32's range and needs nothing.

    Args:
        optimizer: Keras optimizer or its name.
        part: what it trains.

    Raises:
        ValueError: if float16 is to be trained on several replicas, as Keras looks
            at the first replica's gradients alone for what is not finite.
    """
    optimizer = keras.optimizers.get(optimizer)
    names = {layer.dtype_policy.name for layer in part._flatten_layers()}
    if not names & {"mixed_float16", "float16"}:
        return optimizer
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas > 1:
        raise ValueError(
            "float16 trains on one replica, as gradients that overflow on another "
            f"would go unseen. Received: {replicas} replicas; use mixed_bfloat16."
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)
