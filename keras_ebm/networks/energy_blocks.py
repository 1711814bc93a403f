"""The pieces that the energies of Du and Mordatch (2019) are put together from."""

import dataclasses
from typing import Any

import keras
from keras import ops

from keras_ebm.arguments import check_share, check_size
from keras_ebm.layers.conditional_gain_bias import ConditionalBias, ConditionalGain
from keras_ebm.layers.self_attention import SelfAttention2D
from keras_ebm.layers.spectral_norm import SpectralNorm


def energy_inputs(input_shape: tuple[int, int, int], num_classes: int, divisor: int):
    """Checked symbolic inputs of a network: `(x, y)`, with `y` None for no classes."""
    if num_classes != 0:
        check_size("num_classes", num_classes)
    if len(input_shape) != 3:
        raise ValueError(
            "`input_shape` must be (height, width, channels). Received: input_shape="
            f"{tuple(input_shape)}; use `mlp_energy` for vectors."
        )
    if input_shape[0] % divisor or input_shape[1] % divisor:
        raise ValueError(
            f"Height and width of `input_shape` must be divisible by {divisor}, for "
            f"this network's halvings. Received: input_shape={tuple(input_shape)}; "
            "crop or pad the images."
        )
    x = keras.Input(input_shape, name="inputs")
    return x, keras.Input((num_classes,), name="labels") if num_classes else None


@dataclasses.dataclass(frozen=True)
class EnergyBlocks:
    """Applies layers to symbolic tensors, all of one style.

    Args:
        labels: symbolic labels of shape `(batch, num_classes)`, or None.
        activation: any Keras activation.
        spectral_norm: bool. If so, kernels start as `N(0, 1)` and are
            normalised; if not, they are Xavier's.
        dropout: float in [0, 1), after the first convolution of a block.
    """

    labels: Any
    activation: Any
    spectral_norm: bool
    dropout: float = 0.0

    def __post_init__(self):
        check_share("dropout", self.dropout, zero_allowed=True)

    def activate(self, x: keras.KerasTensor, name: str):
        return keras.layers.Activation(self.activation, name=f"{name}_activation")(x)

    def convolve(
        self,
        x: keras.KerasTensor,
        filters: int,
        name: str,
        size: int = 3,
        strides: int = 1,
        starts_at_zero: bool = False,
    ):
        """A convolution without bias; near zero at first if `starts_at_zero`."""
        layer = keras.layers.Conv2D(
            check_size("filters", filters),
            size,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer=self._kernel_initializer(starts_at_zero),
            name=name,
        )
        return self._normalised(layer, "upper" if starts_at_zero else "exact")(x)

    def dense(self, x: keras.KerasTensor, width: int, name: str):
        layer = keras.layers.Dense(
            width, kernel_initializer=self._kernel_initializer(False), name=name
        )
        return self._normalised(layer, "exact")(x)

    def _kernel_initializer(self, starts_at_zero):
        if self.spectral_norm:
            # Not quite zero: a kernel of zeros has no singular vector.
            stddev = 1e-10 if starts_at_zero else 1.0
            return keras.initializers.RandomNormal(stddev=stddev)
        return "zeros" if starts_at_zero else "glorot_uniform"

    def _normalised(self, layer, bound):
        if not self.spectral_norm:
            return layer
        return SpectralNorm(layer, bound=bound, name=f"{layer.name}_norm")

    def bias(self, x: keras.KerasTensor, name: str):
        """Adds a bias to each channel, the label's own where there are labels."""
        return self._per_channel(ConditionalBias, x, f"{name}_bias")

    def gain(self, x: keras.KerasTensor, name: str):
        """Scales each channel, by the label's own gain where there are labels."""
        return self._per_channel(ConditionalGain, x, f"{name}_gain")

    def _per_channel(self, layer, x, name):
        if self.labels is None:
            return layer(name=name)(x)
        return layer(self.labels.shape[-1], name=name)([x, self.labels])

    def residual(
        self, x: keras.KerasTensor, filters: int, name: str, halve: bool = False
    ):
        """A residual block, the activation after its sum and after its pooling.

        It starts as its shortcut: the identity, or a 3x3 convolution where the
        channels change.
        """
        h = self.convolve(self.bias(x, f"{name}_first"), filters, f"{name}_first")
        if self.dropout:
            h = keras.layers.Dropout(self.dropout, name=f"{name}_dropout")(h)
        h = self.bias(self.activate(h, f"{name}_first"), f"{name}_second")
        h = self.convolve(h, filters, f"{name}_second", starts_at_zero=True)
        h = self.gain(h, f"{name}_second")
        if x.shape[-1] != filters:
            x = self.convolve(x, filters, f"{name}_shortcut")
        x = keras.layers.Add(name=f"{name}_sum")([x, h])
        if halve:
            x = keras.layers.AveragePooling2D(2, padding="valid", name=f"{name}_pool")(
                x
            )
        return self.activate(x, name)

    def attention(self, x: keras.KerasTensor, name: str):
        return SelfAttention2D(
            activation=self.activation, spectral_norm=self.spectral_norm, name=name
        )(x)

    def pooled_logit(self, x: keras.KerasTensor):
        """The head: activation, sum over positions, one logit.

        The activation is a ReLU, unless the network's is smooth: a kink in the
        last layer would undo that.
        """
        name = getattr(keras.activations.get(self.activation), "__name__", "")
        head = "relu" if name == "leaky_relu" else self.activation
        x = keras.layers.Activation(head, name="head_activation")(x)
        return self.logit(ops.sum(x, axis=(1, 2)))

    def logit(self, features: keras.KerasTensor):
        """`f = -E`, by the one layer that is not normalised."""
        return keras.layers.Dense(
            1, kernel_initializer="glorot_uniform", name="logits"
        )(features)

    def model(self, x: keras.KerasTensor, logit: keras.KerasTensor):
        """The network of `x`, or of `[x, y]` where there are labels."""
        inputs = x if self.labels is None else [x, self.labels]
        return keras.Model(inputs, logit, name="energy")
