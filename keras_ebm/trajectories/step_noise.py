"""Negatives of transitions: what a one-step Gaussian takes to come next."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_ebm.arguments import check_integer, check_positive, check_size
from keras_ebm.negatives import Negatives, NegativeSource
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.samplers.langevin import langevin
from keras_ebm.saveable import Saveable
from keras_ebm.trajectories.gaussian_step import GaussianStep, check_step
from keras_ebm.trajectories.residuals import walk_residuals
from keras_ebm.trajectories.windows import with_next


@keras.saving.register_keras_serializable(package="keras_ebm")
class StepNoise(Saveable, NegativeSource, keras.layers.Layer):
    """Windows whose last state is drawn by a `GaussianStep`, the others as they are.

    Under the logistic objective the network's energy becomes minus the log-ratio of the
    data's density of the next state to the Gaussian's: noise contrastive estimation.
    What comes next is drawn by importance resampling: of `candidates` draws one is
    picked with probability in proportion to that ratio. In many dimensions no draw is
    right in all of them, and `num_steps` Langevin steps go on from there, over the
    residuals in units of the Gaussian.

    Args:
        step: `GaussianStep`, fitted; it is no longer trained.
        copies: int >= 1, negatives of each row.
        candidates: int >= 1, of which `next_states` picks one.
        num_steps: int >= 0, Langevin steps of `next_states`, at temperature 1.
        step_size: float > 0, of these, in squared units of the Gaussian per nat.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Gutmann and Hyvarinen (2010), "Noise-contrastive estimation".
        - Grover et al. (2019), https://arxiv.org/abs/1906.09531: resampling by a ratio.
    """

    _parts = ("step",)
    _values = ("copies", "candidates", "num_steps", "step_size")
    computes = True

    def __init__(
        self,
        step: GaussianStep,
        copies: int = 4,
        candidates: int = 50,
        num_steps: int = 0,
        step_size: float = 0.02,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        if step is None:
            raise ValueError("`step` must be a GaussianStep. Received: step=None.")
        self.step = check_step(step)
        self.copies = check_size("copies", copies)
        self.candidates = check_size("candidates", candidates)
        self.num_steps = check_integer("num_steps", num_steps)
        check_positive("num_steps", self.num_steps, zero_allowed=True)
        self.step_size = check_positive("step_size", step_size)
        self.built = True

    def base_energy(self, rows: tf.Tensor) -> tf.Tensor:
        """What the network's energy is added to, `(batch,)` nats."""
        return self.step.row_energy(rows)

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
    ) -> Negatives:
        del energy_fn, labels, training, start, last_steps
        past = tf.repeat(x[:, :-1], self.copies, axis=0)
        made = with_next(past, self.step.next_states(past, random))
        return Negatives(tf.stop_gradient(made), None, {})

    def next_states(
        self, correction: EnergyFn, past: tf.Tensor, random: RandomDraws
    ) -> tf.Tensor:
        """Draws of the Gaussian, resampled by what the network knows better.

        Args:
            correction: the network's own energy of standardised windows.
            past: `(n, past, state)`, standardised.
            random: `keras_ebm.random.StepRandom`.

        Returns:
            `(n, state)`, standardised.
        """
        repeated = tf.repeat(past, self.candidates, axis=0)
        drawn = self.step.next_states(repeated, random)
        energies = correction(with_next(repeated, drawn))
        energies = tf.reshape(energies, [-1, self.candidates])
        uniform = random.uniform(tf.shape(energies), "candidate")
        # The largest of log-weights with Gumbel noise is a draw by the weights.
        noisy = -energies - tf.math.log(-tf.math.log(uniform))
        picked = tf.argmax(noisy, axis=1, output_type=tf.int32)
        size = past.shape[-1]
        drawn = tf.reshape(drawn, [-1, self.candidates, size])
        after = tf.gather(drawn, picked, batch_dims=1)
        return self._walk(correction, past, after, random) if self.num_steps else after

    def _walk(self, correction, past, after, random):
        def energy_fn(rows):
            return correction(rows) + self.base_energy(rows)

        def walk(energy_of):
            return langevin(
                energy_of,
                self.step.whiten(past, after),
                num_steps=self.num_steps,
                random=random,
                step_size=self.step_size,
            )

        return walk_residuals(self.step, energy_fn, past, walk)[0]
