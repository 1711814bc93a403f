"""Small convolutional energies and decoders for images of 28 to 32 pixels."""

import math
from collections.abc import Callable

import keras

from keras_ebm.arguments import check_choice, check_size
from keras_ebm.networks.conditioning import label_input, modulated
from keras_ebm.networks.initializers import fan_in_uniform


def convolutional_energy(
    input_shape: tuple[int, int, int],
    num_outputs: int = 1,
    *,
    filters: tuple[int, ...] = (16, 32),
    features: int = 128,
    activation: str | Callable | None = "silu",
) -> keras.Model:
    """Builds a small image energy: (3x3 conv, 2x2 max-pool) blocks and a dense layer.

    Args:
        input_shape: `(height, width, channels)` of a preprocessed image; both
            sides must be divisible by `2 ** len(filters)`.
        num_outputs: int, number of classes, or 1 for a plain density.
        filters: channels of each block.
        features: width of the dense layer before the logits.
        activation: any Keras activation.

    Returns:
        A functional model from `(batch, *input_shape)` to logits of shape
        `(batch, num_outputs)`; its last layer is called `"logits"`.

    Raises:
        ValueError: if the image is not of rank 3 or not divisible.
    """
    check_size("num_outputs", num_outputs)
    _check_image(input_shape, 2 ** len(filters))
    inputs = keras.Input(input_shape, name="inputs")
    x = inputs
    for channels in filters:
        x = keras.layers.Conv2D(channels, 3, padding="same")(x)
        x = keras.layers.Activation(activation)(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(features, name="features")(x)
    x = keras.layers.Activation(activation)(x)
    logits = keras.layers.Dense(num_outputs, name="logits")(x)
    return keras.Model(inputs, logits, name="energy")


def strided_energy(
    input_shape: tuple[int, int, int],
    num_outputs: int = 1,
    num_classes: int = 0,
    *,
    filters: tuple[int, ...] = (16, 32, 64),
    features: int = 128,
    activation: str | Callable | None = "silu",
    pooling: str = "flatten",
) -> keras.Model:
    """Builds a small smooth image energy: convolutions of stride 2 and a dense layer.

    Without pooling its gradient in the image is continuous, as chains and restoration
    want it, and a step costs a fraction of that of `convolutional_energy`.

    Args:
        input_shape: `(height, width, channels)` of a preprocessed image, any size.
        num_outputs: int, number of classes, or 1 for a plain density.
        num_classes: int >= 0, the length of a label vector that is an input, one-hot
            or any numbers that describe `x`; 0 for none. There is one output then.
        filters: channels of each 4x4 convolution.
        features: width of the dense layer before the logits.
        activation: any Keras activation; smooth ones suit chains.
        pooling: `"flatten"`, or `"sum"` or `"mean"` over places: what a picture shows
            then counts alike wherever it is, to within the strides.

    Returns:
        A functional model from `(batch, *input_shape)`, or with `num_classes` from
        `[x, y]`, to logits `(batch, num_outputs)`; its last layer is `"logits"`.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    check_size("num_outputs", num_outputs)
    check_choice("pooling", pooling, ("flatten", "sum", "mean"))
    _check_image(input_shape, 1)
    labels = label_input(num_classes, num_outputs)
    inputs = keras.Input(input_shape, name="inputs")
    x = inputs
    for index, channels in enumerate(filters):
        layer = keras.layers.Conv2D(
            channels, 4, strides=2, padding="same", name=f"halving_{index}"
        )
        x = modulated(layer(x), labels, f"halving_{index}")
        x = keras.layers.Activation(activation)(x)
    if pooling == "flatten":
        x = keras.layers.Flatten()(x)
    else:
        places = math.prod(x.shape[1:3])
        x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
        if pooling == "sum":
            x = keras.layers.Rescaling(places, name="sum")(x)
    x = keras.layers.Dense(features, name="features")(x)
    x = modulated(x, labels, "features")
    x = keras.layers.Activation(activation)(x)
    logits = keras.layers.Dense(num_outputs, name="logits")(x)
    taken = inputs if labels is None else [inputs, labels]
    return keras.Model(taken, logits, name="energy")


def convolutional_decoder(
    latent_dim: int,
    output_shape: tuple[int, int, int],
    *,
    filters: tuple[int, ...] = (32, 16),
    activation: str | Callable | None = "silu",
    output_activation: str | Callable | None = "tanh",
) -> keras.Model:
    """Builds the mean of an image generator by transposed convolutions.

    Args:
        latent_dim: int >= 1, size of the latent.
        output_shape: `(height, width, channels)`; both sides must be
            divisible by `2 ** len(filters)`.
        filters: channels before each doubling of the resolution.
        activation: hidden activation.
        output_activation: `"tanh"` keeps images in `[-1, 1]`.

    Returns:
        A functional model from `(batch, latent_dim)` to
        `(batch, *output_shape)`.

    Raises:
        ValueError: if the image is not of rank 3 or not divisible.
    """
    check_size("latent_dim", latent_dim)
    shrink = 2 ** len(filters)
    _check_image(output_shape, shrink)
    height, width, channels = output_shape
    start = (height // shrink, width // shrink, filters[0])
    latents = keras.Input((latent_dim,), name="latents")
    x = keras.layers.Dense(
        start[0] * start[1] * start[2], kernel_initializer=fan_in_uniform()
    )(latents)
    x = keras.layers.Activation(activation)(x)
    x = keras.layers.Reshape(start)(x)
    for size in filters[1:]:
        x = keras.layers.Conv2DTranspose(size, 4, strides=2, padding="same")(x)
        x = keras.layers.Activation(activation)(x)
    x = keras.layers.Conv2DTranspose(channels, 4, strides=2, padding="same")(x)
    x = keras.layers.Activation(
        output_activation or "linear", name="output_activation"
    )(x)
    return keras.Model(latents, x, name="decoder")


def _check_image(shape, divisor):
    if len(shape) != 3:
        raise ValueError(
            "An image must have shape (height, width, channels). "
            f"Received: shape={tuple(shape)}; use `mlp_energy` for vectors."
        )
    if shape[0] % divisor or shape[1] % divisor:
        raise ValueError(
            f"Height and width must be divisible by {divisor}, one halving a "
            f"block. Received: shape={tuple(shape)}; crop or pad the images, "
            "or pass fewer `filters`."
        )
