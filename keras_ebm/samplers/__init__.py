"""Samplers: functions of an energy, which know no model."""

from keras_ebm.samplers.annealed_importance import (
    AnnealedImportance,
    annealed_importance,
    reverse_annealed_importance,
)
from keras_ebm.samplers.annealed_langevin import annealed_langevin, noise_levels
from keras_ebm.samplers.chain import ChainInfo, run_chain, run_sampler
from keras_ebm.samplers.hamiltonian import HamiltonianState, hmc, nuts
from keras_ebm.samplers.importance import (
    effective_share,
    normalised_weights,
    systematic_resampling,
    tempering,
)
from keras_ebm.samplers.independence import NormalJump, normal_jump
from keras_ebm.samplers.langevin import (
    Langevin,
    LangevinState,
    Region,
    langevin,
    langevin_step,
)
from keras_ebm.samplers.likelihood_bounds import LogZBounds, log_z_bounds
from keras_ebm.samplers.mala import (
    MALA,
    MALAState,
    leapfrog,
    mala,
    mala_state,
    mala_step,
)
from keras_ebm.samplers.spaces import BoxSpace, WhitenedSpace

__all__ = [
    "AnnealedImportance",
    "BoxSpace",
    "ChainInfo",
    "HamiltonianState",
    "Langevin",
    "LangevinState",
    "LogZBounds",
    "MALA",
    "MALAState",
    "NormalJump",
    "Region",
    "WhitenedSpace",
    "annealed_importance",
    "annealed_langevin",
    "effective_share",
    "hmc",
    "langevin",
    "langevin_step",
    "leapfrog",
    "log_z_bounds",
    "mala",
    "mala_state",
    "mala_step",
    "noise_levels",
    "normal_jump",
    "normalised_weights",
    "nuts",
    "reverse_annealed_importance",
    "run_chain",
    "run_sampler",
    "systematic_resampling",
    "tempering",
]
