"""Linear generators, whose entropy is known, and gradients of an estimator."""

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.entropy import Draw
from keras_ebm.generators import GaussianGenerator
from keras_ebm.random import StepRandom

SIGMA = 0.3


def linear_generator(weights, bias=None, stddev=SIGMA):
    """`x = W z + b + sigma eps`, so that `x ~ N(b, W W' + sigma^2 I)`."""
    features, latents = weights.shape
    decoder = keras.Sequential([keras.Input((latents,)), keras.layers.Dense(features)])
    decoder.layers[-1].kernel.assign(weights.T)
    if bias is not None:
        decoder.layers[-1].bias.assign(bias)
    return GaussianGenerator(decoder, initial_stddev=stddev, stddev_bounds=(0.01, 2.0))


def covariance(weights, stddev=SIGMA):
    return weights @ weights.T + stddev**2 * np.eye(len(weights))


def true_gradient(weights, stddev=SIGMA):
    """`dH/dW = C^-1 W` and `dH/dlog sigma = sigma^2 tr C^-1`."""
    inverse = np.linalg.inv(covariance(weights, stddev))
    return inverse @ weights, stddev**2 * np.trace(inverse)


def orthogonal_weights(features, latents, norms, seed=0):
    """Orthogonal columns of norms log-spaced over the pair `norms`."""
    basis, _ = np.linalg.qr(
        np.random.default_rng(seed).normal(size=(features, latents))
    )
    return (basis * np.geomspace(*norms, latents)).astype(np.float32)


def draw_from(generator, count, random):
    latents = random.normal([count, generator.latent_dim], "latents")
    noise = random.normal([count, *generator.sample_shape], "noise")
    return Draw(generator.sample(latents, noise), latents, noise)


def entropy_gradient(generator, estimator, count, seed=0, iteration=0):
    """The estimates of `dH/dW` and of `dH/dlog sigma`."""
    random = StepRandom(seed, iteration)
    prepared = estimator.prepare(generator, draw_from(generator, count, random), random)
    kernel = generator.decoder.layers[-1].kernel
    with tf.GradientTape() as tape:
        draw = draw_from(generator, count, random)
        value = estimator.estimate(generator, draw, prepared).surrogate
    sources = [kernel.value, generator.log_stddev.value]
    gradient, slope = tape.gradient(value, sources)
    return gradient.numpy().T, slope.numpy()


def warm_up(estimator, generator, steps, rows, seed=100, each=lambda prepared: None):
    """Calls `prepare` on fresh draws, as training does, and `each` on the results."""

    @tf.function(autograph=False)
    def prepare(iteration):
        random = StepRandom(seed, iteration)
        draw = draw_from(generator, rows, random)
        return estimator.prepare(generator, draw, random)

    for i in range(steps):
        each(prepare(tf.constant(i, tf.int64)))
