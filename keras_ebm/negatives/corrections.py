"""Negatives nearer to `p` than the generator's samples, and made from them."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_ebm.arguments import check_share, check_size
from keras_ebm.gradients import EnergyFn
from keras_ebm.negatives.base import Negatives
from keras_ebm.negatives.moves import MALAMoves
from keras_ebm.protocols import RandomDraws
from keras_ebm.samplers import importance
from keras_ebm.samplers.mala import MALAState
from keras_ebm.saveable import Saveable


class Proposal(NamedTuple):
    """Samples of a generator as a correction sees them.

    `x` `(batch, ...)` with energies and `dE/dx` there, `log q(x)` where known,
    the latents and noise that made them, and `decode(latents, noise) -> x`.
    """

    x: tf.Tensor
    energy: tf.Tensor
    gradient: tf.Tensor
    log_density: tf.Tensor | None
    latents: tf.Tensor
    noise: tf.Tensor
    decode: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Correction(Saveable, keras.layers.Layer):
    """Base of what turns a generator's samples into better negatives."""

    #: Whether `log q(x)` of the samples is needed.
    needs_log_density = False
    #: Names of the scalars that it logs.
    log_names: tuple[str, ...] = ()

    def __init__(self, **kwargs):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)

    def correct(
        self, energy_fn: EnergyFn, proposal: Proposal, random: RandomDraws
    ) -> Negatives:
        """Makes the negatives of one step; no gradient flows through them."""
        raise NotImplementedError


class _HeldMoves(MALAMoves):
    """Moves whose step size is in the state of the correction that holds them."""

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


class _MovingCorrection(Correction):
    """A correction that moves samples by `moves`, made of its own arguments.

    In a file they are the correction's arguments and the step size is its variable,
    as in every version.
    """

    def __init__(self, *arguments, **kwargs):
        settings = {n: kwargs.pop(n) for n in MALAMoves._values if n in kwargs}
        super().__init__(**kwargs)
        self.moves = _HeldMoves(
            *arguments, **settings, name=self.name, dtype=self.dtype_policy
        )
        self.built = True

    def get_config(self):
        settings = {name: getattr(self.moves, name) for name in MALAMoves._values}
        return {**super().get_config(), **settings}

    def save_own_variables(self, store):
        store["0"] = self.moves.step_size

    def load_own_variables(self, store):
        self.moves.step_size.assign(store["0"])


@keras.saving.register_keras_serializable(package="keras_ebm")
class ImportanceCorrection(_MovingCorrection):
    """Weights samples of `q` towards `p`, then resamples and moves them.

    `w = exp(-E(x)) / q(x)`, normalised over the batch (over a replica's share of
    it), makes the gradient of the likelihood right wherever the generator lags
    behind the energy. With `num_steps` the samples are drawn anew by their
    weights and moved by MALA, which separates the copies; without, the weights
    enter the loss. Needs an entropy estimator that gives `log q(x)`.

    Args:
        num_steps: int >= 0, MALA steps after resampling; 0 uses the weights alone.
        minimum_share: float in [0, 1), least effective sample size as a share
            of the batch: the weights are raised to the largest power below 1
            that leaves it (tempering). 0: no tempering.
        initial_step_size: float > 0, of MALA, in squared units of `x` per nat.
        target_acceptance: float in (0, 1) that the step size is adapted to.
        adaptation_rate: float > 0, of the log of the step size.
        **kwargs: `num_leapfrog` (see `MALAMoves`), and arguments of
            `keras.layers.Layer`.

    References:
        - Douc and Cappe (2005), "Comparison of resampling schemes for particle
          filtering".
    """

    _values = ("minimum_share",)
    needs_log_density = True

    def __init__(
        self,
        num_steps: int = 3,
        minimum_share: float = 0.0,
        initial_step_size: float = 0.01,
        target_acceptance: float = 0.6,
        adaptation_rate: float = 0.05,
        **kwargs,
    ):
        if num_steps:
            check_size("num_steps", num_steps)
        super().__init__(
            num_steps, initial_step_size, target_acceptance, adaptation_rate, **kwargs
        )
        self.minimum_share = check_share(
            "minimum_share", minimum_share, zero_allowed=True
        )
        names = ["negatives_effective_share"]
        names += ["tempering"] if minimum_share else []
        names += ["mala_acceptance", "mala_step_size"] if num_steps else []
        self.log_names = tuple(names)

    def correct(self, energy_fn: EnergyFn, proposal: Proposal, random: RandomDraws):
        log_weights = -proposal.energy - proposal.log_density
        logs = {}
        if self.minimum_share:
            logs["tempering"] = importance.tempering(log_weights, self.minimum_share)
            log_weights *= logs["tempering"]
        weights = importance.normalised_weights(log_weights)
        logs["negatives_effective_share"] = importance.effective_share(weights)
        if not self.moves.num_steps:
            return Negatives(proposal.x, weights, logs)
        uniform = random.uniform([1], "resampling")[0]
        kept = importance.systematic_resampling(weights, uniform)
        state = MALAState(
            *(
                tf.gather(part, kept)
                for part in (proposal.x, proposal.energy, proposal.gradient)
            )
        )
        state, moves = self.moves.move_state(energy_fn, state, random)
        return Negatives(state.x, None, {**logs, **moves})


@keras.saving.register_keras_serializable(package="keras_ebm")
class LatentRefinement(_MovingCorrection):
    """Moves samples by MALA over latent and noise, towards low energy.

    The chain's target is `exp(-E(x)) N(z; 0, I) N(noise; 0, I)` with
    `x = g(z) + sigma * noise`: samples of `q(x) exp(-E(x))`, not of `p`, but of
    a density that the generator can reach; it needs no `log q(x)`. Without the
    prior's factors the latents would wander off to where no sample comes from.

    Args:
        num_steps: int >= 1.
        initial_step_size: float > 0, in squared units of the latent per nat.
        target_acceptance: float in (0, 1) that the step size is adapted to.
        adaptation_rate: float > 0, of the log of the step size.
        **kwargs: `num_leapfrog` (see `MALAMoves`), and arguments of
            `keras.layers.Layer`.
    """

    log_names = ("mala_acceptance", "mala_step_size")

    def __init__(
        self,
        num_steps: int = 5,
        initial_step_size: float = 0.01,
        target_acceptance: float = 0.6,
        adaptation_rate: float = 0.05,
        **kwargs,
    ):
        check_size("num_steps", num_steps)
        super().__init__(
            num_steps, initial_step_size, target_acceptance, adaptation_rate, **kwargs
        )

    def correct(self, energy_fn: EnergyFn, proposal: Proposal, random: RandomDraws):
        latent_dim = proposal.latents.shape[-1]
        rows = tf.shape(proposal.noise)[0]
        shape = tf.shape(proposal.noise)

        def decode(position):
            noise = tf.reshape(position[:, latent_dim:], shape)
            return proposal.decode(position[:, :latent_dim], noise)

        def latent_energy(position):
            prior = 0.5 * tf.reduce_sum(tf.square(position), axis=-1)
            return energy_fn(decode(position)) + prior

        noise = tf.reshape(proposal.noise, [rows, -1])
        start = tf.concat([proposal.latents, noise], axis=-1)
        position, logs = self.moves.move(latent_energy, start, random)
        return Negatives(decode(position), None, logs)
