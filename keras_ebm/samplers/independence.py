"""Metropolis steps whose proposals do not depend on where a chain stands."""

from typing import NamedTuple

import tensorflow as tf

from keras_ebm.gradients import EnergyFn, squared_norm
from keras_ebm.protocols import RandomDraws
from keras_ebm.samplers.chain import ChainInfo, step_info
from keras_ebm.samplers.mala import MALAState, choose, mala_state


def normal_jump(
    energy_fn: EnergyFn,
    state: MALAState,
    *,
    stddev: float,
    noise: tf.Tensor,
    uniform: tf.Tensor,
) -> tuple[MALAState, ChainInfo]:
    """Proposes a draw of `N(0, stddev^2 I)`, and accepts or stays.

    Leaves `exp(-E) / Z` invariant. In a few dimensions such jumps carry chains
    between modes that MALA does not cross; in many none is accepted.

    Args:
        energy_fn: callable from `(batch, ...)` to energies `(batch,)`.
        state: `MALAState`.
        stddev: float > 0 in units of `x`, wide enough to cover the density.
        noise: standard normal draws shaped like `x`.
        uniform: `(batch,)` uniform draws in `(0, 1)`.

    Returns:
        `(state, info)`: the next `MALAState`, and `ChainInfo`.

    References:
        - Tierney (1994), "Markov chains for exploring posterior distributions",
          section 2.3.3.
    """
    proposal = mala_state(energy_fn, stddev * noise)
    log_ratio = state.energy - proposal.energy
    log_ratio += 0.5 * (squared_norm(noise) - squared_norm(state.x / stddev))
    accepted = tf.math.log(uniform) < log_ratio
    following = choose(accepted, proposal, state)
    acceptance = tf.exp(tf.minimum(log_ratio, 0.0))
    return following, step_info(
        state.x, following.x, following.energy, following.gradient, acceptance
    )


class NormalJump(NamedTuple):
    """The number of a jump, and the jump; see `normal_jump`."""

    stddev: float

    def init(self, energy_fn: EnergyFn, x: tf.Tensor) -> MALAState:
        """The state of chains at `x`, `(batch, ...)`."""
        return mala_state(energy_fn, x)

    def step(
        self, energy_fn: EnergyFn, state: MALAState, random: RandomDraws
    ) -> tuple[MALAState, ChainInfo]:
        """Proposes one jump, whose draws it makes."""
        return normal_jump(
            energy_fn,
            state,
            stddev=self.stddev,
            noise=random.normal(tf.shape(state.x), "jump"),
            uniform=random.uniform([tf.shape(state.x)[0]], "jump_accept"),
        )
