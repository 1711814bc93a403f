"""VERA's step written plainly in TensorFlow, for `benchmarks.step_baselines`."""

import math

import keras
import numpy as np
import tensorflow as tf

from benchmarks.step_time import WEIGHTS

SAMPLES = 20
LEARNING_RATE = 1e-4
#: Where the width of the generator's noise and of the proposals starts.
STDDEV, WIDTH = 0.1, 0.1
STDDEV_BOUNDS = (0.01, 0.3)


def normal_log_prob(x, mean, log_stddev, axes):
    """`log N(x; mean, exp(log_stddev)^2)` summed over `axes`, as textbooks have it."""
    scaled = (x - mean) / tf.exp(log_stddev)
    terms = -0.5 * scaled**2 - log_stddev - 0.5 * math.log(2.0 * math.pi)
    return tf.reduce_sum(terms, axis=axes)


class TwoTapes:
    """VERA's step as the paper's algorithm reads.

    The energy that the generator descends is the updated one, as in the paper; the
    library's generator sees the energy as it was before. All else is the same.

    Args:
        network: energy network, inputs to logits.
        decoder: latents to inputs.
        samples: int, importance samples.
        optimizers: of the energy, the generator and the proposals' widths.
    """

    def __init__(self, network, decoder, samples: int = SAMPLES, optimizers=None):
        self.network, self.decoder, self.samples = network, decoder, samples
        self.log_stddev = keras.Variable(math.log(STDDEV))
        latent_dim = decoder.input_shape[-1]
        self.log_width = keras.Variable(np.full(latent_dim, math.log(WIDTH), "float32"))
        self.optimizers = optimizers or [
            keras.optimizers.Adam(rate) for rate in (LEARNING_RATE, LEARNING_RATE, 0.02)
        ]
        self.owned = (
            network.trainable_variables,
            [*decoder.trainable_variables, self.log_stddev],
            [self.log_width],
        )
        for optimizer, variables in zip(self.optimizers, self.owned, strict=True):
            optimizer.build(variables)
        self.axes = list(range(1, len(network.input_shape)))

    def train_step(self, data):
        x, y = data
        return self.update(x, y, *self.draw(x.shape[0]))

    def draw(self, batch: int):
        """All noise of one step: latents, pixels, proposals, their widths' loss."""
        latent_dim = self.decoder.input_shape[-1]
        shape = self.network.input_shape[1:]
        return (
            tf.random.normal([batch, latent_dim]),
            tf.random.normal([batch, *shape]),
            tf.random.normal([batch, self.samples, latent_dim]),
            tf.random.normal([batch, latent_dim]),
        )

    def update(self, x, y, latents, noise, proposal_noise, width_noise):
        """One step from given noise; returns the three losses."""
        fake = self.generate(latents, noise)
        loss = self._update_energy(x, y, fake)
        score = self.score(latents, fake, proposal_noise)
        width_loss = self._update_widths(latents, fake, width_noise)
        generator_loss = self._update_generator(latents, noise, score)
        return {
            "loss": loss,
            "generator_loss": generator_loss,
            "posterior_loss": width_loss,
        }

    def generate(self, latents, noise):
        mean = self.decoder(latents, training=True)
        return mean + tf.exp(self.log_stddev) * noise

    def energy(self, x):
        return -tf.reduce_logsumexp(self.network(x, training=True), axis=-1)

    def energy_loss(self, x, y, fake):
        with tf.GradientTape() as inner:
            inner.watch(x)
            logits = self.network(x, training=True)
            energy = -tf.reduce_logsumexp(logits, axis=-1)
        gradient = inner.gradient(energy, x)
        penalty = tf.reduce_mean(0.5 * tf.reduce_sum(gradient**2, axis=self.axes))
        contrast = tf.reduce_mean(energy) - tf.reduce_mean(self.energy(fake))
        cross_entropy = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        )
        return cross_entropy + WEIGHTS["energy_weight"] * (
            contrast + WEIGHTS["gradient_penalty"] * penalty
        )

    def _update_energy(self, x, y, fake):
        with tf.GradientTape() as tape:
            loss = self.energy_loss(x, y, fake)
        self._apply(0, tape, loss)
        return loss

    def score(self, latents, x, noise):
        """Importance sampling of `d log q(x) / dx` around the latents of `x`."""
        batch, latent_dim = latents.shape
        proposed = latents[:, None] + tf.exp(self.log_width) * noise
        flat = tf.reshape(proposed, [batch * self.samples, latent_dim])
        means = self.decoder(flat, training=True)
        means = tf.reshape(means, [batch, self.samples, *x.shape[1:]])
        axes = [axis + 1 for axis in self.axes]
        log_weights = (
            normal_log_prob(x[:, None], means, self.log_stddev, axes)
            + normal_log_prob(proposed, 0.0, 0.0, -1)
            - normal_log_prob(proposed, latents[:, None], self.log_width, -1)
        )
        weights = tf.nn.softmax(log_weights, axis=1)
        weights = tf.reshape(weights, [batch, self.samples, *[1] * len(self.axes)])
        scores = (means - x[:, None]) / tf.exp(2.0 * self.log_stddev)
        return tf.reduce_sum(weights * scores, axis=1)

    def _update_widths(self, latents, x, noise):
        with tf.GradientTape() as tape:
            proposed = latents + tf.exp(self.log_width) * noise
            mean = self.decoder(proposed, training=True)
            log_joint = normal_log_prob(x, mean, self.log_stddev, self.axes)
            log_joint += normal_log_prob(proposed, 0.0, 0.0, -1)
            entropy = tf.reduce_sum(
                self.log_width + 0.5 * math.log(2.0 * math.pi * math.e)
            )
            loss = -tf.reduce_mean(log_joint) - entropy
        self._apply(2, tape, loss)
        return loss

    def _update_generator(self, latents, noise, score):
        with tf.GradientTape() as tape:
            fake = self.generate(latents, noise)
            surrogate = tf.reduce_sum(tf.stop_gradient(score) * fake, axis=self.axes)
            loss = tf.reduce_mean(self.energy(fake)) + tf.reduce_mean(surrogate)
        self._apply(1, tape, loss)
        low, high = (math.log(bound) for bound in STDDEV_BOUNDS)
        self.log_stddev.assign(tf.clip_by_value(self.log_stddev.value, low, high))
        return loss

    def _apply(self, index, tape, loss):
        variables = self.owned[index]
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self.optimizers[index].apply(gradients, variables)


class DerivativesAlone(TwoTapes):
    """What no way of writing the step leaves out: the energy's derivatives.

    Those of the energy's loss by the weights and by the samples, in one backward pass.
    No noise, decoder, update or log.
    """

    def train_step(self, data):
        x, y = data
        samples, weights = x[::-1], [v.value for v in self.owned[0]]
        with tf.GradientTape() as tape:
            tape.watch(samples)
            loss = self.energy_loss(x, y, samples)
        # Returned, as a graph leaves out what nothing takes.
        return {"loss": loss, "gradients": tape.gradient(loss, [*weights, samples])}


PLAIN = {"two tapes": TwoTapes, "derivatives alone": DerivativesAlone}
