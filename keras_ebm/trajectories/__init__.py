"""Energies of transitions: what comes next, ways to a goal, and what was unlikely."""

from keras_ebm.trajectories.fitting import fit_step, fit_transitions
from keras_ebm.trajectories.frechet_over_steps import frechet_over_steps
from keras_ebm.trajectories.gaussian_step import GaussianStep
from keras_ebm.trajectories.nearest_step import NearestStep
from keras_ebm.trajectories.networks import (
    LastChange,
    step_network,
    transition_network,
)
from keras_ebm.trajectories.plan import Plan, plan
from keras_ebm.trajectories.rollout import rollout
from keras_ebm.trajectories.state_scale import StateScale
from keras_ebm.trajectories.step_chains import StepChains
from keras_ebm.trajectories.step_noise import StepNoise
from keras_ebm.trajectories.transition_model import TransitionModel
from keras_ebm.trajectories.transition_score import transition_score
from keras_ebm.trajectories.windows import windows

__all__ = [
    "GaussianStep",
    "LastChange",
    "NearestStep",
    "Plan",
    "StateScale",
    "StepChains",
    "StepNoise",
    "TransitionModel",
    "fit_step",
    "fit_transitions",
    "frechet_over_steps",
    "plan",
    "rollout",
    "step_network",
    "transition_network",
    "transition_score",
    "windows",
]
