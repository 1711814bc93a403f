"""Negatives: from the batch, from chains, and what betters a generator's."""

from keras_ebm.negatives.bank import Bank
from keras_ebm.negatives.base import (
    BatchNegatives,
    Negatives,
    NegativeSource,
    as_source,
    computed_codes,
)
from keras_ebm.negatives.batch import Blend, ColumnShuffle, CutAndBlend, CutJoin, Jitter
from keras_ebm.negatives.chains import MarkovChains
from keras_ebm.negatives.corrections import (
    Correction,
    ImportanceCorrection,
    LatentRefinement,
    Proposal,
)
from keras_ebm.negatives.mixed import Mixed
from keras_ebm.negatives.mixture import MixtureSamples
from keras_ebm.negatives.moves import LangevinMoves, MALAMoves
from keras_ebm.negatives.replay_buffer import ReplayBuffer
from keras_ebm.negatives.scrambles import PatchShuffle, PhaseScramble

__all__ = [
    "Bank",
    "BatchNegatives",
    "Blend",
    "ColumnShuffle",
    "Correction",
    "CutAndBlend",
    "CutJoin",
    "ImportanceCorrection",
    "Jitter",
    "LangevinMoves",
    "LatentRefinement",
    "MALAMoves",
    "MarkovChains",
    "Mixed",
    "MixtureSamples",
    "NegativeSource",
    "Negatives",
    "PatchShuffle",
    "PhaseScramble",
    "Proposal",
    "ReplayBuffer",
    "as_source",
    "computed_codes",
]
