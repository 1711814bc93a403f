"""Negatives moved towards `p` by the Metropolis-adjusted Langevin algorithm."""

from typing import NamedTuple

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_share, check_size
from keras_ebm.samplers.mala import MALAState, mala


class Negatives(NamedTuple):
    """Negatives, their weights (None: equal) and scalars to log."""

    x: tf.Tensor
    weights: tf.Tensor | None
    logs: dict


class MovesByMALA(keras.layers.Layer):
    """Base of what moves samples by MALA, with a step size that adapts.

    Args:
        num_steps: int >= 0, transitions.
        num_leapfrog: int >= 1; above 1 each transition is one of Hamiltonian
            Monte Carlo (`keras_ebm.samplers.mala_step`).
        initial_step_size: float > 0, in squared units of `x` per nat.
        target_acceptance: float in (0, 1) that the step size is adapted to.
        adaptation_rate: float > 0, of the log of the step size.
        **kwargs: forwarded to `keras.layers.Layer`.
    """

    def __init__(
        self,
        num_steps: int,
        initial_step_size: float,
        target_acceptance: float,
        adaptation_rate: float,
        num_leapfrog: int = 1,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.num_steps = num_steps
        self.num_leapfrog = check_size("num_leapfrog", num_leapfrog)
        self.initial_step_size = check_positive("initial_step_size", initial_step_size)
        self.target_acceptance = check_share("target_acceptance", target_acceptance)
        self.adaptation_rate = check_positive("adaptation_rate", adaptation_rate)
        self.step_size = self.add_weight(
            name="step_size",
            shape=(),
            trainable=False,
            aggregation="mean",
            initializer=keras.initializers.Constant(initial_step_size),
        )
        self.built = True

    def move(self, energy_fn, state: MALAState, random):
        """Runs the chains and adapts the step size; returns `(state, logs)`."""
        step_size = tf.convert_to_tensor(self.step_size)
        state, acceptance = mala(
            energy_fn,
            state,
            num_steps=self.num_steps,
            step_size=step_size,
            random=random,
            name="mala",
            num_leapfrog=self.num_leapfrog,
        )
        change = self.adaptation_rate * (acceptance - self.target_acceptance)
        self.step_size.assign(step_size * tf.exp(change))
        return state, {"mala_acceptance": acceptance, "mala_step_size": step_size}

    def get_config(self):
        return {
            **super().get_config(),
            "num_steps": self.num_steps,
            "num_leapfrog": self.num_leapfrog,
            "initial_step_size": self.initial_step_size,
            "target_acceptance": self.target_acceptance,
            "adaptation_rate": self.adaptation_rate,
        }
