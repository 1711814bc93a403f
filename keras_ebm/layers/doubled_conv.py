"""The convolution of an image whose pixels are doubled, without doubling them."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_ebm")
class DoubledConv2D(keras.layers.Conv2D):
    """`Conv2D` with a 3x3 kernel, zeros around, after `UpSampling2D(2)`.

    Of the nine pixels below the kernel several are copies of one. The entries that
    they meet are added up first, which leaves a transposed convolution of the small
    image by four ninths of the multiplications. Kernel and bias are those of the
    plain `Conv2D`; results are its own to rounding.

    Args:
        filters: int >= 1, channels of the result.
        **kwargs: of `keras.layers.Conv2D`, but for size, strides and padding.

    Call arguments:
        inputs: `(batch, height, width, channels)`.

    Returns:
        `(batch, 2 * height, 2 * width, filters)`.

    Raises:
        ValueError: if an argument asks for another kind of convolution.
    """

    _ONLY = {
        "kernel_size": (3, 3),
        "padding": "same",
        "strides": (1, 1),
        "dilation_rate": (1, 1),
        "groups": 1,
        "data_format": "channels_last",
    }

    def __init__(self, filters: int, **kwargs):
        super().__init__(filters, **{"kernel_size": 3, "padding": "same", **kwargs})
        for name, value in self._ONLY.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"`{name}` of a DoubledConv2D must be {value!r}. Received: "
                    f"{name}={getattr(self, name)!r}; use UpSampling2D and Conv2D."
                )

    def call(self, inputs):
        kernel = _met_by_copies(_met_by_copies(self.kernel, 0), 1)
        x = ops.conv_transpose(
            inputs,
            ops.transpose(kernel, (0, 1, 3, 2)),
            strides=2,
            padding="same",
            data_format="channels_last",
        )
        if self.use_bias:
            x = x + self.bias
        return self.activation(x)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        sides = (side if side is None else 2 * side for side in (height, width))
        return (batch, *sides, self.filters)


def _met_by_copies(kernel, axis):
    """The four sums, along an axis of three, that single pixels meet."""
    first, middle, last = ops.unstack(kernel, 3, axis=axis)
    return ops.stack([last, middle + last, first + middle, first], axis=axis)
