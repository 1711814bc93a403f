"""What every loss that needs no sampler answers to."""

import keras
import tensorflow as tf

from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.saveable import Saveable


class Criterion(Saveable):
    """Base of the losses of a density that need no samples of the model.

    Call arguments:
        energy_fn: callable from `(batch, ...)` to energies `(batch,)` in nats,
            each of its own row alone. Called on `x` itself where the energy of
            the data is wanted, so that a caller can read it off.
        x: float tensor `(batch, ...)`, the data.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        Losses `(batch,)`, differentiable in the weights behind `energy_fn`.
    """

    def __call__(self, energy_fn: EnergyFn, x: tf.Tensor, random: RandomDraws):
        raise NotImplementedError

    def check_network(self, network: keras.Model) -> None:
        """Raises ValueError if `network` cannot be trained by this criterion."""
