"""Residual energy and decoder of images, of 128 or 256 channels throughout."""

from collections.abc import Callable

import keras

from keras_ebm.arguments import check_choice, check_size
from keras_ebm.layers import DoubledConv2D
from keras_ebm.networks.energy_blocks import energy_inputs
from keras_ebm.networks.image_blocks import (
    NORMALIZATIONS,
    check_image,
    cropped,
    normalize,
)


def resnet_energy(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_outputs: int = 1,
    *,
    filters: int = 128,
    activation: str | Callable | None = "leaky_relu",
) -> keras.Model:
    """Builds a residual energy of four blocks; the first two halve the image.

    A block is two 3x3 convolutions, each after an activation (but for the
    image itself), and an average pooling where it halves; no normalisation. The
    mean over the last map goes into a dense layer. 1,037,313 weights by default.

    Kernels start as Xavier's uniform ones times `sqrt(2)`, that of the first
    convolution without this factor; biases at 0.

    Args:
        input_shape: `(height, width, channels)`; both sides divisible by 4.
        num_outputs: int >= 1, number of classes, or 1 for a plain density.
        filters: int >= 1. Defaults to the published 128.
        activation: any Keras activation. Defaults to a leaky ReLU of slope 0.2.

    Returns:
        A functional model from `(batch, *input_shape)` to logits of shape
        `(batch, num_outputs)`, made by a layer called `"logits"`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Grathwohl et al. (2021), "No MCMC for me: Amortized sampling for fast and
          stable training of energy-based models", https://arxiv.org/abs/2010.04230.
        - Miyato et al. (2018), https://arxiv.org/abs/1802.05957, for the blocks.
    """
    check_size("num_outputs", num_outputs)
    check_size("filters", filters)
    inputs, _ = energy_inputs(input_shape, 0, divisor=4)
    x = inputs
    for index in range(4):
        name = f"block_{index}"
        h = x if index == 0 else _activate(x, activation, f"{name}_first")
        h = _convolve(h, filters, 3, f"{name}_first", 1.0 if index == 0 else 2.0)
        h = _activate(h, activation, f"{name}_second")
        h = _convolve(h, filters, 3, f"{name}_second")
        if index < 2:
            h = keras.layers.AveragePooling2D(2, name=f"{name}_pool")(h)
            x = keras.layers.AveragePooling2D(2, name=f"{name}_shortcut_pool")(x)
        if x.shape[-1] != filters:
            x = _convolve(x, filters, 1, f"{name}_shortcut")
        x = keras.layers.Add(name=f"{name}_sum")([x, h])
    x = _activate(x, activation, "head")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(
        num_outputs, kernel_initializer=_xavier(2.0), name="logits"
    )(x)
    return keras.Model(inputs, logits, name="energy")


def resnet_decoder(
    latent_dim: int = 128,
    output_shape: tuple[int, int, int] = (32, 32, 3),
    *,
    filters: int = 128,
    normalization: str | None = "layer",
    activation: str | Callable | None = "relu",
    output_activation: str | Callable | None = "tanh",
) -> keras.Model:
    """Builds the mean of an image generator: three blocks that double the image.

    A dense layer makes a map of an eighth of the image's sides. A block is two 3x3
    convolutions, each after [normalisation and] activation, and the first after the
    nearest pixels are doubled too. 1,154,947 weights by default, and 4,079,363 with
    256 filters, with any normalisation.

    Kernels start as Xavier's uniform ones times `sqrt(2)`, that of the dense
    layer without this factor; biases at 0.

    Args:
        latent_dim: int >= 1, size of the latent. Defaults to the published 128.
        output_shape: `(height, width, channels)`; where a side is no multiple of
            8, the next multiple is made and its border cropped: 28 from 32.
        filters: int >= 1. Defaults to the published 128; beside WRN-28-10 it
            was 256.
        normalization: `"layer"` by default, `"group"` (32 groups), `"instance"` or
            None, under which a sample depends on its own latent alone. The paper's
            was `"batch"`, for which in training `q(x|z)` is not defined: entropy
            estimators that need it refuse such a decoder.
        activation: any Keras activation.
        output_activation: `"tanh"` keeps images in [-1, 1], `"sigmoid"` in [0, 1];
            None is for an unbounded range.

    Returns:
        A functional model from `(batch, latent_dim)` to `(batch, *output_shape)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Grathwohl et al. (2021), https://arxiv.org/abs/2010.04230.
        - Miyato et al. (2018), https://arxiv.org/abs/1802.05957, for the blocks.
    """
    check_size("latent_dim", latent_dim)
    check_size("filters", filters)
    check_choice("normalization", normalization, NORMALIZATIONS)
    height, width, channels = check_image("output_shape", output_shape)
    start = (-(-height // 8), -(-width // 8), filters)

    def activate(x, name):
        x = normalize(x, normalization, f"{name}_norm")
        return _activate(x, activation, name)

    latents = keras.Input((latent_dim,), name="latents")
    x = keras.layers.Dense(
        start[0] * start[1] * filters, kernel_initializer=_xavier(1.0), name="map"
    )(latents)
    x = keras.layers.Reshape(start, name="reshape")(x)
    for index in range(3):
        name = f"block_{index}"
        h = activate(x, f"{name}_first")
        h = DoubledConv2D(
            filters, kernel_initializer=_xavier(2.0), name=f"{name}_first"
        )(h)
        h = _convolve(activate(h, f"{name}_second"), filters, 3, f"{name}_second")
        x = keras.layers.UpSampling2D(2, name=f"{name}_shortcut_double")(x)
        x = keras.layers.Add(name=f"{name}_sum")([x, h])
    x = _convolve(activate(x, "head"), channels, 3, "outputs")
    x = cropped(x, height, width)
    x = _activate(x, output_activation or "linear", "output")
    return keras.Model(latents, x, name="decoder")


def _activate(x, activation, name):
    return keras.layers.Activation(activation, name=f"{name}_activation")(x)


def _convolve(x, filters, size, name, squared_gain=2.0):
    return keras.layers.Conv2D(
        filters,
        size,
        padding="same",
        kernel_initializer=_xavier(squared_gain),
        name=name,
    )(x)


def _xavier(squared_gain):
    return keras.initializers.VarianceScaling(squared_gain, "fan_avg", "uniform")
