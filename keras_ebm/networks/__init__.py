"""Energy networks and decoders."""

from keras_ebm.networks.convolutional import (
    convolutional_decoder,
    convolutional_energy,
)
from keras_ebm.networks.features import with_features
from keras_ebm.networks.mixture import GaussianMixture
from keras_ebm.networks.mlp import mlp_decoder, mlp_energy
from keras_ebm.networks.nice import NICE

__all__ = [
    "NICE",
    "GaussianMixture",
    "convolutional_decoder",
    "convolutional_energy",
    "mlp_decoder",
    "mlp_energy",
    "with_features",
]
