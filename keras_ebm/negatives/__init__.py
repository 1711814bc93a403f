"""Negatives: from the batch, from chains, and what betters a generator's."""

from keras_ebm.negatives.batch import Blend, CutAndBlend, CutJoin
from keras_ebm.negatives.corrections import (
    Correction,
    ImportanceCorrection,
    LatentRefinement,
    Proposal,
)
from keras_ebm.negatives.moves import Negatives
from keras_ebm.negatives.persistent import PersistentChains

__all__ = [
    "Blend",
    "Correction",
    "CutAndBlend",
    "CutJoin",
    "ImportanceCorrection",
    "LatentRefinement",
    "Negatives",
    "PersistentChains",
    "Proposal",
]
