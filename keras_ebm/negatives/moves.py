"""Negatives moved towards `p` by the Metropolis-adjusted Langevin algorithm."""

from typing import NamedTuple

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive
from keras_ebm.samplers.mala import MALAState, mala


class Negatives(NamedTuple):
    """Negatives, their weights (None: equal) and scalars to log."""

    x: tf.Tensor
    weights: tf.Tensor | None
    logs: dict


class MovesByMALA(keras.layers.Layer):
    """Base of what moves samples by MALA, with a step size that adapts."""

    def __init__(
        self,
        num_steps: int,
        initial_step_size: float,
        target_acceptance: float,
        adaptation_rate: float,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.num_steps = num_steps
        self.initial_step_size = check_positive("initial_step_size", initial_step_size)
        self.target_acceptance = check_positive("target_acceptance", target_acceptance)
        if target_acceptance >= 1:
            raise ValueError(
                "`target_acceptance` must be below 1. "
                f"Received: target_acceptance={target_acceptance}."
            )
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
        )
        change = self.adaptation_rate * (acceptance - self.target_acceptance)
        self.step_size.assign(step_size * tf.exp(change))
        return state, {"mala_acceptance": acceptance, "mala_step_size": step_size}

    def get_config(self):
        return {
            **super().get_config(),
            "num_steps": self.num_steps,
            "initial_step_size": self.initial_step_size,
            "target_acceptance": self.target_acceptance,
            "adaptation_rate": self.adaptation_rate,
        }
