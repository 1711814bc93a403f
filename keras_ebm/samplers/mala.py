"""The Metropolis-adjusted Langevin algorithm, and Hamiltonian Monte Carlo around it."""

from typing import NamedTuple

import tensorflow as tf

from keras_ebm.gradients import EnergyFn, energy_and_gradient, squared_norm
from keras_ebm.protocols import RandomDraws
from keras_ebm.samplers.chain import ChainInfo, run_sampler, step_info


class MALAState(NamedTuple):
    """Where a batch of chains stands; energies in nats."""

    x: tf.Tensor
    energy: tf.Tensor
    gradient: tf.Tensor


def mala_state(energy_fn: EnergyFn, x: tf.Tensor) -> MALAState:
    """The state of chains at `x`, `(batch, ...)`."""
    return MALAState(x, *energy_and_gradient(energy_fn, x))


def choose(accepted: tf.Tensor, proposal: MALAState, state: MALAState) -> MALAState:
    """The proposal of those chains that accepted it, the state of the others."""
    pick = tf.reshape(accepted, [-1, *[1] * (len(state.x.shape) - 1)])
    return MALAState(
        tf.where(pick, proposal.x, state.x),
        tf.where(accepted, proposal.energy, state.energy),
        tf.where(pick, proposal.gradient, state.gradient),
    )


def leapfrog(
    energy_fn: EnergyFn,
    state: MALAState,
    momentum: tf.Tensor,
    *,
    length: float | tf.Tensor,
    num_leapfrog: int,
):
    """Follows the Hamiltonian `E(x) + ||momentum||^2 / 2`.

    Args:
        energy_fn: callable from `(batch, ...)` to energies `(batch,)`.
        state: `MALAState`.
        momentum: shaped like `x`.
        length: scalar > 0 of one leapfrog step, in units of `x`.
        num_leapfrog: int >= 1, gradients taken.

    Returns:
        `(state, momentum)` at the end. From there with the momentum turned
        round, the same steps lead back.
    """
    for _ in range(num_leapfrog):
        momentum -= 0.5 * length * state.gradient
        state = mala_state(energy_fn, state.x + length * momentum)
        momentum -= 0.5 * length * state.gradient
    return state, momentum


def mala_step(
    energy_fn: EnergyFn,
    state: MALAState,
    *,
    step_size: float | tf.Tensor,
    noise: tf.Tensor,
    uniform: tf.Tensor,
    num_leapfrog: int = 1,
) -> tuple[MALAState, ChainInfo]:
    """Proposes `x - tau dE/dx + sqrt(2 tau) noise`, and accepts or stays.

    Leaves `exp(-E) / Z` invariant for any step size. It is the transition of
    Hamiltonian Monte Carlo with one leapfrog step of length `sqrt(2 tau)` and
    momentum `noise`; with `num_leapfrog` above 1 a proposal follows the
    Hamiltonian for that many, and goes as much farther.

    Args:
        energy_fn: callable from `(batch, ...)` to energies `(batch,)`.
        state: `MALAState`.
        step_size: tau > 0, in units of `x` squared per nat.
        noise: standard normal draws shaped like `x`.
        uniform: `(batch,)` uniform draws in `(0, 1)`.
        num_leapfrog: int >= 1, gradients of the energy a proposal takes.

    Returns:
        `(state, info)`: the next `MALAState`, and a `ChainInfo` whose
        acceptance is each chain's probability of having been moved.

    References:
        - Roberts and Tweedie (1996), "Exponential convergence of Langevin
          distributions and their discrete approximations".
        - Neal (2011), "MCMC using Hamiltonian dynamics", sections 2 and 5.2.
    """
    proposal, momentum = leapfrog(
        energy_fn,
        state,
        noise,
        length=tf.sqrt(2.0 * step_size),
        num_leapfrog=num_leapfrog,
    )
    log_ratio = state.energy - proposal.energy
    log_ratio += 0.5 * (squared_norm(noise) - squared_norm(momentum))
    following = choose(tf.math.log(uniform) < log_ratio, proposal, state)
    return following, step_info(
        state.x,
        following.x,
        following.energy,
        following.gradient,
        tf.exp(tf.minimum(log_ratio, 0.0)),
    )


class MALA(NamedTuple):
    """The numbers of a transition of MALA, and the transition; see `mala_step`."""

    step_size: float
    num_leapfrog: int = 1

    def init(self, energy_fn: EnergyFn, x: tf.Tensor) -> MALAState:
        """The state of chains at `x`, `(batch, ...)`."""
        return mala_state(energy_fn, x)

    def step(
        self, energy_fn: EnergyFn, state: MALAState, random: RandomDraws
    ) -> tuple[MALAState, ChainInfo]:
        """Takes one transition, whose draws it makes."""
        return mala_step(
            energy_fn,
            state,
            step_size=self.step_size,
            noise=random.normal(tf.shape(state.x), "mala"),
            uniform=random.uniform([tf.shape(state.x)[0]], "accept"),
            num_leapfrog=self.num_leapfrog,
        )


def mala(
    energy_fn: EnergyFn,
    state: MALAState,
    *,
    num_steps: int,
    step_size: float | tf.Tensor,
    random: RandomDraws,
    num_leapfrog: int = 1,
    first_step: int = 0,
    keep: bool = False,
) -> tuple[MALAState, ChainInfo]:
    """Runs a batch of chains.

    Args:
        energy_fn: callable from `(batch, ...)` to energies `(batch,)`.
        state: `MALAState` to start from.
        num_steps: int >= 0.
        step_size: tau > 0, scalar.
        random: see `run_sampler`.
        num_leapfrog: see `mala_step`.
        first_step: see `run_sampler`.
        keep: see `run_sampler`.

    Returns:
        `(state, info)`: where the chains end, and `ChainInfo` of shape
        `(num_steps, batch)`.
    """
    return run_sampler(
        MALA(step_size, num_leapfrog),
        energy_fn,
        state,
        num_steps=num_steps,
        random=random,
        first_step=first_step,
        keep=keep,
    )
