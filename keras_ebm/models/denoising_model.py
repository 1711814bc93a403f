"""Energies of data under every level of noise, trained by denoising."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from keras_ebm.arguments import check_share
from keras_ebm.gradients import energy_and_gradient
from keras_ebm.models.base import BaseEnergyModel, Drawn
from keras_ebm.models.batches import Batch
from keras_ebm.networks import ReconstructionEnergy
from keras_ebm.objectives import data_mean
from keras_ebm.protocols import RandomDraws


@keras.saving.register_keras_serializable(package="keras_ebm")
class DenoisingModel(BaseEnergyModel):
    """`E(x, s)` for each standard deviation `s` of noise, by denoising score matching.

    One step adds noise to a batch, of a standard deviation drawn for each row between
    the network's `low` and `high`, even in its logarithm, and descends the mean of
    `w(s) (s dE/dx - e)^2 / 2` where `e` is the noise in units of `s` and
    `w = 1 + s^2 / data_stddev^2`. In a share of the rows two such levels are drawn, one
    for some entries and one for the others: those of a box where rows are images, or
    any. So the energy learns what known entries say of others. No chains are needed,
    and `dE/dx` is right near the data and far from them, where noise is large.

    Args:
        network: `keras_ebm.networks.ReconstructionEnergy`.
        mixed_share: float in [0, 1), share of the rows with two levels.
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
    _values = ("mixed_share", "seed", "trained_on")
    # A constant added to an energy changes no score: its gradient is zero.
    _may_be_constant = True

    def __init__(
        self,
        network: ReconstructionEnergy,
        *,
        mixed_share: float = 0.6,
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
        self.mixed_share = check_share("mixed_share", mixed_share, zero_allowed=True)

    def noise_levels(self, x: tf.Tensor, random: RandomDraws):
        """Standard deviations of noise for each entry of `x`, of its shape."""
        ends = math.log(self.network.low), math.log(self.network.high)
        rows = [tf.shape(x)[0], *[1] * (x.shape.rank - 1)]
        one, other = (random.uniform(rows, f"level_{i}", *ends) for i in range(2))
        chosen = random.uniform(tf.shape(x), "entries") < random.uniform(rows, "share")
        if x.shape.rank == 4:
            chosen = tf.where(
                random.uniform(rows, "kind") < 0.5, chosen, _box(x, random)
            )
        mixed = random.uniform(rows, "mixed") < self.mixed_share
        return tf.exp(tf.where(mixed & chosen, other, one))

    def noise_losses(self, x: tf.Tensor, random: RandomDraws, training: bool = False):
        """Losses `(batch,)` of preprocessed data under drawn levels of noise."""
        stddev = self.noise_levels(x, random)
        noise = random.normal(tf.shape(x), "denoising")

        def energy_fn(inputs):
            return self.network.level_energy(inputs, stddev, training)

        _, gradient = energy_and_gradient(energy_fn, x + stddev * noise)
        weight = 1.0 + tf.square(stddev / self.network.data_stddev)
        errors = 0.5 * weight * tf.square(noise - stddev * gradient)
        return tf.reduce_mean(errors, axis=list(range(1, x.shape.rank)))

    def step_loss(self, batch: Batch, drawn: Drawn):
        losses = self.noise_losses(batch.x, batch.random, training=True)
        loss = data_mean(losses, batch.weights)
        logged = losses if batch.weights is None else (losses, batch.weights)
        return loss, {"loss": logged}

    def test_loss(self, batch: Batch):
        losses = self.noise_losses(batch.x, batch.random)
        logged = losses if batch.weights is None else (losses, batch.weights)
        return losses, {"loss": logged, "data_energy": self.inputs_energy(batch.x)}


def _box(x, random):
    """Booleans `(batch, height, width, 1)`: True in a box of each image."""
    rows = tf.shape(x)[0]
    inside = []
    for axis in (1, 2):
        edges = random.uniform([rows, 2], f"edges_{axis}", -0.25, 1.25)
        size = tf.cast(tf.shape(x)[axis], tf.float32)
        places = (tf.range(size) + 0.5) / size
        low, high = tf.split(tf.sort(edges, axis=1), 2, axis=1)
        inside.append((places >= low) & (places < high))
    return inside[0][:, :, None, None] & inside[1][:, None, :, None]
