"""Unadjusted Langevin chains, with the constraints that image models put on them."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive
from keras_ebm.gradients import (
    CLIPS,
    EnergyFn,
    clip_gradient,
    energy_and_gradient,
    where_finite,
)
from keras_ebm.protocols import RandomDraws
from keras_ebm.samplers.chain import ChainInfo, run_sampler, step_info


class LangevinState(NamedTuple):
    """Where a batch of chains stands, `(batch, ...)`."""

    x: tf.Tensor


class Region(NamedTuple):
    """Where chains may go; each of the three is optional.

    Attributes:
        box: `(low, high)`: every entry is clipped to it after a step.
        start: `(batch, ...)`, the centre of `radius` and what `fixed` keeps.
        radius: float > 0 in units of `x`: an L-infinity ball around `start`.
        fixed: bool tensor that broadcasts to `x`: True where an entry stays as
            it is in `start`, as the known pixels of an inpainting do.
    """

    box: tuple[float, float] | None = None
    start: tf.Tensor | None = None
    radius: float | None = None
    fixed: tf.Tensor | None = None

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The nearest place of the region; what is not a number stays so."""
        inside = x
        if self.radius is not None:
            start: tf.Tensor = self.start  # Never None beside a radius; see `check`.
            inside = tf.clip_by_value(inside, start - self.radius, start + self.radius)
        if self.box is not None:
            inside = tf.clip_by_value(inside, *self.box)
        inside = where_finite(x, inside)
        if self.fixed is not None:
            inside = tf.where(self.fixed, self.start, inside)
        return inside

    def check(self) -> Region:
        """Returns itself, or raises `ValueError` if a part is missing or wrong."""
        if self.box is not None and not self.box[0] < self.box[1]:
            raise ValueError(
                "`box` must be (low, high) with low below high. "
                f"Received: box={self.box!r}."
            )
        if self.radius is not None:
            check_positive("radius", self.radius)
        if self.start is None and (self.radius is not None or self.fixed is not None):
            raise ValueError(
                "`radius` and `fixed` need `start`, the inputs they refer to. "
                "Received: start=None."
            )
        return self


class Langevin(NamedTuple):
    """The numbers of a Langevin step, and the step.

    Attributes:
        step_size: float > 0, in units of `x` squared per nat.
        noise_stddev: float >= 0, in units of `x`; default
            `sqrt(2 * step_size)`.
        temperature: float > 0, that the energy is divided by.
        noise_first: bool, takes the gradient after adding the noise, as the code
            of IGEBM does; a chain's last move is then a descent.
        max_gradient: float > 0 or None, bound of the drift's gradient.
        clip: `"element"`, to plus and minus the bound, or `"norm"`, of each
            chain.
        region: `Region` or None.
    """

    step_size: float
    noise_stddev: float | None = None
    temperature: float = 1.0
    noise_first: bool = False
    max_gradient: float | None = None
    clip: str = "element"
    region: Region | None = None

    def check(self) -> Langevin:
        """Itself with its noise known; `ValueError` if a number breaks its rule."""
        check_positive("step_size", self.step_size)
        check_positive("temperature", self.temperature)
        noise_stddev = self.noise_stddev
        if noise_stddev is None:
            noise_stddev = math.sqrt(2.0 * self.step_size)
        check_positive("noise_stddev", noise_stddev, zero_allowed=True)
        check_choice("clip", self.clip, CLIPS)
        if self.max_gradient is not None:
            check_positive("max_gradient", self.max_gradient)
        if self.region is not None:
            self.region.check()
        return self._replace(noise_stddev=noise_stddev)

    def init(self, energy_fn: EnergyFn, x: tf.Tensor) -> LangevinState:
        """The state of chains at `x`, `(batch, ...)`; no energy is taken."""
        del energy_fn
        return LangevinState(tf.convert_to_tensor(x))

    def step(
        self, energy_fn: EnergyFn, state: LangevinState, random: RandomDraws
    ) -> tuple[LangevinState, ChainInfo]:
        """Moves every chain by one step, whose noise it draws."""
        return self.move(energy_fn, state, random.normal(tf.shape(state.x), "langevin"))

    def move(
        self, energy_fn: EnergyFn, state: LangevinState, noise: tf.Tensor
    ) -> tuple[LangevinState, ChainInfo]:
        """Moves every chain by one step; `noise` are normal draws shaped like `x`."""
        x = state.x
        if self.noise_first:
            x = x + self.noise_stddev * noise
        energy, gradient = energy_and_gradient(energy_fn, x)
        drift = gradient / self.temperature
        drift = clip_gradient(drift, self.max_gradient, self.clip)
        moved = x - self.step_size * drift
        if not self.noise_first:
            moved = moved + self.noise_stddev * noise
        if self.region is not None:
            moved = self.region.project(moved)
        return LangevinState(moved), step_info(state.x, moved, energy, gradient)


def langevin_step(
    energy_fn: EnergyFn,
    state: LangevinState,
    noise: tf.Tensor,
    *,
    step_size: float,
    noise_stddev: float,
    **numbers,
) -> tuple[LangevinState, ChainInfo]:
    """Moves every chain by one step of the `Langevin` of these numbers.

    `noise` are standard normal draws shaped like `x`.
    """
    return Langevin(step_size, noise_stddev, **numbers).move(energy_fn, state, noise)


def langevin(
    energy_fn: EnergyFn,
    x: tf.Tensor,
    *,
    num_steps: int,
    random: RandomDraws,
    labels: tf.Tensor | None = None,
    first_step: int = 0,
    keep: bool = False,
    differentiable: bool = False,
    **numbers,
) -> tuple[LangevinState, ChainInfo]:
    """Runs a batch of independent chains by unadjusted Langevin dynamics.

    Each step is `x - step_size * dE/dx / temperature + noise_stddev * N(0, I)`.
    There is no accept step, so chains reach `exp(-E / temperature)` only as
    `step_size` goes to 0 with `noise_stddev = sqrt(2 * step_size)`. With a
    smaller `noise_stddev` they are colder than `temperature` says, by
    `noise_stddev**2 / (2 * step_size)`.

    Args:
        energy_fn: see `run_sampler`.
        x: float tensor of shape `(batch, ...)`, where chains start.
        num_steps: int >= 0; 0 returns `x` unchanged.
        random: see `run_sampler`.
        labels: see `run_sampler`.
        first_step: see `run_sampler`.
        keep: see `run_sampler`.
        differentiable: see `run_sampler`.
        **numbers: `step_size` and the other fields of `Langevin`, by name.

    Returns:
        `(state, info)`: `LangevinState` and `ChainInfo` of `(num_steps, batch)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Welling and Teh (2011), "Bayesian learning via stochastic gradient
          Langevin dynamics".
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, section 3.1.
    """
    sampler = Langevin(**numbers).check()
    return run_sampler(
        sampler,
        energy_fn,
        sampler.init(energy_fn, x),
        num_steps=num_steps,
        random=random,
        labels=labels,
        first_step=first_step,
        keep=keep,
        differentiable=differentiable,
    )
