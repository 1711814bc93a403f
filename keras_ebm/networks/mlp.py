"""Fully connected energies and decoders."""

import math
from collections.abc import Callable

import keras

from keras_ebm.arguments import check_positive, check_share, check_size
from keras_ebm.layers.gaussian_base import GaussianBase
from keras_ebm.networks.conditioning import label_input, modulated
from keras_ebm.networks.initializers import fan_in_uniform


def mlp_energy(
    input_shape: tuple[int, ...],
    num_outputs: int = 1,
    num_classes: int = 0,
    *,
    hidden: tuple[int, ...] = (256, 256),
    activation: str | Callable | None = "silu",
    dropout: float = 0.0,
    base_stddev: float | None = None,
    initial_gain: float = 1.0,
) -> keras.Model:
    """Builds an energy network of dense layers, without normalisation.

    Batch normalisation is left out on purpose: it makes the energy of a row
    depend on the rest of its batch, and centres data and samples alike.

    Args:
        input_shape: shape of one preprocessed input; flattened inside.
        num_outputs: int, number of classes, or 1 for a plain density.
        num_classes: int >= 0, the length of a label vector that is an input, one-hot
            or any numbers that describe `x`; 0 for none. There is one output then.
        hidden: widths of the hidden layers.
        activation: any Keras activation; it should be twice differentiable
            where the gradient penalty is used.
        dropout: float in [0, 1), share of hidden units left out in training,
            after each activation.
        base_stddev: float > 0, width of a broad Gaussian factor times which the
            density is learnt (`GaussianBase`), or None for no such factor.
        initial_gain: float > 0; weights start uniform, of variance
            `initial_gain / fan_in`. From 1/3 the energy starts flatter, which
            suits few labels.

    Returns:
        A functional model from `(batch, *input_shape)`, or with `num_classes` from
        `[x, y]`, to logits of shape `(batch, num_outputs)`, made by a layer called
        `"logits"`.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    check_size("num_outputs", num_outputs)
    labels = label_input(num_classes, num_outputs)
    check_share("dropout", dropout, zero_allowed=True)
    check_positive("initial_gain", initial_gain)
    inputs = keras.Input(input_shape, name="inputs")
    x = keras.layers.Flatten()(inputs) if len(input_shape) > 1 else inputs
    for index, width in enumerate(hidden):
        x = _dense(width, f"hidden_{index}", initial_gain)(x)
        x = modulated(x, labels, f"hidden_{index}")
        x = keras.layers.Activation(activation, name=f"activation_{index}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"dropout_{index}")(x)
    logits = _dense(num_outputs, "logits", initial_gain)(x)
    if base_stddev is not None:
        logits = GaussianBase(base_stddev, name="base")([inputs, logits])
    taken = inputs if labels is None else [inputs, labels]
    return keras.Model(taken, logits, name="energy")


def mlp_decoder(
    latent_dim: int,
    output_shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] = (128, 128),
    activation: str | Callable | None = "silu",
    output_activation: str | Callable | None = None,
    skip: float = 0.0,
) -> keras.Model:
    """Builds the mean of a generator, from latents to preprocessed inputs.

    Args:
        latent_dim: int >= 1, size of the latent.
        output_shape: shape of one preprocessed input.
        hidden: widths of the hidden layers.
        activation: hidden activation.
        output_activation: `"tanh"` for images in `[-1, 1]`; `None` (linear)
            for standardised columns.
        skip: float; the decoder is `skip * z` plus the network. Above 0 it
            starts as a one-to-one map, where the latent is as large as an
            output.

    Returns:
        A functional model from `(batch, latent_dim)` to
        `(batch, *output_shape)`.

    Raises:
        ValueError: if `skip` is set and the sizes differ.
    """
    check_size("latent_dim", latent_dim)
    if skip and latent_dim != math.prod(output_shape):
        raise ValueError(
            "`skip` needs a latent of the output's size. Received: "
            f"latent_dim={latent_dim} for outputs of {math.prod(output_shape)}; "
            "use skip=0."
        )
    latents = keras.Input((latent_dim,), name="latents")
    x = latents
    for index, width in enumerate(hidden):
        x = _dense(width, f"hidden_{index}")(x)
        x = keras.layers.Activation(activation, name=f"activation_{index}")(x)
    x = _dense(math.prod(output_shape), "outputs")(x)
    x = keras.layers.Activation(
        output_activation or "linear", name="output_activation"
    )(x)
    if skip:
        scaled = keras.layers.Rescaling(skip, name="skip")(latents)
        x = keras.layers.Add(name="shifted")([scaled, x])
    if len(output_shape) > 1:
        x = keras.layers.Reshape(output_shape)(x)
    return keras.Model(latents, x, name="decoder")


def _dense(width, name, gain=1.0):
    return keras.layers.Dense(width, name=name, kernel_initializer=fan_in_uniform(gain))
