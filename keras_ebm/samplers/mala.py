"""The Metropolis-adjusted Langevin algorithm, and Hamiltonian Monte Carlo around it."""

from typing import NamedTuple

import tensorflow as tf

from keras_ebm.gradients import EnergyFn, energy_and_gradient, squared_norm


class MALAState(NamedTuple):
    """Where a batch of chains stands; energies in nats."""

    x: tf.Tensor
    energy: tf.Tensor
    gradient: tf.Tensor


def mala_state(energy_fn: EnergyFn, x: tf.Tensor) -> MALAState:
    """The state of chains at `x`, `(batch, ...)`."""
    return MALAState(x, *energy_and_gradient(energy_fn, x))


def mala_step(
    energy_fn: EnergyFn,
    state: MALAState,
    *,
    step_size,
    noise,
    uniform,
    num_leapfrog: int = 1,
):
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
        `(state, acceptance)`: the next state, and each chain's probability
        of having been moved, `(batch,)`.

    References:
        - Roberts and Tweedie (1996), "Exponential convergence of Langevin
          distributions and their discrete approximations".
        - Neal (2011), "MCMC using Hamiltonian dynamics", sections 2 and 5.2.
    """
    length = tf.sqrt(2.0 * step_size)
    proposal, momentum = state, noise
    for _ in range(num_leapfrog):
        momentum -= 0.5 * length * proposal.gradient
        proposal = mala_state(energy_fn, proposal.x + length * momentum)
        momentum -= 0.5 * length * proposal.gradient
    log_ratio = state.energy - proposal.energy
    log_ratio += 0.5 * (squared_norm(noise) - squared_norm(momentum))
    accepted = tf.math.log(uniform) < log_ratio
    pick = tf.reshape(accepted, [-1, *[1] * (len(state.x.shape) - 1)])
    following = MALAState(
        tf.where(pick, proposal.x, state.x),
        tf.where(accepted, proposal.energy, state.energy),
        tf.where(pick, proposal.gradient, state.gradient),
    )
    return following, tf.exp(tf.minimum(log_ratio, 0.0))


def mala(
    energy_fn: EnergyFn,
    state: MALAState,
    *,
    num_steps: int,
    step_size,
    random,
    name: str,
    num_leapfrog: int = 1,
):
    """Runs a batch of chains for a few steps.

    Args:
        energy_fn: callable from `(batch, ...)` to energies `(batch,)`.
        state: `MALAState` to start from.
        num_steps: int >= 0; the steps are unrolled.
        step_size: tau > 0, scalar.
        random: `keras_ebm.random.StepRandom`.
        name: str, keys the noise.
        num_leapfrog: see `mala_step`.

    Returns:
        `(state, acceptance)`: where the chains end, and the mean probability
        of acceptance, a scalar (1 for no steps).
    """
    rates = []
    for i in range(num_steps):
        state, rate = mala_step(
            energy_fn,
            state,
            step_size=step_size,
            noise=random.normal(tf.shape(state.x), f"{name}_noise_{i}"),
            uniform=random.uniform([tf.shape(state.x)[0]], f"{name}_accept_{i}", 1e-12),
            num_leapfrog=num_leapfrog,
        )
        rates.append(tf.reduce_mean(rate))
    return state, tf.add_n(rates) / num_steps if rates else tf.ones([])
