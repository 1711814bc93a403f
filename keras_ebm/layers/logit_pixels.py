"""Pixels as points of the whole space, in which densities of images are compared."""

import math

import keras
from keras import ops

from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class LogitPixels(Saveable, keras.layers.Layer):
    """`log(p / (1 - p))` of pixels `p` in `[0, 1]`, clipped and flattened.

    Args:
        margin: float in (0, 0.5), the distance from 0 and 1 that pixels are
            clipped to; 0.001 as in Song et al. (2019), whose likelihoods of
            MNIST are in this space too.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: pixels from 0 to 255, `(batch, ...)`; dequantised ones may
            overstep that by their noise.

    Returns:
        float32 tensor `(batch, D)`.

    Raises:
        ValueError: if `margin` breaks its rule.
    """

    _values = ("margin",)

    def __init__(self, margin: float = 1e-3, **kwargs):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        if not 0.0 < margin < 0.5:
            raise ValueError(
                f"`margin` must be above 0 and below 0.5. Received: margin={margin}."
            )
        self.margin = margin

    def call(self, inputs):
        share = ops.cast(inputs, "float32") / 255.0
        share = ops.clip(share, self.margin, 1.0 - self.margin)
        logits = ops.log(share) - ops.log1p(-share)
        return ops.reshape(logits, (-1, math.prod(inputs.shape[1:])))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], math.prod(input_shape[1:]))
