"""Chains down the levels of noise of an energy that has them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.gradients import energy_and_gradient
from keras_ebm.protocols import RandomDraws
from keras_ebm.restore.corruption import Corruption


class LevelWalk(NamedTuple):
    """Chains that take noise away, level by level, and look at the observation.

    At each standard deviation `s`, from `high` down to `low`, one step goes to
    `m = x - s^2 dE(x, s)/dx`, the mean of the clean inputs that `x` may come from, then
    to the mean by `m` and the observation (`Corruption.informed`), and adds noise of
    the next level. The last one adds none. With `guidance` what is observed moves other
    entries too, as far as the curvature of the energy says that they vary together:
    the derivative of `m` in `x` is the covariance of the clean inputs over `s^2`.

    Attributes:
        num_steps: int >= 1.
        low: float > 0, the last level, in units of `x`.
        high: float >= `low`, the first.
        data_stddev: float > 0, of an entry. `m` counts as off by `spread` times
            `s / sqrt(1 + s^2 / data_stddev^2)`.
        spread: float > 0. Small ones trust the energy more, large ones what is
            observed; choose it by `choose_walk`.
        guidance: float >= 0, weight of that; 1 for Gaussian data. A step with it costs
            about three without.
        box: `(low, high)` that means are clipped to, or None.

    References:
        - Song et al. (2023), "Pseudoinverse-guided diffusion models for inverse
          problems".
    """

    num_steps: int = 20
    low: float = 0.05
    high: float = 2.0
    data_stddev: float = 0.6
    spread: float = 1.0
    guidance: float = 0.0
    box: tuple[float, float] | None = (-1.0, 1.0)

    def run(
        self,
        energy: Any,
        observed: tf.Tensor,
        corruption: Corruption,
        random: RandomDraws,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Where chains end, and their energies at `low`.

        Args:
            energy: model whose network has `level_energy`, such as `DenoisingModel`,
                or such a callable of `(x, stddev)`.
            observed: `(batch, ...)`.
            corruption: of `observed`.
            random: draws.

        Raises:
            ValueError: if a setting breaks its rule, or the model has no levels.
        """
        levels = self._levels()
        level_energy = _level_energy(energy)

        def step(index, x):
            stddev = tf.gather(levels, index)
            off = stddev / tf.sqrt(1.0 + tf.square(stddev / self.data_stddev))

            def clean(inputs):
                _, gradient = energy_and_gradient(
                    lambda rows: level_energy(rows, stddev), inputs
                )
                return inputs - tf.square(stddev) * gradient

            def informed(mean):
                mean = self._clipped(mean)
                return corruption.informed(mean, self.spread * off, observed)

            mean = self._guided(clean, informed, x, tf.square(stddev / off))
            mean = self._clipped(mean)
            noise = random.fold(index).normal(tf.shape(x), "levels")
            return index + 1, mean + tf.gather(levels, index + 1) * noise

        start = corruption.start(observed)
        x = start + levels[0] * random.normal(tf.shape(start), "start")
        _, x = tf.while_loop(
            lambda index, x: index < self.num_steps,
            step,
            (tf.constant(0), x),
            shape_invariants=(tf.TensorShape([]), x.shape),
        )
        return x, level_energy(x, tf.constant(self.low, tf.float32))

    def _guided(self, clean, informed, x, gain):
        """The mean by the energy and by what is observed."""
        if not self.guidance:
            return informed(clean(x))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            mean = clean(x)
        told = informed(mean)
        moved = tape.gradient(mean, x, output_gradients=told - mean)
        return informed(mean + self.guidance * gain * moved)

    def _levels(self) -> tf.Tensor:
        """The levels, and 0 after them."""
        check_size("num_steps", self.num_steps)
        for name in ("low", "high", "data_stddev", "spread"):
            check_positive(name, getattr(self, name))
        check_positive("guidance", self.guidance, zero_allowed=True)
        if self.low > self.high:
            raise ValueError(
                "`low` must not be above `high`. Received: "
                f"low={self.low}, high={self.high}."
            )
        levels = np.geomspace(self.high, self.low, self.num_steps)
        return tf.constant([*levels, 0.0], tf.float32)

    def _clipped(self, x):
        return x if self.box is None else tf.clip_by_value(x, *self.box)


def _level_energy(energy):
    found = getattr(getattr(energy, "network", energy), "level_energy", None)
    if found is None and hasattr(energy, "inputs_energy"):
        raise ValueError(
            "`energy` must have levels of noise, as keras_ebm.models.DenoisingModel "
            f"has. Received: a {type(energy).__name__}; walk it by EnergyWalk."
        )
    return found or energy
