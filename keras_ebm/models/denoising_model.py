"""Energies of data under every level of noise, trained by denoising."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.models.base import BaseEnergyModel, Drawn
from keras_ebm.models.batches import Batch
from keras_ebm.networks import ReconstructionEnergy
from keras_ebm.objectives import data_mean
from keras_ebm.protocols import RandomDraws


@keras.saving.register_keras_serializable(package="keras_ebm")
class DenoisingModel(BaseEnergyModel):
    """`E(x, s)` for each standard deviation `s` of noise, by denoising score matching.

    One step adds noise to a batch, of a standard deviation drawn for each row between
    the network's `low` and `high`, even in its logarithm, and descends
    `w(s) ||s dE/dx - e||^2 / (2 dim)` where `e` is the noise in units of `s` and
    `w = 1 + s^2 / data_stddev^2`. No chains are needed, and `dE/dx` is right near the
    data and far from them, where noise is large.

    Args:
        network: `keras_ebm.networks.ReconstructionEnergy`.
        preprocessor: see `EnergyModel`.
        seed: see `EnergyModel`.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: raw inputs.

    Returns:
        `-E(x, low)` of shape `(batch, 1)`.

    Raises:
        ValueError: if the network has no levels.

    References:
        - Vincent (2011), "A connection between score matching and denoising
          autoencoders", Neural Computation 23(7), equation 9.
        - Song and Ermon (2019), https://arxiv.org/abs/1907.05600, section 4.2.
    """

    _parts = ("network", "preprocessor")
    _values = ("seed", "trained_on")
    # A constant added to an energy changes no score: its gradient is zero.
    _may_be_constant = True

    def __init__(
        self,
        network: ReconstructionEnergy,
        *,
        preprocessor: keras.layers.Layer | None = None,
        seed: int = 0,
        **kwargs,
    ):
        if not hasattr(network, "level_energy"):
            raise ValueError(
                "`network` must be an energy of levels of noise, "
                "keras_ebm.networks.ReconstructionEnergy. Received: network="
                f"{network!r}."
            )
        super().__init__(network, preprocessor=preprocessor, seed=seed, **kwargs)

    def noise_losses(self, x: tf.Tensor, random: RandomDraws, training: bool = False):
        """Losses `(batch,)` of preprocessed data under drawn levels of noise."""
        low, high = self.network.low, self.network.high
        rows = tf.shape(x)[:1]
        drawn = random.uniform(rows, "levels", math.log(low), math.log(high))
        stddev = tf.exp(drawn)
        wide = tf.reshape(stddev, [-1, *[1] * (x.shape.rank - 1)])
        noise = random.normal(tf.shape(x), "denoising")

        def energy_fn(inputs):
            return self.network.level_energy(inputs, stddev, training)

        _, gradient = energy_and_gradient(energy_fn, x + wide * noise)
        weight = 1.0 + tf.square(stddev / self.network.data_stddev)
        dim = math.prod(x.shape[1:])
        return 0.5 * weight * squared_norm(noise - wide * gradient) / dim

    def step_loss(self, batch: Batch, drawn: Drawn):
        losses = self.noise_losses(batch.x, batch.random, training=True)
        loss = data_mean(losses, batch.weights)
        logged = losses if batch.weights is None else (losses, batch.weights)
        return loss, {"loss": logged}

    def test_loss(self, batch: Batch):
        losses = self.noise_losses(batch.x, batch.random)
        logged = losses if batch.weights is None else (losses, batch.weights)
        return losses, {"loss": logged, "data_energy": self.inputs_energy(batch.x)}
