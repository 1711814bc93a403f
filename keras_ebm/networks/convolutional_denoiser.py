"""A small network from a noisy image and its noise to an image."""

import keras

from keras_ebm.arguments import check_size
from keras_ebm.networks.conditioning import modulated


def convolutional_denoiser(
    input_shape: tuple[int, int, int],
    *,
    filters: tuple[int, ...] = (32, 64),
    bottleneck: int = 128,
    activation: str = "silu",
) -> keras.Model:
    """Builds a U of convolutions: halving, a dense layer in the middle, doubling.

    The dense layer tells each place what all others show, which an inpainting needs;
    a step costs little, as nothing is convolved at full resolution.

    Args:
        input_shape: `(height, width, channels)`, both sides divisible by
            `2 ** len(filters)`.
        filters: channels at each resolution.
        bottleneck: width of the dense layer.
        activation: of Keras; a smooth one, as gradients are taken through it.

    Returns:
        A functional model from `[x, c]`, of shapes `(batch, *input_shape)` and
        `(batch, 1)`, to `(batch, *input_shape)`; see `ReconstructionEnergy`.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    check_size("bottleneck", bottleneck)
    shrink = 2 ** len(filters)
    sides = tuple(input_shape[:2])
    if len(input_shape) != 3 or any(side % shrink for side in sides):
        raise ValueError(
            "`input_shape` must be (height, width, channels) with sides divisible by "
            f"{shrink} (2 ** len(filters)). Received: input_shape={input_shape!r}."
        )
    x, level = keras.Input(input_shape, name="x"), keras.Input((1,), name="level")
    code = keras.layers.Dense(32, activation, name="code")(level)
    h, skips = x, []
    for index, channels in enumerate(filters):
        skips.append(h)
        h = _conv(h, channels, 4, 2, code, activation, f"down_{index}")
        h = _conv(h, channels, 3, 1, code, activation, f"at_{index}")
    shape = h.shape[1:]
    flat = keras.layers.Flatten()(h)
    flat = keras.layers.Dense(bottleneck, name="middle")(flat)
    flat = keras.layers.Activation(activation)(modulated(flat, code, "middle"))
    flat = keras.layers.Dense(shape[0] * shape[1] * shape[2], name="spread")(flat)
    h = keras.layers.Add()([h, keras.layers.Reshape(shape)(flat)])
    for index in reversed(range(1, len(filters))):
        layer = keras.layers.Conv2DTranspose(
            filters[index - 1], 4, 2, padding="same", name=f"up_{index}"
        )
        h = keras.layers.Activation(activation)(layer(h))
        h = keras.layers.Concatenate()([h, skips[index]])
        name = f"joined_{index}"
        h = _conv(h, filters[index - 1], 3, 1, code, activation, name)
    end = keras.layers.Conv2DTranspose(
        input_shape[2], 4, 2, padding="same", kernel_initializer="zeros", name="image"
    )
    return keras.Model([x, level], end(h), name="denoiser")


def _conv(h, channels, size, strides, code, activation, name):
    layer = keras.layers.Conv2D(channels, size, strides, padding="same", name=name)
    return keras.layers.Activation(activation)(modulated(layer(h), code, name))
