"""Chains in the latent space of a generator, for the models that have one."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.restore.corruption import Corruption, per_row
from keras_ebm.samplers import langevin


class LatentWalk(NamedTuple):
    """Chains of latents `z` on `a E(g(z)) + w nll(g(z)) + ||z||^2 / 2`.

    What they restore to is always an output of the generator, with the entries that
    are known put back.

    Attributes:
        num_steps: int >= 1.
        step_size: float > 0, in units of `z` squared per nat.
        noise_stddev: float >= 0, in units of `z`.
        energy_weight: float >= 0, `a`; at 0 the generator's own density alone counts.
        likelihood_weight: float > 0, `w`.
        tolerance: float > 0, in units of `x`: how far known entries of `g(z)` may be
            off, as the standard deviation of a Gaussian likelihood of them.
        tries: int >= 1, latents drawn for each chain, the likeliest of which it starts
            from.
    """

    num_steps: int
    step_size: float = 0.01
    noise_stddev: float = 0.0
    energy_weight: float = 0.0
    likelihood_weight: float = 1.0
    tolerance: float = 0.3
    tries: int = 16

    def run(
        self,
        energy: Any,
        observed: tf.Tensor,
        corruption: Corruption,
        random: RandomDraws,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Where chains end, and their energies.

        Args:
            energy: model with a `generator`, such as `VERA`.
            observed: `(batch, ...)`.
            corruption: of `observed`.
            random: draws.

        Raises:
            ValueError: if a setting breaks its rule or the model has no generator.
        """
        check_size("num_steps", self.num_steps)
        check_size("tries", self.tries)
        check_positive("tolerance", self.tolerance)
        generator = getattr(energy, "generator", None)
        if generator is None:
            raise ValueError(
                "`energy` must be a model with a generator, as VERA. Received: a "
                f"{type(energy).__name__}; walk it by EnergyWalk."
            )
        start, fixed = corruption.start(observed), corruption.fixed(observed)

        def decode(z):
            return generator.decoder(z, training=False)

        def misfit(x):
            nll = corruption.negative_log_likelihood(x, observed)
            if fixed is None:
                return nll
            off = tf.where(fixed, x - start, tf.zeros_like(x)) / self.tolerance
            return nll + 0.5 * per_row(tf.square(off))

        def joint(z):
            x = decode(z)
            loss = self.likelihood_weight * misfit(x) + 0.5 * per_row(tf.square(z))
            if self.energy_weight:
                loss += self.energy_weight * energy.inputs_energy(x)
            return loss

        z = self._likeliest(joint, tf.shape(observed)[0], generator.latent_dim, random)
        state, _ = langevin(
            joint,
            z,
            num_steps=self.num_steps,
            step_size=self.step_size,
            noise_stddev=self.noise_stddev,
            random=random,
        )
        x = decode(state.x)
        x = x if fixed is None else tf.where(fixed, start, x)
        return x, energy.inputs_energy(x)

    def _likeliest(self, joint, rows, latent_dim, random):
        """For each row the best of so many draws."""
        drawn = random.normal([self.tries, rows, latent_dim], "latents")
        found = tf.map_fn(joint, drawn)
        best = tf.argmin(found, axis=0, output_type=tf.int32)
        return tf.gather_nd(drawn, tf.stack([best, tf.range(rows)], axis=1))
