"""Which values the last layers of a network can give."""

from __future__ import annotations

import math

import keras

from keras_ebm.networks.graphs import is_functional, producer

_RANGES = {
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "relu6": (0.0, 6.0),
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "exponential": (0.0, math.inf),
}
#: Layers that pass values on as they are.
_PASSING = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.Cropping2D,
    keras.layers.UpSampling2D,
)


def output_range(network: keras.Model) -> tuple[float, float]:
    """`(low, high)` that a network's last activation leaves its outputs.

    Args:
        network: Keras model. Of one that is not functional, or whose last layers are
            unknown, nothing is known: minus and plus infinity.
    """
    return _range_of(network.outputs[0]) if is_functional(network) else _ANY


def _range_of(tensor) -> tuple[float, float]:
    operation, inputs = producer(tensor)
    if isinstance(operation, keras.Model):
        return output_range(operation)
    if isinstance(operation, _PASSING):
        return _range_of(inputs[0])
    if isinstance(operation, keras.layers.Rescaling):
        return _rescaled(operation, _range_of(inputs[0]))
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", type(operation).__name__.lower())
    plain = isinstance(operation, keras.layers.Activation)
    if name == "linear" and plain:
        return _range_of(inputs[0])
    return _RANGES.get(name, _ANY)


def _rescaled(layer, inner) -> tuple[float, float]:
    scale, offset = layer.scale, layer.offset
    if not isinstance(scale, int | float) or not isinstance(offset, int | float):
        return _ANY
    ends = [scale * end + offset if scale else float(offset) for end in inner]
    return min(ends), max(ends)


_ANY = (-math.inf, math.inf)
