"""Samplers: functions of an energy, which know no model."""

from keras_ebm.samplers.importance import (
    effective_share,
    normalised_weights,
    systematic_resampling,
    tempering,
)
from keras_ebm.samplers.mala import MALAState, mala, mala_state, mala_step

__all__ = [
    "MALAState",
    "effective_share",
    "mala",
    "mala_state",
    "mala_step",
    "normalised_weights",
    "systematic_resampling",
    "tempering",
]
