"""The entropy of a generator from a bound on how much a sample tells of its latent."""

import math

import keras
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_size
from keras_ebm.entropy.base import Draw, EntropyEstimator, Estimate
from keras_ebm.networks.mlp import mlp_energy
from keras_ebm.protocols import DensityGenerator, RandomDraws

BOUNDS = ("jensen_shannon", "donsker_varadhan")


@keras.saving.register_keras_serializable(package="keras_ebm")
class MutualInformation(EntropyEstimator):
    """Ascends a lower bound on `I(x; z)`, since `H(q) = I(x; z) + D log sigma + const`.

    A critic `T(x, z)`, trained beside, tells a sample and its own latent from a
    sample and another's. It needs no density `q(x|z)`, so any decoder
    serves. The bound is only as good as the critic.

    Args:
        bound: `"jensen_shannon"`, bounded and the steadier, whose gradient points
            the right way but is not in nats; or `"donsker_varadhan"`,
            `E[T] - log E[exp T]` in nats, which cannot show more than about
            the log of the batch's number of pairs.
        hidden: widths of the critic's layers.
        **kwargs: forwarded to `keras.layers.Layer`.

    References:
        - Kumar et al. (2019), "Maximum entropy generators for energy-based
          models", https://arxiv.org/abs/1901.08508.
        - Hjelm et al. (2019), "Learning deep representations by mutual
          information estimation and maximization",
          https://arxiv.org/abs/1808.06670, equation 4.
        - Belghazi et al. (2018), "Mutual information neural estimation",
          https://arxiv.org/abs/1801.04062.
    """

    _values = ("bound", "hidden")

    learns = True
    log_names = ("mutual_information",)

    def __init__(
        self,
        bound: str = "jensen_shannon",
        hidden: tuple[int, ...] = (128, 128),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.bound = check_choice("bound", bound, BOUNDS)
        self.hidden = tuple(check_size("hidden", width) for width in hidden)

    def build_for(self, generator: DensityGenerator):
        if not self.built:
            size = math.prod(generator.sample_shape)
            self.build((None, size + generator.latent_dim))

    def build(self, input_shape):
        self.critic = mlp_energy((input_shape[-1],), hidden=self.hidden)
        self.built = True

    def get_build_config(self):
        if not self.built:
            return None
        return {"input_shape": [None, self.critic.input_shape[-1]]}

    def build_from_config(self, config):
        if not self.built:
            self.build(tuple(config["input_shape"]))

    def information(self, x: tf.Tensor, latents: tf.Tensor):
        """The bound on `I(x; z)` of one batch, a scalar.

        Args:
            x: `(batch, ...)` samples.
            latents: `(batch, k)`, the latents that made them.
        """
        flat = tf.reshape(x, [tf.shape(x)[0], -1])
        # Every sample with its neighbour's latent: independent pairs.
        others = tf.roll(latents, 1, axis=0)
        together = self.critic(tf.concat([flat, latents], axis=-1))
        apart = self.critic(tf.concat([flat, others], axis=-1))
        if self.bound == "jensen_shannon":
            # Minus the loss of telling the two kinds of pairs apart, plus its
            # value for a critic that cannot.
            bound = -tf.reduce_mean(tf.math.softplus(-together))
            return bound - tf.reduce_mean(tf.math.softplus(apart)) + 2.0 * math.log(2.0)
        count = tf.cast(tf.shape(x)[0], tf.float32)
        return (
            tf.reduce_mean(together) - tf.reduce_logsumexp(apart) + tf.math.log(count)
        )

    def prepare(self, generator: DensityGenerator, draw: Draw, random: RandomDraws):
        return {"information": self.information(draw.x, draw.latents)}

    def estimate(
        self, generator: DensityGenerator, draw: Draw, prepared: dict[str, tf.Tensor]
    ):
        information = self.information(draw.x, draw.latents)
        return Estimate(information + generator.log_noise_volume)

    def loss(self, generator: DensityGenerator, draw: Draw, random: RandomDraws):
        """Minus the bound, which the critic raises."""
        return -self.information(draw.x, draw.latents)

    def logs(self, prepared: dict[str, tf.Tensor]):
        return {"mutual_information": prepared["information"]}
