"""Samplers: functions of an energy, which know no model."""

from keras_ebm.samplers.annealed_importance import (
    AnnealedImportance,
    annealed_importance,
    reverse_annealed_importance,
)
from keras_ebm.samplers.importance import (
    effective_share,
    normalised_weights,
    systematic_resampling,
    tempering,
)
from keras_ebm.samplers.mala import MALAState, mala, mala_state, mala_step

__all__ = [
    "AnnealedImportance",
    "MALAState",
    "annealed_importance",
    "effective_share",
    "mala",
    "mala_state",
    "mala_step",
    "normalised_weights",
    "reverse_annealed_importance",
    "systematic_resampling",
    "tempering",
]
