"""Weight normalisation that never writes into the kernel."""

import keras
from keras import ops

from keras_ebm.layers.kernel_wrapper import KernelWrapper

_TINY = 1e-30  # only so that a column of zeros is not divided by zero


@keras.saving.register_keras_serializable(package="keras_ebm")
class WeightNorm(KernelWrapper):
    """Runs a layer with a kernel whose columns have learnt lengths.

    For each output unit or channel, whose weights in the layer's kernel are `v`,

        w = g * v / |v|

    with a learnt gain `g` that starts at `|v|`: the layer computes at first what it
    would without. A call assigns nothing, so that `w` is the same for all energies
    of a training step, and can be differentiated twice.

    The kernel must not start at zeros, which no gradient would ever leave.

    Args:
        layer: `keras.layers.Conv2D` (channels last) or `keras.layers.Dense`.
            Its bias, strides, padding and activation are honoured.
        **kwargs: forwarded to `keras.layers.Wrapper`.

    Call arguments:
        inputs: what `layer` takes.

    Returns:
        What `layer` returns, of the same shape.

    Raises:
        ValueError: if `layer` is of another type.

    References:
        - Salimans and Kingma (2016), "Weight normalization: A simple
          reparameterization to accelerate training of deep neural networks",
          https://arxiv.org/abs/1602.07868, equation 2.
    """

    def build(self, input_shape=None):
        super().build(input_shape)
        self.gain = self.add_weight(
            name="gain",
            shape=(self.layer.kernel.shape[-1],),
            initializer=lambda shape, dtype=None: self._lengths(),
        )
        self.built = True

    def normalized_kernel(self):
        """`w`, float32 and of the kernel's shape; a function of `v` and `g`."""
        scale = ops.cast(self.gain, "float32") / self._lengths()
        return ops.cast(self.layer.kernel, "float32") * scale

    def _lengths(self):
        """`|v|` of each output, shape `(outputs,)`."""
        kernel = ops.cast(self.layer.kernel, "float32")
        axes = tuple(range(len(kernel.shape) - 1))
        squares = ops.sum(ops.square(kernel), axis=axes)
        return ops.sqrt(ops.maximum(squares, _TINY))
