"""Energies made of energies: products, unions, negations."""

from keras_ebm.compose.base import Composition
from keras_ebm.compose.product import Product
from keras_ebm.compose.union import Union, balanced_offsets

__all__ = ["Composition", "Product", "Union", "balanced_offsets"]
