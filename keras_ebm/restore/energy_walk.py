"""Langevin chains on an energy and the likelihood of what is observed."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.gradients import with_clipped_gradient
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.restore.corruption import Corruption
from keras_ebm.samplers import Region, langevin


class EnergyWalk(NamedTuple):
    """Chains of `x - step_size * d(E(x) + w nll(x))/dx + noise`, for any energy.

    They start at the observation. Entries that are known do not move. An energy that
    was trained by short chains holds for short walks: long ones destroy what they
    started from, so choose `num_steps` by `choose_walk`.

    Attributes:
        num_steps: int >= 1.
        step_size: float > 0, in units of `x` squared per nat.
        noise_stddev: float >= 0, in units of `x`.
        likelihood_weight: float >= 0, `w`; 0 leaves the likelihood out.
        max_gradient: float > 0 or None, bound of each entry of the energy's gradient.
        box: `(low, high)` that entries are clipped to, or None.
        start_stddev: float >= 0, noise on entries that are not known at the start.
    """

    num_steps: int
    step_size: float = 10.0
    noise_stddev: float = 0.005
    likelihood_weight: float = 1.0
    max_gradient: float | None = None
    box: tuple[float, float] | None = (-1.0, 1.0)
    start_stddev: float = 0.0

    def run(
        self,
        energy: Any,
        observed: tf.Tensor,
        corruption: Corruption,
        random: RandomDraws,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Where chains end, and their energies.

        Args:
            energy: model, or callable from preprocessed `(batch, ...)` to energies in
                nats.
            observed: `(batch, ...)`.
            corruption: of `observed`.
            random: draws.

        Raises:
            ValueError: if a setting breaks its rule.
        """
        check_size("num_steps", self.num_steps)
        for name in ("likelihood_weight", "start_stddev"):
            check_positive(name, getattr(self, name), zero_allowed=True)
        energy_fn: EnergyFn = getattr(energy, "inputs_energy", energy)
        bounded = energy_fn
        if self.max_gradient is not None:
            bounded = with_clipped_gradient(energy_fn, self.max_gradient)

        def joint(x):
            nll = corruption.negative_log_likelihood(x, observed)
            return bounded(x) + self.likelihood_weight * nll

        known = corruption.start(observed)
        noise = self.start_stddev * random.normal(tf.shape(known), "start")
        region = Region(self.box, known, None, corruption.fixed(observed)).check()
        state, _ = langevin(
            joint,
            region.project(known + noise),
            num_steps=self.num_steps,
            step_size=self.step_size,
            noise_stddev=self.noise_stddev,
            random=random,
            region=region,
        )
        return state.x, energy_fn(state.x)
