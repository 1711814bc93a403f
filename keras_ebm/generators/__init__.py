"""Generators: amortised samplers of an energy."""

from keras_ebm.generators.gaussian_generator import GaussianGenerator

__all__ = ["GaussianGenerator"]
