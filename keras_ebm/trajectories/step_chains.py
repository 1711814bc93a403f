"""Negatives of transitions: chains over the next state, the states before it fixed."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.negatives import Negatives, NegativeSource
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.samplers.langevin import Region, langevin
from keras_ebm.saveable import Saveable
from keras_ebm.trajectories.gaussian_step import GaussianStep, check_step
from keras_ebm.trajectories.residuals import walk_residuals
from keras_ebm.trajectories.windows import with_next


@keras.saving.register_keras_serializable(package="keras_ebm")
class StepChains(Saveable, NegativeSource, keras.layers.Layer):
    """Short Langevin chains over the last state of a window.

    A chain walks by the energy of the window with all else fixed, and what it comes to
    is both the negative in training and the next state in a rollout.

    Without a `step` it starts about the last state before the transition and walks over
    standardised states, and the network is the whole energy. With one it walks over
    `u` of `next = mean(past) + root u`, starts at `u ~ N(0, start_stddev^2 I)`, and the
    network is a correction of the Gaussian's energy: without any it would stay where
    the Gaussian is, and all directions of `u` are of one size.

    Args:
        step: `GaussianStep`, fitted, which is no longer trained; or None.
        num_steps: int >= 1.
        step_size: float > 0, in squared units of what is walked over per nat.
        noise_stddev: float >= 0, of a step, in units of what is walked over; None:
            `sqrt(2 * step_size)`, temperature 1.
        start_stddev: float >= 0, of where chains start, in these units.
        max_gradient: float > 0 or None, bound of each entry of the gradient.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, section 4.3.
    """

    _parts = ("step",)
    _values = (
        "num_steps",
        "step_size",
        "noise_stddev",
        "start_stddev",
        "max_gradient",
    )
    computes = True
    log_names = ("chain_movement",)

    def __init__(
        self,
        step: GaussianStep | None = None,
        num_steps: int = 10,
        step_size: float = 0.05,
        noise_stddev: float | None = None,
        start_stddev: float = 0.5,
        max_gradient: float | None = None,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.step = check_step(step)
        self.num_steps = check_size("num_steps", num_steps)
        self.step_size = check_positive("step_size", step_size)
        if noise_stddev is not None:
            check_positive("noise_stddev", noise_stddev, zero_allowed=True)
        self.noise_stddev = noise_stddev
        check_positive("start_stddev", start_stddev, zero_allowed=True)
        self.start_stddev = start_stddev
        if max_gradient is not None:
            check_positive("max_gradient", max_gradient)
        self.max_gradient = max_gradient
        self.built = True

    @property
    def num_gradients(self) -> int:  # type: ignore[override]
        """How many gradients of the energy a negative takes."""
        return self.num_steps

    def base_energy(self, rows: tf.Tensor) -> tf.Tensor | float:
        """What the network's energy is added to, `(batch,)` nats; 0 for the whole."""
        return 0.0 if self.step is None else self.step.row_energy(rows)

    def draw(
        self,
        energy_fn: EnergyFn,
        x: tf.Tensor,
        random: RandomDraws,
        labels: tf.Tensor | None = None,
        training: bool = False,
        *,
        start: tf.Tensor | None = None,
        last_steps: int = 0,
    ) -> Negatives | None:
        del labels, start, last_steps
        if not training:
            return None
        after, movement = self._walk(energy_fn, x[:, :-1], random)
        made = tf.stop_gradient(with_next(x[:, :-1], after))
        return Negatives(made, None, {"chain_movement": movement})

    def next_states(
        self, correction: EnergyFn, past: tf.Tensor, random: RandomDraws
    ) -> tf.Tensor:
        """Where chains come to; see `StepNoise.next_states`."""

        def energy_fn(rows):
            return correction(rows) + self.base_energy(rows)

        return self._walk(energy_fn, past, random)[0]

    def _walk(self, energy_fn, past, random):
        """Where chains come to, `(n, state)`, and how far a step moves them."""
        noise = random.normal(tf.shape(past[:, -1]), "start")
        walk = self._walk_states if self.step is None else self._walk_residuals
        return walk(energy_fn, past, self.start_stddev * noise, random)

    def _walk_states(self, energy_fn, past, noise, random):
        start = with_next(past, past[:, -1] + noise)
        fixed = np.ones((past.shape[1] + 1, 1), bool)
        fixed[-1] = False
        region = Region(start=start, fixed=tf.constant(fixed))
        state, info = self._langevin(energy_fn, start, random, region)
        return state.x[:, -1], tf.reduce_mean(info.movement)

    def _walk_residuals(self, energy_fn, past, noise, random):
        def walk(energy_of):
            return self._langevin(energy_of, noise, random)

        return walk_residuals(self.step, energy_fn, past, walk)

    def _langevin(self, energy_fn, start, random, region=None):
        return langevin(
            energy_fn,
            start,
            num_steps=self.num_steps,
            random=random,
            step_size=self.step_size,
            noise_stddev=self.noise_stddev,
            max_gradient=self.max_gradient,
            region=region,
        )
