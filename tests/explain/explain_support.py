"""Detectors whose energies have a closed form, on a table of every kind of column."""

import keras
import numpy as np
from keras import ops

from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.layers import TableEncoder
from keras_ebm.models import EnergyModel
from keras_ebm.ood import ConformalDetector, Detector, Energy

NAN = float("nan")
SCHEMA = TableSchema(
    (
        Column("age", "numeric"),
        Column("colour", "categorical", ("blue", "red")),
        Column("height (m)", "numeric"),
        Column("unit", "numeric"),
        Column("paid", "boolean", ("false", "true")),
    )
)
# age: mean 40, stddev 10, range 25 to 55; height: mean 2, stddev 1, range 1 to 3,
# missing once; unit is constant and dropped.
TRAIN = np.array(
    [
        [25.0, 0, 1.0, 7.0, 1],
        [40.0, 1, 1.0, 7.0, 0],
        [35.0, 0, NAN, 7.0, 0],
        [45.0, NAN, 3.0, 7.0, 1],
        [55.0, 0, 3.0, 7.0, 0],
    ],
    np.float32,
)


def detector_at(network, threshold, encoder=None):
    """A detector with this threshold at its rate of 0.1."""
    if encoder is None:
        encoder = TableEncoder(SCHEMA, drop_constant=True)
        encoder.adapt(TRAIN)
    model = EnergyModel(network, preprocessor=encoder)
    conformal = ConformalDetector(np.full(9, threshold))
    return Detector(model, Energy(), conformal, target_fpr=0.1)


def half_square(num_features, numeric):
    """A network whose energy is half the square of the first features."""
    inputs = keras.Input((num_features,))
    square = ops.square(inputs[:, :numeric])
    return keras.Model(inputs, -0.5 * ops.sum(square, axis=-1, keepdims=True))


def linear(weights):
    """A network whose energy is the scalar product with `weights`."""
    inputs = keras.Input((len(weights),))
    layer = keras.layers.Dense(1, use_bias=False)
    network = keras.Model(inputs, layer(inputs))
    layer.set_weights([-np.array(weights, np.float32)[:, None]])
    return network


def square_detector(threshold=0.5, **kwargs):
    """Energy 0.5 (z_age^2 + z_height^2); the threshold 0.5 is a disk of radius 1."""
    return detector_at(half_square(9, numeric=2), threshold, **kwargs)
