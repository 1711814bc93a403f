"""Energies made of energies: products, unions, negations, conditions."""

from keras_ebm.compose.base import Composition
from keras_ebm.compose.conditions import all_but, all_of, any_of
from keras_ebm.compose.posterior import Posterior
from keras_ebm.compose.product import Product
from keras_ebm.compose.union import Union, balanced_offsets

__all__ = [
    "Composition",
    "Posterior",
    "Product",
    "Union",
    "all_but",
    "all_of",
    "any_of",
    "balanced_offsets",
]
