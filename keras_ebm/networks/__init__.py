"""Energy networks and decoders."""

from keras_ebm.networks.convolutional import (
    convolutional_decoder,
    convolutional_energy,
)
from keras_ebm.networks.features import with_features
from keras_ebm.networks.mlp import mlp_decoder, mlp_energy

__all__ = [
    "convolutional_decoder",
    "convolutional_energy",
    "mlp_decoder",
    "mlp_energy",
    "with_features",
]
