"""Negatives: from the batch, from chains, and what betters a generator's."""

from keras_ebm.negatives.base import (
    BatchNegatives,
    Negatives,
    NegativeSource,
    as_source,
)
from keras_ebm.negatives.batch import Blend, CutAndBlend, CutJoin, Jitter
from keras_ebm.negatives.chains import MarkovChains
from keras_ebm.negatives.corrections import (
    Correction,
    ImportanceCorrection,
    LatentRefinement,
    Proposal,
)
from keras_ebm.negatives.mixture import MixtureSamples
from keras_ebm.negatives.moves import LangevinMoves, MALAMoves
from keras_ebm.negatives.replay_buffer import ReplayBuffer

__all__ = [
    "BatchNegatives",
    "Blend",
    "Correction",
    "CutAndBlend",
    "CutJoin",
    "ImportanceCorrection",
    "Jitter",
    "LangevinMoves",
    "LatentRefinement",
    "MALAMoves",
    "MarkovChains",
    "MixtureSamples",
    "NegativeSource",
    "Negatives",
    "Proposal",
    "ReplayBuffer",
    "as_source",
]
