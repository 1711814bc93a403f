"""The wide residual energies of JEM and VERA, and the weights they start from.

Those weights, and the choice of normalisation, are shared by the other image and
table networks of Grathwohl et al. (2021).
"""

import dataclasses
import math
from typing import Any

import keras

from keras_ebm.arguments import check_choice, check_share, check_size
from keras_ebm.networks.energy_blocks import energy_inputs

NORMALIZATIONS = (None, "batch", "group", "layer", "instance")
_GROUPS = {"group": 32, "layer": 1, "instance": -1}
_EPSILON = 1e-5


def uniform_weights(fan_in: int) -> dict:
    """Initialisers of a kernel and its bias: `U(-1, 1) / sqrt(fan_in)` for both."""
    bound = 1.0 / math.sqrt(fan_in)
    return {
        "kernel_initializer": keras.initializers.RandomUniform(-bound, bound),
        "bias_initializer": keras.initializers.RandomUniform(-bound, bound),
    }


def normalize(x, kind: str | None, name: str, *, batch_momentum: float = 0.9):
    """Applies one of `NORMALIZATIONS`, with a gain and a bias for each channel.

    Args:
        x: symbolic `(batch, ..., channels)`.
        kind: `"group"` has 32 groups, `"layer"` one, `"instance"` one a channel;
            None returns `x`.
        name: the layer's.
        batch_momentum: the share of the running statistics that a step keeps.
    """
    if kind is None:
        return x
    if kind == "batch":
        return keras.layers.BatchNormalization(
            momentum=batch_momentum, epsilon=_EPSILON, synchronized=True, name=name
        )(x)
    groups = _GROUPS[kind]
    if kind == "group" and x.shape[-1] % groups:
        raise ValueError(
            f"`normalization='group'` needs channels in multiples of {groups}. "
            f"Received: {x.shape[-1]} channels at layer {name!r}; change the "
            "network's width, or use normalization='layer'."
        )
    if kind == "instance" and math.prod(x.shape[1:-1]) == 1:
        raise ValueError(
            "`normalization='instance'` needs maps of several pixels, since it takes "
            "a single one to 0. Received: a map of 1x1 pixel at layer "
            f"{name!r}; use larger images, or normalization='layer'."
        )
    return keras.layers.GroupNormalization(groups, epsilon=_EPSILON, name=name)(x)


def convolve(x, filters: int, size: int, strides: int, name: str):
    """A convolution with a bias, zeros around the image alike on both sides.

    Keras's own `"same"` with strides pads an image of even sides by less at the
    top left than at the bottom right.
    """
    if strides > 1 and size > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_padding")(x)
    return keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        name=name,
        **uniform_weights(size * size * x.shape[-1]),
    )(x)


def wide_resnet(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_outputs: int = 10,
    *,
    depth: int = 28,
    width: int = 10,
    normalization: str | None = None,
    dropout: float = 0.0,
    activation="leaky_relu",
) -> keras.Model:
    """Builds a wide residual network, WRN-`depth`-`width`.

    A 3x3 convolution to 16 channels, then three stages of `(depth - 4) / 6` blocks
    with `16, 32, 64` times `width` channels. A block adds to its input (through a
    1x1 convolution where sizes change) what two 3x3 convolutions make of it, each
    after [normalisation and] activation; the second and third stage halve the image
    in the second convolution of their first block. The mean over the last map goes
    into a dense layer.

    | network | outputs | weights |
    |---|---|---|
    | WRN-28-10, the papers' for CIFAR-10 | 10 | 36,471,338 |
    | WRN-28-10, the papers' for CIFAR-100 | 100 | 36,529,028 |
    | WRN-28-2 | 10 | 1,466,026 |

    All kernels and biases start as `U(-1, 1) / sqrt(fan_in)`.

    Args:
        input_shape: `(height, width, channels)`, of any size; a side is halved to
            the next whole number. At 32 pixels the last map is 8x8.
        num_outputs: int >= 1, number of classes, or 1 for a plain density.
            Defaults to the 10 of CIFAR-10.
        depth: int, `6 n + 4` for `n >= 1`: 10, 16, 22, 28, 34, 40. Defaults to the
            published 28.
        width: int >= 1. Defaults to the published 10.
        normalization: None, as published; `"group"` (of 32 groups, so `width` must
            be even), `"layer"` or `"instance"`, under which an energy depends on its
            own row alone; or `"batch"`, under which in training it does not, and a
            shift between data and negatives that are passed separately is lost.
            The first normalisation of the first block is left out.
        dropout: float in [0, 1), after the first convolution of each block. Defaults
            to 0; the published run on CIFAR-10 had 0.3.
        activation: any Keras activation. Defaults to a leaky ReLU of slope 0.2.

    Returns:
        A functional model from `(batch, *input_shape)` to logits of shape
        `(batch, num_outputs)`, made by a layer called `"logits"`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Zagoruyko and Komodakis (2016), "Wide residual networks",
          https://arxiv.org/abs/1605.07146.
        - Grathwohl et al. (2020), "Your classifier is secretly an energy based
          model and you should treat it like one", https://arxiv.org/abs/1912.03263.
        - Grathwohl et al. (2021), "No MCMC for me: Amortized samplers for fast and
          stable training of energy-based models", https://arxiv.org/abs/2010.04230.
    """
    check_size("num_outputs", num_outputs)
    check_size("width", width)
    num_blocks = _num_blocks(depth)
    blocks = _Blocks(normalization, dropout, activation)
    inputs, _ = energy_inputs(input_shape, 0, divisor=1)
    x = convolve(inputs, 16, 3, 1, "stem")
    for stage, multiple in enumerate((16, 32, 64)):
        for index in range(num_blocks):
            halves = stage > 0 and index == 0
            x = blocks.residual(
                x,
                multiple * width,
                strides=2 if halves else 1,
                name=f"block_{stage}_{index}",
                # 16 channels at this place alone: 32 groups would not fit.
                normalized=(stage, index) != (0, 0),
            )
    x = blocks.activate(x, "head")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(
        num_outputs, name="logits", **uniform_weights(x.shape[-1])
    )(x)
    return keras.Model(inputs, logits, name="energy")


def _num_blocks(depth):
    check_size("depth", depth)
    if depth < 10 or depth % 6 != 4:
        raise ValueError(
            "`depth` must be 6 n + 4 for some n >= 1, for n blocks a stage. "
            f"Received: depth={depth}; use 10, 16, 22, 28, 34 or 40."
        )
    return (depth - 4) // 6


@dataclasses.dataclass(frozen=True)
class _Blocks:
    normalization: str | None
    dropout: float
    activation: Any

    def __post_init__(self):
        check_choice("normalization", self.normalization, NORMALIZATIONS)
        check_share("dropout", self.dropout, zero_allowed=True)

    def activate(self, x, name, normalized=True):
        if normalized:
            # Published: running statistics of which a step keeps a tenth.
            x = normalize(x, self.normalization, f"{name}_norm", batch_momentum=0.1)
        return keras.layers.Activation(self.activation, name=f"{name}_activation")(x)

    def residual(self, x, filters, strides, name, normalized):
        h = self.activate(x, f"{name}_first", normalized)
        h = convolve(h, filters, 3, 1, f"{name}_first")
        if self.dropout:
            h = keras.layers.Dropout(self.dropout, name=f"{name}_dropout")(h)
        h = self.activate(h, f"{name}_second")
        h = convolve(h, filters, 3, strides, f"{name}_second")
        if strides > 1 or x.shape[-1] != filters:
            x = convolve(x, filters, 1, strides, f"{name}_shortcut")
        return keras.layers.Add(name=f"{name}_sum")([x, h])
