"""The wide residual energies of JEM and VERA."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_ebm.arguments import check_choice, check_share, check_size
from keras_ebm.networks.energy_blocks import energy_inputs
from keras_ebm.networks.image_blocks import (
    NORMALIZATIONS,
    convolve,
    normalize,
    uniform_weights,
)


def wide_resnet(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_outputs: int = 10,
    *,
    depth: int = 28,
    width: int = 10,
    normalization: str | None = None,
    dropout: float = 0.0,
    activation: str | Callable | None = "leaky_relu",
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
        - Grathwohl et al. (2021), "No MCMC for me: Amortized sampling for fast and
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
