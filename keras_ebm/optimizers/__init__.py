"""Optimizers that energies are trained with and Keras lacks."""

from keras_ebm.optimizers.clipped_adam import ClippedAdam

__all__ = ["ClippedAdam"]
