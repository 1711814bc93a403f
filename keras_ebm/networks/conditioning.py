"""How a vector of labels or of numbers reaches the layers of a network."""

import keras

from keras_ebm.arguments import check_size


def label_input(num_classes: int, num_outputs: int):
    """The input of a label vector `(batch, num_classes)`; None without labels.

    Raises:
        ValueError: if there is a label and more than one output.
    """
    if not num_classes:
        return None
    check_size("num_classes", num_classes)
    if num_outputs != 1:
        raise ValueError(
            "`num_outputs` must be 1 where labels are an input. Received: "
            f"num_outputs={num_outputs}, num_classes={num_classes}; a class is then "
            "asked for by its label."
        )
    return keras.Input((num_classes,), name="labels")


def modulated(
    h: keras.KerasTensor, labels: keras.KerasTensor | None, name: str
) -> keras.KerasTensor:
    """`h (1 + y G) + y B` for a label vector `y`; `h` itself where it is None.

    Gains and biases of the channels are linear in the label, which may be one-hot or
    any vector of numbers. At first both are 0, and the label without effect.

    Args:
        h: `(batch, ..., channels)`.
        labels: `(batch, num_classes)` or None.
        name: of the layer before, which the names of these begin with.

    Returns:
        A tensor of the shape of `h`.

    References:
        - Perez et al. (2018), "FiLM: Visual reasoning with a general conditioning
          layer", https://arxiv.org/abs/1709.07871.
    """
    if labels is None:
        return h
    gain, bias = (
        _of_labels(labels, h.shape, f"{name}_{kind}") for kind in ("gain", "bias")
    )
    scaled = keras.layers.Multiply(name=f"{name}_scaled")([h, gain])
    return keras.layers.Add(name=f"{name}_modulated")([h, scaled, bias])


def _of_labels(labels, shape, name):
    layer = keras.layers.Dense(
        shape[-1], use_bias=False, kernel_initializer="zeros", name=name
    )
    values = layer(labels)
    if len(shape) == 2:
        return values
    spread = (*[1] * (len(shape) - 2), shape[-1])
    return keras.layers.Reshape(spread, name=f"{name}_spread")(values)
