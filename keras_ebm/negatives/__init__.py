"""Negatives that need no generator and no chain."""

from keras_ebm.negatives.batch import Blend, CutAndBlend, CutJoin

__all__ = ["Blend", "CutAndBlend", "CutJoin"]
