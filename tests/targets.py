"""Densities with known moments that samplers are tested on."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

CORRELATION = 0.8


class Target(NamedTuple):
    """An energy, exact draws of it, and what to take the means of.

    `moments(x)` maps `(..., 2)` to `(..., k)`; `expected` are their `k` means.
    """

    energy: callable
    draw: callable
    moments: callable
    expected: np.ndarray


def first_and_second(x):
    return np.concatenate([x, x**2, x[..., :1] * x[..., 1:]], axis=-1)


def _gaussian():
    precision = np.linalg.inv([[1.0, CORRELATION], [CORRELATION, 1.0]])
    precision = tf.constant(precision, tf.float32)
    mean = np.array([1.0, -1.0], np.float32)

    def energy(x):
        c = x - mean
        return 0.5 * tf.reduce_sum(c * (c @ precision), axis=-1)

    def draw(rng, count):
        a, b = rng.normal(size=(2, count))
        c = CORRELATION * a + np.sqrt(1 - CORRELATION**2) * b
        return mean + np.stack([a, c], -1)

    return Target(
        energy, draw, first_and_second, np.array([1, -1, 2, 2, CORRELATION - 1.0])
    )


def _banana():
    """Rosenbrock's: `x ~ N(0, 1)`, `y | x ~ N(x^2, 0.5^2)`."""

    def energy(v):
        x, y = v[..., 0], v[..., 1]
        return 0.5 * x**2 + 0.5 * tf.square((y - x**2) / 0.5)

    def draw(rng, count):
        x, e = rng.normal(size=(2, count))
        return np.stack([x, x**2 + 0.5 * e], -1)

    def moments(v):  # y^2 and x y have too heavy a tail for their means to tell
        x, y = v[..., 0], v[..., 1]
        return np.stack([x, y, x**2, np.abs(y - x**2)], axis=-1)

    expected = np.array([0, 1, 1, 0.5 * np.sqrt(2 / np.pi)])
    return Target(energy, draw, moments, expected)


def _mixture():
    """Equal parts of `N((-1.5, 0), 1)` and `N((1.5, 0), 1)`, which chains cross."""

    def energy(v):
        side = tf.math.log(2.0 * tf.math.cosh(1.5 * v[..., 0]))
        return 0.5 * tf.reduce_sum(v**2, axis=-1) - side

    def draw(rng, count):
        x = rng.normal(size=(count, 2))
        x[:, 0] += 1.5 * rng.choice([-1.0, 1.0], count)
        return x

    return Target(energy, draw, first_and_second, np.array([0, 0, 3.25, 1, 0.0]))


TARGETS = {"gaussian": _gaussian(), "banana": _banana(), "mixture": _mixture()}


def assert_moments(x, target: Target, margin: float = 5.0, bias: float = 0.0):
    """Means of `target.moments` over kept states `(num_steps, chains, 2)`.

    Each may be off by `margin` standard errors, that is of as many draws as the
    chains' effective sample size says, and by `bias`.
    """
    x = np.asarray(x)
    values = target.moments(x)
    sizes = tfp.mcmc.effective_sample_size(
        tf.constant(values, tf.float32),
        filter_beyond_positive_pairs=True,
        cross_chain_dims=1,
    )
    errors = values.std(axis=(0, 1)) / np.sqrt(sizes)
    off = np.abs(values.mean(axis=(0, 1)) - target.expected)
    assert np.all(errors < 0.15), f"too few effective samples: {errors}"
    assert np.all(off < margin * errors + bias), (off, errors)
