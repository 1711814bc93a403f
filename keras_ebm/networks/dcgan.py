"""Energy and decoder of images in the manner of DCGAN: 4x4 kernels of stride 2."""

from collections.abc import Callable

import keras

from keras_ebm.arguments import check_choice, check_size
from keras_ebm.networks.energy_blocks import energy_inputs
from keras_ebm.networks.image_blocks import (
    NORMALIZATIONS,
    check_image,
    cropped,
    halves,
    normalize,
    uniform_weights,
)

_HALVINGS = 4


def dcgan_energy(
    input_shape: tuple[int, int, int] = (64, 64, 3),
    num_outputs: int = 1,
    *,
    filters: int = 64,
    normalization: str | None = None,
    activation: str | Callable | None = "leaky_relu",
) -> keras.Model:
    """Builds a convolutional energy of four 4x4 convolutions of stride 2.

    They have `f, 2f, 4f, 8f` channels for `f = filters`, each before [normalisation
    and] activation, and one linear layer follows without bias. By default 2,764,736
    weights at 64 pixels and 2,758,592 at 32, one output and three channels.

    All weights start as `U(-1, 1) / sqrt(fan_in)`.

    Args:
        input_shape: `(height, width, channels)`. Published for 32 and 64 pixels.
            An image whose sides are not multiples of 16 gets a border of zeros up
            to the next ones: 28 pixels are 32.
        num_outputs: int >= 1, number of classes, or 1 for a plain density.
        filters: int >= 1. Defaults to the published 64.
        normalization: None, as published; or `"group"` (of 32 groups), `"layer"`,
            `"instance"` or `"batch"`, in place of the biases of all but the first
            convolution. The last layer then has a bias. In training `"batch"` makes
            an energy depend on the rest of its batch.
        activation: any Keras activation. Defaults to a leaky ReLU of slope 0.2.

    Returns:
        A functional model from `(batch, *input_shape)` to logits of shape
        `(batch, num_outputs)`, made by a layer called `"logits"`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Grathwohl et al. (2021), "No MCMC for me: Amortized sampling for fast and
          stable training of energy-based models", https://arxiv.org/abs/2010.04230.
        - Radford et al. (2016), "Unsupervised representation learning with deep
          convolutional generative adversarial networks",
          https://arxiv.org/abs/1511.06434.
    """
    check_size("num_outputs", num_outputs)
    check_size("filters", filters)
    check_choice("normalization", normalization, NORMALIZATIONS)
    inputs, _ = energy_inputs(input_shape, 0, divisor=1)
    x = _bordered(inputs)
    for index in range(_HALVINGS):
        normalized = index > 0 and normalization is not None
        x = keras.layers.Conv2D(
            filters * 2**index,
            4,
            strides=2,
            # One row of zeros on each side, the sides being even.
            padding="same",
            use_bias=not normalized,
            name=f"halving_{index}",
            **uniform_weights(16 * x.shape[-1]),
        )(x)
        if normalized:
            x = normalize(x, normalization, f"halving_{index}_norm")
        x = keras.layers.Activation(activation, name=f"halving_{index}_activation")(x)
    # The published last convolution, as large as the map, is this dense layer.
    x = keras.layers.Flatten(name="features")(x)
    logits = keras.layers.Dense(
        num_outputs,
        use_bias=normalization is not None,
        name="logits",
        **uniform_weights(x.shape[-1]),
    )(x)
    return keras.Model(inputs, logits, name="energy")


def dcgan_decoder(
    latent_dim: int = 100,
    output_shape: tuple[int, int, int] = (64, 64, 3),
    *,
    filters: int = 64,
    normalization: str | None = "layer",
    activation: str | Callable | None = "relu",
    output_activation: str | Callable | None = "tanh",
) -> keras.Model:
    """Builds the mean of an image generator: four doublings of a small map.

    A dense layer makes a map of `8f` channels and a sixteenth of the image's sides,
    and transposed 4x4 convolutions of stride 2 follow, to `4f, 2f, f` channels and
    those of the image, for `f = filters`. 3,576,707 weights by default, with any
    normalisation.

    All weights start as `U(-1, 1) / sqrt(fan)`, where `fan` is the window times the
    channels that come out (not in), as in the published code.

    Args:
        latent_dim: int >= 1, size of the latent. Defaults to 100.
        output_shape: `(height, width, channels)`. Published for 32 and 64 pixels.
            Where a side is no multiple of 16, the next multiple is made and its
            border cropped: 28 from 32.
        filters: int >= 1. Defaults to the published 64.
        normalization: after each layer but the last, in place of its bias.
            `"layer"` by default, `"group"` (32 groups) or `"instance"`, under which a
            sample depends on its own latent alone; or None, which starts almost
            constant: the spread over latents is 0.001, with any other 0.3. The
            paper's was `"batch"`, for which in training `q(x|z)` is not defined:
            entropy estimators that need it refuse such a decoder.
        activation: any Keras activation.
        output_activation: `"tanh"` keeps images in [-1, 1], `"sigmoid"` in [0, 1];
            None is for an unbounded range.

    Returns:
        A functional model from `(batch, latent_dim)` to `(batch, *output_shape)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Grathwohl et al. (2021), https://arxiv.org/abs/2010.04230.
        - Radford et al. (2016), https://arxiv.org/abs/1511.06434.
    """
    check_size("latent_dim", latent_dim)
    check_size("filters", filters)
    check_choice("normalization", normalization, NORMALIZATIONS)
    height, width, channels = check_image("output_shape", output_shape)
    factor = 2**_HALVINGS
    start = (-(-height // factor), -(-width // factor), 8 * filters)

    def activate(x, name):
        x = normalize(x, normalization, f"{name}_norm")
        return keras.layers.Activation(activation, name=f"{name}_activation")(x)

    latents = keras.Input((latent_dim,), name="latents")
    x = keras.layers.Dense(
        start[0] * start[1] * start[2],
        use_bias=normalization is None,
        name="map",
        **uniform_weights(start[0] * start[1] * start[2]),
    )(latents)
    x = activate(keras.layers.Reshape(start, name="reshape")(x), "map")
    for index, multiple in enumerate((4, 2, 1)):
        name = f"doubling_{index}"
        x = _double(x, multiple * filters, normalization is None, name)
        x = activate(x, name)
    x = cropped(_double(x, channels, True, "outputs"), height, width)
    x = keras.layers.Activation(
        output_activation or "linear", name="output_activation"
    )(x)
    return keras.Model(latents, x, name="decoder")


def _bordered(x):
    """An image within zeros, so that four halvings come out even."""
    rows, columns = (-side % 2**_HALVINGS for side in x.shape[1:3])
    if not rows and not columns:
        return x
    return keras.layers.ZeroPadding2D(halves(rows, columns), name="border")(x)


def _double(x, filters, use_bias, name):
    return keras.layers.Conv2DTranspose(
        filters,
        4,
        strides=2,
        padding="same",
        use_bias=use_bias,
        name=name,
        **uniform_weights(16 * filters),
    )(x)
