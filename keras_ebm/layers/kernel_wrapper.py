"""The base of layers that run another with a kernel made from its own."""

import keras
from keras import ops


class KernelWrapper(keras.layers.Wrapper):
    """Runs a layer with `normalized_kernel()` in the place of its kernel.

    The kernel itself is never assigned, so that it is the same for all energies of
    a training step and can be differentiated twice.

    Args:
        layer: `keras.layers.Conv2D` (channels last) or `keras.layers.Dense`.
            Its bias, strides, padding and activation are honoured.
        **kwargs: forwarded to `keras.layers.Wrapper`.

    Raises:
        ValueError: if `layer` is of another type.
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs):
        _check_layer(layer)
        super().__init__(layer, **kwargs)

    def call(self, inputs):
        kernel = ops.cast(self.normalized_kernel(), self.compute_dtype)
        if isinstance(self.layer, keras.layers.Dense):
            outputs = ops.matmul(inputs, kernel)
        else:
            outputs = self.layer.convolution_op(inputs, kernel)
        if self.layer.use_bias:
            outputs = ops.add(outputs, self.layer.bias)
        return self.layer.activation(outputs)

    def normalized_kernel(self):
        """What takes the kernel's place: float32 and of its shape."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)


def _check_layer(layer):
    known = isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    if not known or getattr(layer, "data_format", "") == "channels_first":
        raise ValueError(
            "`layer` must be a `keras.layers.Conv2D` with channels last or a "
            f"`keras.layers.Dense`. Received: layer={layer!r} (of type "
            f"{type(layer).__name__}); leave other layers unwrapped."
        )
