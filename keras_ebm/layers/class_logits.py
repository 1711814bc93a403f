"""Logits of classifiers that were trained to give something else."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_ebm")
class BinaryLogits(keras.layers.Layer):
    """One logit of a yes becomes two, `[0, f]`, whose softmax is the sigmoid of it.

    Call arguments:
        inputs: float tensor `(batch, 1)`.

    Returns:
        Float32 tensor `(batch, 2)`.
    """

    def call(self, inputs):
        logit = ops.cast(inputs, "float32")
        return ops.concatenate([ops.zeros_like(logit), logit], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2)


@keras.saving.register_keras_serializable(package="keras_ebm")
class LogProbabilities(keras.layers.Layer):
    """Probabilities become logits whose softmax they are: their logarithms.

    A probability of 0 counts as the smallest number that float32 holds in full,
    1.2e-38.

    Call arguments:
        inputs: float tensor `(batch, K)` of rows that sum to 1.

    Returns:
        Float32 tensor of that shape.
    """

    def call(self, inputs):
        tiny = 2.0**-126
        return ops.log(ops.maximum(ops.cast(inputs, "float32"), tiny))

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="keras_ebm")
class LogOdds(keras.layers.Layer):
    """A probability of a yes becomes its logit, `log(p / (1 - p))`.

    Call arguments:
        inputs: float tensor `(batch, 1)` in [0, 1].

    Returns:
        Float32 tensor of that shape, from -87 to 17, as float32 holds numbers next to
        1 in steps of 6e-8.
    """

    def call(self, inputs):
        p = ops.cast(inputs, "float32")
        return ops.log(ops.maximum(p, 2.0**-126)) - ops.log(
            ops.maximum(1.0 - p, 2.0**-25)
        )

    def compute_output_shape(self, input_shape):
        return input_shape
