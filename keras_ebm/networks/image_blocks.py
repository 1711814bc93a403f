"""Pieces that published image networks share: padding, normalisation, weights."""

import math
from collections.abc import Sequence

import keras

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


def normalize(
    x: keras.KerasTensor, kind: str | None, name: str, *, batch_momentum: float = 0.9
):
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


def convolve(x: keras.KerasTensor, filters: int, size: int, strides: int, name: str):
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


def check_image(name: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns `(height, width, channels)`, or raises."""
    if len(shape) != 3 or any(size is None or size < 1 for size in shape):
        raise ValueError(
            f"`{name}` must be (height, width, channels), each at least 1. Received: "
            f"{name}={tuple(shape)}; use `mlp_decoder` for vectors."
        )
    height, width, channels = shape
    return height, width, channels


def cropped(x: keras.KerasTensor, height: int, width: int):
    """The middle of a symbolic image, of these sides; `x` if they are its own."""
    rows, columns = x.shape[1] - height, x.shape[2] - width
    if not rows and not columns:
        return x
    return keras.layers.Cropping2D(halves(rows, columns), name="crop")(x)


def halves(rows: int, columns: int):
    """Rows and columns split into what goes before an image and after it."""
    return tuple((count // 2, count - count // 2) for count in (rows, columns))
