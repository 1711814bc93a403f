"""Langevin chains through energies of less and less noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.gradients import energy_and_gradient
from keras_ebm.protocols import RandomDraws


def noise_levels(low: float, high: float, num_levels: int) -> np.ndarray:
    """Standard deviations from `high` down to `low`, evenly in their logarithms.

    Args:
        low: float > 0.
        high: float > `low`.
        num_levels: int >= 2.

    Returns:
        float32 array `(num_levels,)`.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    check_positive("low", low)
    if not high > low or check_size("num_levels", num_levels) < 2:
        raise ValueError(
            "`high` must be above `low`, and `num_levels` at least 2. Received: "
            f"low={low!r}, high={high!r}, num_levels={num_levels!r}."
        )
    return np.geomspace(high, low, num_levels).astype(np.float32)


def annealed_langevin(
    level_energy: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    levels: np.ndarray,
    *,
    random: RandomDraws,
    steps_per_level: int = 4,
    step_share: float = 0.15,
    max_gradient: float | None = None,
) -> tf.Tensor:
    """Walks from noise to samples by energies `E(x, s)` of data with noise `s`.

    At each level `steps_per_level` steps `x - a s^2 dE/dx + s sqrt(2 a) N(0, I)` with
    `a = step_share` correct what came before, and `x - (s - s') s dE/dx` takes the
    noise down to the next level `s'`, after the last to 0. Without that step chains lag
    behind the levels, with more noise than the energies are of.

    The highest level must be above half the distance between rows of data, in all of
    their entries together: where a chain is below it, it is decided already which of
    them it comes near.

    Args:
        level_energy: callable from `(batch, ...)` and a scalar `s` to energies
            `(batch,)` in nats, such as `ReconstructionEnergy.level_energy`, or a
            composition's.
        x: starts `(batch, ...)`: noise of `levels[0]` about the mean of the data.
        levels: `(num_levels,)`, falling; see `noise_levels`.
        random: `keras_ebm.random.StepRandom`.
        steps_per_level: int >= 0; 0: none but those between the levels, without noise.
        step_share: float in (0, 1): `a`. Of a normal of standard deviation `s` steps of
            1 would be as long as the density is wide.
        max_gradient: float > 0 or None: bound of `s dE/dx`, in standard deviations.

    Returns:
        Samples `(batch, ...)`.

    Raises:
        ValueError: if an argument breaks its rule.
        tf.errors.InvalidArgumentError: if a chain leaves the numbers.

    References:
        - Song and Ermon (2019), https://arxiv.org/abs/1907.05600, algorithm 1.
        - Song et al. (2021), https://arxiv.org/abs/2011.13456, algorithm 1: predictor
          and corrector.
        - Du et al. (2023), "Reduce, reuse, recycle: compositional generation with
          energy-based diffusion models and MCMC", https://arxiv.org/abs/2302.11552.
    """
    if steps_per_level:
        check_size("steps_per_level", steps_per_level)
    if not 0.0 < step_share < 1.0:
        raise ValueError(
            f"`step_share` must be between 0 and 1. Received: step_share={step_share}."
        )
    if max_gradient is not None:
        check_positive("max_gradient", max_gradient)
    levels = tf.constant(np.asarray(levels, np.float32))

    def slope(x, stddev):
        """`s dE/dx`, bounded."""
        _, gradient = energy_and_gradient(lambda x: level_energy(x, stddev), x)
        scaled = stddev * gradient
        if max_gradient is None:
            return scaled
        # What is not a number is no number after it either.
        bounded = tf.clip_by_value(scaled, -max_gradient, max_gradient)
        return tf.where(tf.math.is_finite(scaled), bounded, scaled)

    following = tf.concat([levels[1:], [0.0]], axis=0)

    def level(i, x):
        stddev = levels[i]

        def correct(j, x):
            noise = random.fold(i * steps_per_level + j).normal(tf.shape(x), "annealed")
            drift = step_share * slope(x, stddev)
            return j + 1, x + stddev * (tf.sqrt(2.0 * step_share) * noise - drift)

        _, x = tf.while_loop(
            lambda j, _: j < steps_per_level, correct, (tf.constant(0), x)
        )
        return i + 1, x - (stddev - following[i]) * slope(x, stddev)

    def run(x):
        _, x = tf.while_loop(lambda i, _: i < len(levels), level, (tf.constant(0), x))
        return tf.debugging.check_numerics(x, "a chain left the numbers")

    return tf.function(run, autograph=False)(tf.cast(x, tf.float32))
