"""Layers that networks and models need and Keras lacks."""

from keras_ebm.layers.class_logits import BinaryLogits, LogOdds, LogProbabilities
from keras_ebm.layers.conditional_gain_bias import ConditionalBias, ConditionalGain
from keras_ebm.layers.doubled_conv import DoubledConv2D
from keras_ebm.layers.gaussian_base import GaussianBase
from keras_ebm.layers.logit_energy import LogitEnergy
from keras_ebm.layers.logit_pixels import LogitPixels
from keras_ebm.layers.mixture_base import MixtureBase, with_mixture_base
from keras_ebm.layers.self_attention import SelfAttention2D
from keras_ebm.layers.spectral_norm import SpectralNorm, update_spectral_norms
from keras_ebm.layers.table_encoder import TableEncoder
from keras_ebm.layers.weight_norm import WeightNorm

__all__ = [
    "BinaryLogits",
    "ConditionalBias",
    "ConditionalGain",
    "DoubledConv2D",
    "GaussianBase",
    "LogOdds",
    "LogProbabilities",
    "LogitEnergy",
    "LogitPixels",
    "MixtureBase",
    "SelfAttention2D",
    "SpectralNorm",
    "TableEncoder",
    "WeightNorm",
    "update_spectral_norms",
    "with_mixture_base",
]
