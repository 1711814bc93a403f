"""Negatives from the batch itself, and what betters those of a generator."""

from keras_ebm.negatives.batch import Blend, CutAndBlend, CutJoin
from keras_ebm.negatives.corrections import (
    Correction,
    ImportanceCorrection,
    LatentRefinement,
    Negatives,
    Proposal,
)

__all__ = [
    "Blend",
    "Correction",
    "CutAndBlend",
    "CutJoin",
    "ImportanceCorrection",
    "LatentRefinement",
    "Negatives",
    "Proposal",
]
