"""Batch normalisation that is trained: real rows alone enter its moving statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

#: How the weights are called that hold what a layer has seen in training.
_PREFIXES = ("moving_", "renorm_", "running_")


def moving_statistics(network: keras.layers.Layer) -> list[keras.Variable]:
    """Weights that passes in training move, such as those of batch normalisation.

    Args:
        network: a built Keras model or layer; layers inside others are found.

    Returns:
        List of variables; empty where there are none or their layers are frozen.
    """
    layers = network._flatten_layers()
    still = {id(w) for layer in layers if not layer.trainable for w in layer.weights}
    return [
        weight
        for weight in network.weights
        if weight.name.startswith(_PREFIXES)
        and not weight.trainable
        and id(weight) not in still
    ]


@contextlib.contextmanager
def kept_statistics(network: keras.layers.Layer) -> Iterator[list]:
    """Has passes in training leave a network's moving statistics as they were.

    For negatives, whose passes are normalised by their own batch as the data's are: by
    statistics of the data a network in training can tell the two apart without looking
    at a row, and learns that instead (`benchmarks.fine_tuning`).

    Args:
        network: see `moving_statistics`. Without any, this does nothing.

    Yields:
        List, which afterwards holds `(variable, value)`, what the passes made of them.
    """
    variables = moving_statistics(network)
    before = [tf.identity(variable.value) for variable in variables]
    moved: list = []
    yield moved
    for variable, value in zip(variables, before, strict=True):
        moved.append((variable, tf.identity(variable.value)))
        variable.assign(value)
