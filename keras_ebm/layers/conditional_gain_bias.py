"""Biases and gains of channels, one for each class or one for all."""

import keras
from keras import ops

from keras_ebm.arguments import check_size
from keras_ebm.saveable import Saveable


class _PerChannel(Saveable, keras.layers.Layer):
    """One number a channel, or a table of them that a label vector mixes.

    Args:
        num_classes: int >= 0, the length of a label vector; 0 for no label.
        **kwargs: forwarded to `keras.layers.Layer`.
    """

    _values = ("num_classes",)

    _initial: str

    def __init__(self, num_classes: int = 0, **kwargs):
        super().__init__(**kwargs)
        if num_classes != 0:
            check_size("num_classes", num_classes)
        self.num_classes = num_classes

    def build(self, input_shape):
        channels = self._image_shape(input_shape)[-1]
        shape = (self.num_classes, channels) if self.num_classes else (channels,)
        self.table = self.add_weight(
            name="table", shape=shape, initializer=self._initial
        )
        self.built = True

    def _mixed(self, inputs):
        """The inputs and what their labels make of the table, shaped to broadcast."""
        if not self.num_classes:
            return inputs, self.table
        x, y = inputs
        values = ops.matmul(ops.cast(y, self.compute_dtype), self.table)
        ones = (1,) * (len(x.shape) - 2)
        return x, ops.reshape(values, (-1, *ones, x.shape[-1]))

    def _image_shape(self, input_shape):
        paired = isinstance(input_shape[0], list | tuple)
        if paired != bool(self.num_classes):
            raise ValueError(
                f"With num_classes={self.num_classes}, {type(self).__name__} takes "
                f"{'[x, y]' if self.num_classes else 'x alone'}. Received: inputs of "
                f"shape {input_shape}."
            )
        if not paired:
            return input_shape
        if len(input_shape) != 2 or input_shape[1][-1] != self.num_classes:
            raise ValueError(
                "`y` must be of shape (batch, num_classes), with num_classes="
                f"{self.num_classes}. Received: inputs of shape {input_shape}; make "
                "integer labels one-hot."
            )
        return input_shape[0]

    def compute_output_shape(self, input_shape):
        return tuple(self._image_shape(input_shape))


@keras.saving.register_keras_serializable(package="keras_ebm")
class ConditionalBias(_PerChannel):
    """Adds a learned bias to every channel: `x + y B`, or `x + b` without labels.

    `B`, of shape `(num_classes, channels)`, starts at zero. The label may be
    one-hot or any vector of numbers (a position, say), which weighs the rows.

    Args:
        num_classes: int >= 0, the length of a label vector; 0 for no label.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: `x` of shape `(batch, ..., channels)`, or the list `[x, y]` with
            `y` float of shape `(batch, num_classes)` if there are classes.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        ValueError: if `num_classes` breaks its rule, or the inputs do not fit it.

    References:
        - Dumoulin, Shlens and Kudlur (2017), "A learned representation for
          artistic style", https://arxiv.org/abs/1610.07629.
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689.
    """

    _initial = "zeros"

    def call(self, inputs):
        x, bias = self._mixed(inputs)
        return x + bias


@keras.saving.register_keras_serializable(package="keras_ebm")
class ConditionalGain(_PerChannel):
    """Scales every channel: `x (y G + c)`, or `x g` without labels.

    `G`, of shape `(num_classes, channels)`, starts at one and `c`, shared by the
    classes, at zero: at first a one-hot label leaves `x` as it is. For labels
    that are not one-hot, `c` is the gain at the label zero.

    Args:
        num_classes: int >= 0, the length of a label vector; 0 for no label.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: as for `ConditionalBias`.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        ValueError: as `ConditionalBias` does.

    References:
        As for `ConditionalBias`.
    """

    _initial = "ones"

    def build(self, input_shape):
        super().build(input_shape)
        if self.num_classes:
            self.shared = self.add_weight(
                name="shared", shape=self.table.shape[-1:], initializer="zeros"
            )

    def call(self, inputs):
        x, gain = self._mixed(inputs)
        return x * (gain + self.shared if self.num_classes else gain)
