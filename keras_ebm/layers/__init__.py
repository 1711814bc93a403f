"""Layers that networks and models need and Keras lacks."""

from keras_ebm.layers.gaussian_base import GaussianBase
from keras_ebm.layers.logit_energy import LogitEnergy
from keras_ebm.layers.logit_pixels import LogitPixels
from keras_ebm.layers.table_encoder import TableEncoder

__all__ = ["GaussianBase", "LogitEnergy", "LogitPixels", "TableEncoder"]
