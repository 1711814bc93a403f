"""Noise-contrastive estimation: tells data from data with noise on it."""

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.objectives.criterion import Criterion
from keras_ebm.protocols import EnergyFn, RandomDraws


@keras.saving.register_keras_serializable(package="keras_ebm")
class ConditionalNoiseContrastive(Criterion):
    """`2 mean_k softplus(E(x) - E(x_k))`, `x_k = x + stddev * N(0, I)`.

    The noise is symmetric, so its own density drops out of the comparison, and
    so does `Z`. The true density is a minimiser at any `stddev`; a small one
    tends to score matching, a large one compares with what nothing resembles.

    Args:
        stddev: float > 0, in units of the preprocessed input.
        num_noise: int >= 1, noisy copies of each row.

    Call arguments, returns: see `Criterion`. At least 0; `2 log 2` where the
    energy is flat.

    References:
        - Ceylan and Gutmann (2018), "Conditional noise-contrastive estimation
          of unnormalised models", https://arxiv.org/abs/1806.03664, section 2.
    """

    _values = ("stddev", "num_noise")

    def __init__(self, stddev: float, num_noise: int = 1):
        self.stddev = check_positive("stddev", stddev)
        self.num_noise = check_size("num_noise", num_noise)

    def __call__(self, energy_fn: EnergyFn, x: tf.Tensor, random: RandomDraws):
        energy = energy_fn(x)
        losses = []
        for index in range(self.num_noise):
            noise = random.normal(tf.shape(x), f"noise_{index}")
            noisy_energy = energy_fn(x + self.stddev * noise)
            losses.append(tf.math.softplus(energy - noisy_energy))
        return 2.0 * tf.add_n(losses) / self.num_noise
