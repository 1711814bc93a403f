"""The fully connected networks of VERA's experiments on MNIST and on tables."""

import math
from collections.abc import Callable

import keras

from keras_ebm.arguments import check_choice, check_size
from keras_ebm.layers.weight_norm import WeightNorm
from keras_ebm.networks.image_blocks import normalize, uniform_weights

DECODER_NORMALIZATIONS = (None, "batch", "layer")


def large_mlp_energy(
    input_shape: tuple[int, ...],
    num_outputs: int = 1,
    *,
    hidden: tuple[int, ...] = (1000, 500, 500, 250, 250, 250),
    weight_normalization: bool = False,
    activation: str | Callable | None = "leaky_relu",
) -> keras.Model:
    """Builds an energy of six dense hidden layers, widest at the input.

    1,787,001 weights for 784 inputs and one output. All kernels and biases start
    as `U(-1, 1) / sqrt(fan_in)`; those of `mlp_energy` are `sqrt(3)` times larger.

    Args:
        input_shape: shape of one preprocessed input; flattened inside.
        num_outputs: int >= 1, number of classes, or 1 for a plain density.
        hidden: widths of the hidden layers. Defaults to the published ones; the
            published energy of the plane is `hidden=(100, 100)`, 10,501 weights.
        weight_normalization: bool, whether all layers but the last are wrapped in
            `WeightNorm`, with a gain for each unit: 2,750 more weights. Defaults to
            False, as published for tables; for MNIST it was True.
        activation: any Keras activation. Defaults to a leaky ReLU of slope 0.2.

    Returns:
        A functional model from `(batch, *input_shape)` to logits of shape
        `(batch, num_outputs)`, made by a layer called `"logits"`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Grathwohl et al. (2021), "No MCMC for me: Amortized sampling for fast and
          stable training of energy-based models", https://arxiv.org/abs/2010.04230.
    """
    check_size("num_outputs", num_outputs)
    inputs = keras.Input(input_shape, name="inputs")
    x = keras.layers.Flatten()(inputs) if len(input_shape) > 1 else inputs
    for index, width in enumerate(hidden):
        layer = _dense(x, check_size("hidden", width), f"hidden_{index}")
        if weight_normalization:
            layer = WeightNorm(layer, name=f"hidden_{index}_norm")
        x = keras.layers.Activation(activation, name=f"activation_{index}")(layer(x))
    logits = _dense(x, num_outputs, "logits")(x)
    return keras.Model(inputs, logits, name="energy")


def large_mlp_decoder(
    latent_dim: int,
    output_shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] = (500, 500, 500),
    normalization: str | None = "layer",
    activation: str | Callable | None = "softplus",
    output_activation: str | Callable | None = None,
) -> keras.Model:
    """Builds the mean of a generator of dense layers.

    945,784 weights for 100 latents and 784 outputs, with either normalisation. All
    kernels and biases start as `U(-1, 1) / sqrt(fan_in)`.

    Args:
        latent_dim: int >= 1, size of the latent; the paper's was 100 on MNIST.
        output_shape: shape of one preprocessed input.
        hidden: widths of the hidden layers. Defaults to the published ones; the
            published decoder of the plane is `hidden=(100, 100)` with
            `activation="relu"`, 10,802 weights.
        normalization: of the hidden layers, in place of their biases. `"layer"` by
            default, or None, under which a sample depends on its own latent alone.
            On 784 outputs the spread over latents starts at 0.015 with None, 0.09
            with `"layer"` and 0.3 with `"batch"`. The last was the paper's; for it
            `q(x|z)` is not defined in training, and entropy estimators that need it
            refuse such a decoder.
        activation: any Keras activation, of the hidden layers.
        output_activation: None (linear) for standardised columns and for NICE;
            `"tanh"` for images in [-1, 1], `"sigmoid"` for [0, 1].

    Returns:
        A functional model from `(batch, latent_dim)` to `(batch, *output_shape)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Grathwohl et al. (2021), https://arxiv.org/abs/2010.04230.
    """
    check_size("latent_dim", latent_dim)
    check_choice("normalization", normalization, DECODER_NORMALIZATIONS)
    latents = keras.Input((latent_dim,), name="latents")
    x = latents
    for index, width in enumerate(hidden):
        check_size("hidden", width)
        x = _dense(x, width, f"hidden_{index}", use_bias=normalization is None)(x)
        x = normalize(x, normalization, f"hidden_{index}_norm")
        x = keras.layers.Activation(activation, name=f"activation_{index}")(x)
    x = _dense(x, math.prod(output_shape), "outputs")(x)
    x = keras.layers.Activation(
        output_activation or "linear", name="output_activation"
    )(x)
    if len(output_shape) > 1:
        x = keras.layers.Reshape(output_shape)(x)
    return keras.Model(latents, x, name="decoder")


def _dense(x, width, name, use_bias=True):
    return keras.layers.Dense(
        width, use_bias=use_bias, name=name, **uniform_weights(x.shape[-1])
    )
