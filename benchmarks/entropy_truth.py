"""Generators whose entropy gradient is known, for `benchmarks.entropy_recovery`.

The truth is `dH/dw = -E[score(x)' dx/dw]` with the exact score of `q`,
`(E[g(z) | x] - x) / sigma^2`: in closed form for a linear decoder, else with
the posterior's mean by quadrature over the whole latent (two and three
dimensions) or by importance sampling from a Student-t around Laplace's
approximation (eight). Its own sampling noise is shown by two halves.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import VERA, GaussianGenerator, networks
from keras_ebm.data import toy
from keras_ebm.entropy import Draw, LogVolume
from keras_ebm.entropy.base import score_surrogate
from keras_ebm.jacobians import dense_jacobian
from keras_ebm.negatives import ImportanceCorrection

#: Half the side of the grid over the latent, in its standard deviations.
EXTENT = 4.5


class Case(NamedTuple):
    """A frozen generator and two independent estimates of its `dH/dw`.

    `halves` holds flattened gradients in the decoder's weights, equal where
    they are exact; `facts` what is worth printing.
    """

    generator: GaussianGenerator
    halves: tuple[np.ndarray, np.ndarray]
    facts: dict

    @property
    def gradient(self) -> np.ndarray:
        return 0.5 * (self.halves[0] + self.halves[1])

    @property
    def power(self) -> float:
        """`<truth, truth>`, without the noise's own power."""
        return float(self.halves[0] @ self.halves[1])

    @property
    def split_half_cosine(self) -> float:
        return cosine(*self.halves)

    @property
    def attainable_cosine(self) -> float:
        """What a perfect estimate would show, by the truth's noise."""
        half = self.split_half_cosine
        return float(np.sqrt(2.0 * half / (1.0 + half)))


def cosine(one, other) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def flat_gradient(tape, value, generator):
    """`d value / dw` in the decoder's weights, flattened; zeros where apart."""
    weights = [v.value for v in generator.decoder.trainable_variables]
    gradients = tape.gradient(value, weights, unconnected_gradients="zero")
    return tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)


def mirrored_draws(latent_dim: int, size: int, count: int, seed: int):
    """`count` latents, each with a noise and its mirror image in the next row."""
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(count, latent_dim)).astype(np.float32)
    noise = rng.normal(size=(count, size)).astype(np.float32)
    paired = np.stack([noise, -noise], axis=1).reshape(2 * count, size)
    return np.repeat(latents, 2, axis=0), paired


def linear(size: int, latent_dim: int, seed: int, wide: bool = False) -> Case:
    """`x = W z + sigma eps` with orthogonal columns and sigma 0.3.

    The eigenvalues of `W'W / sigma^2` are log-spaced from 0.3 to 20 or, with `wide`,
    the columns' norms are, so that the posterior's widths span 3 decades.
    """
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, latent_dim)))
    sigma = 0.3
    norms = np.geomspace(0.3, 20.0, latent_dim)
    norms = norms if wide else sigma * np.sqrt(norms)
    decoder = keras.Sequential(
        [keras.Input((latent_dim,)), keras.layers.Dense(size, name="outputs")]
    )
    decoder.layers[-1].kernel.assign((basis * norms).T)
    # C^-1 W for C = W W' + sigma^2 I; the bias moves no entropy.
    truth = (basis * (norms / (norms**2 + sigma**2))).T
    truth = np.concatenate([truth.ravel(), np.zeros(size)])
    generator = GaussianGenerator(decoder, sigma, (sigma, sigma))
    return Case(generator, (truth, truth), {})


def random_network(size: int, latent_dim: int, seed: int, count: int) -> Case:
    """A random tanh MLP 64-64 of gain 1, sigma 0.1."""
    keras.utils.set_random_seed(seed)
    decoder = networks.mlp_decoder(
        latent_dim, (size,), hidden=(64, 64), activation="tanh"
    )
    generator = GaussianGenerator(decoder, 0.1, (0.1, 0.1))
    whole = latent_dim <= 2
    mean = grid_mean(generator, 200) if whole else laplace_mean(generator)
    return _case(generator, mean, count, {})


def trained(entropy: str, seed: int, count: int, steps: int) -> Case:
    """A plane-to-plane decoder trained as VERA on the checkerboard.

    Args:
        entropy: `"importance"`, the paper's, after which it folds, or
            `"log_volume"` with corrected negatives, after which it hardly does.
        seed: int.
        count: int, mirrored draws of each half of the truth.
        steps: int, of training.
    """
    generator = train_on_checkerboard(entropy, seed, steps)
    latents, _ = mirrored_draws(2, 2, 2000, seed)
    signs = np.sign(np.linalg.det(dense_jacobian(generator, tf.constant(latents))))
    share = float(np.mean(signs > 0))
    facts = {"minority_sign": min(share, 1.0 - share)}
    return _case(generator, grid_mean(generator, 450), count, facts)


def train_on_checkerboard(entropy: str, seed: int, steps: int, batch: int = 200):
    """The generator of a VERA (silu 128-128) after `steps` steps.

    sigma is held at 0.1, which a grid over the latent can resolve.
    """
    keras.utils.set_random_seed(seed)
    generator = GaussianGenerator(
        networks.mlp_decoder(2, (2,), hidden=(128, 128)), 0.1, (0.1, 0.1)
    )
    arguments = {"gradient_penalty": 0.1}
    if entropy == "log_volume":
        arguments = {"entropy": LogVolume(), "correction": ImportanceCorrection()}
    model = VERA(
        networks.mlp_energy((2,), hidden=(128, 128, 128), base_stddev=4.0),
        generator,
        seed=seed,
        **arguments,
    )
    rates = [keras.optimizers.schedules.CosineDecay(2e-3, steps) for _ in range(2)]
    model.compile(*[keras.optimizers.Adam(rate, 0.9, 0.99) for rate in rates])
    x = toy.draw("checkerboard", batch * steps, seed)
    model.fit(x, batch_size=batch, verbose=0)
    return generator


def _case(generator, posterior_mean: Callable, count: int, facts: dict) -> Case:
    """The truth from `count` mirrored draws a half."""
    halves = tuple(
        _exact_gradient(generator, posterior_mean, count, seed) for seed in (101, 102)
    )
    return Case(generator, halves, facts)


def _exact_gradient(generator, posterior_mean, count, seed, rows=8192):
    size = generator.sample_shape[0]
    draws = mirrored_draws(generator.latent_dim, size, count, seed)

    def gradient(latents, noise, mean):
        with tf.GradientTape() as tape:
            x = generator.sample(latents, noise)
            score = (mean - x) / tf.square(generator.stddev)
            value = score_surrogate(x, score)
        return flat_gradient(tape, value, generator)

    total, chunks = 0.0, range(0, 2 * count, rows)
    for start in chunks:
        part = [tf.constant(values[start : start + rows]) for values in draws]
        draw = Draw(generator.sample(*part), *part)
        total += gradient(*part, posterior_mean(draw)).numpy().astype(np.float64)
    return total / len(chunks)


def grid_mean(generator, points: int, rows: int = 64) -> Callable:
    """`E[g(z) | x]` by the trapezoidal rule on `points ** latent_dim` latents.

    The rule's error falls like `exp(-2 pi^2 s^2 / h^2)` for a posterior of width
    `s` and a grid of step `h`, so a step of one width is exact enough. Samples
    are taken in blocks of neighbours, and a block leaves out the latents that
    are 40 nats less likely than its samples' own.
    """
    line = np.linspace(-EXTENT, EXTENT, points, dtype=np.float32)
    axes = np.meshgrid(*[line] * generator.latent_dim, indexing="ij")
    grid = np.stack(axes, axis=-1).reshape(-1, generator.latent_dim)
    blocks = np.array_split(grid, len(grid) // 65536 + 1)
    means = np.concatenate([generator(block).numpy() for block in blocks])
    squares = np.sum(means**2, axis=-1)
    sigma = float(generator.stddev)
    # log q(x, z) = bias(z) + x'g(z) / sigma^2 up to a constant of x.
    bias = -0.5 * np.sum(grid**2, axis=-1) - 0.5 * squares / sigma**2

    def one_block(x, noise):
        centre = x.mean(axis=0)
        reach = np.linalg.norm(x - centre, axis=1).max()
        reach += sigma * np.sqrt(np.sum(noise**2, axis=1).max() + 80.0)
        near = np.flatnonzero(
            squares - 2.0 * means @ centre < reach**2 - centre @ centre
        )
        top = np.full((len(x), 1), -np.inf, np.float32)
        mass, total = np.zeros_like(top), np.zeros_like(x)
        # In parts that stay in the cache.
        for start in range(0, len(near), 8192):
            part = means[near[start : start + 8192]]
            logits = (x / sigma**2) @ part.T + bias[near[start : start + 8192]]
            highest = np.maximum(top, logits.max(axis=1, keepdims=True))
            weights, shrink = np.exp(logits - highest), np.exp(top - highest)
            mass = mass * shrink + weights.sum(axis=1, keepdims=True)
            total = total * shrink + weights @ part
            top = highest
        return total / mass

    def mean(draw):
        x, latents, noise = (values.numpy() for values in draw)
        result = np.empty_like(x)
        for block in neighbours(latents, rows):
            result[block] = one_block(x[block], noise[block])
        return tf.constant(result)

    return mean


def neighbours(points, rows: int, index=None):
    """Indices of blocks of at most `rows` neighbours, by halving the widest axis."""
    index = np.arange(len(points)) if index is None else index
    if len(index) <= rows:
        return [index]
    axis = np.argmax(np.ptp(points[index], axis=0))
    index = index[np.argsort(points[index, axis], kind="stable")]
    half = len(index) // 2
    return neighbours(points, rows, index[:half]) + neighbours(
        points, rows, index[half:]
    )


def laplace_nodes(latent_dim: int, num_samples: int, rows, index):
    """Nodes in units of Laplace's approximation, and their log-density.

    Up to three dimensions the trapezoidal rule again, with a step of one width,
    6 widths to each side; above, draws of a Student-t of 8 degrees and their
    mirror images, anew for every row: an error that rows share would not
    average out.

    Returns:
        `(rows or 1, n, k)` and `(rows or 1, n)`.
    """
    if latent_dim <= 3:
        axes = np.meshgrid(*[np.arange(-6.0, 7.0)] * latent_dim, indexing="ij")
        nodes = np.stack(axes, axis=-1).reshape(1, -1, latent_dim)
        return tf.constant(nodes, tf.float32), tf.zeros([1, nodes.shape[1]])
    half, degrees = num_samples // 2, 8.0
    normal = tf.random.stateless_normal([rows, half, latent_dim], [index, 1])
    chi = tf.random.stateless_gamma([rows, half, 1], [index, 2], 0.5 * degrees, 0.5)
    nodes = normal * tf.math.sqrt(degrees / chi)
    nodes = tf.concat([nodes, -nodes], axis=1)
    squared = tf.reduce_sum(tf.square(nodes), axis=-1)
    return nodes, -0.5 * (degrees + latent_dim) * tf.math.log1p(squared / degrees)


def laplace_mean(generator, num_samples: int = 400, rows: int = 64) -> Callable:
    """`E[g(z) | x]` from weighted nodes around Laplace's approximation."""
    latent_dim = generator.latent_dim

    @tf.function(autograph=False)
    def one_block(draw, index):
        jacobians = dense_jacobian(generator.whitened, draw.latents)
        precision = tf.linalg.matmul(jacobians, jacobians, transpose_b=True)
        factor = tf.linalg.cholesky(precision + tf.eye(latent_dim))
        pulled = tf.linalg.matvec(jacobians, draw.noise)
        step = tf.linalg.cholesky_solve(factor, (pulled - draw.latents)[..., None])
        count = tf.shape(draw.x)[0]
        nodes, log_density = laplace_nodes(latent_dim, num_samples, count, index)
        nodes = tf.repeat(nodes, count // tf.shape(nodes)[0], axis=0)
        upper = tf.linalg.matrix_transpose(factor)
        offsets = tf.linalg.triangular_solve(
            upper, tf.linalg.matrix_transpose(nodes), lower=False
        )
        latents = tf.linalg.matrix_transpose(draw.latents[..., None] + step + offsets)
        means = generator(tf.reshape(latents, [-1, latent_dim]))
        means = tf.reshape(means, [count, -1, *generator.sample_shape])
        weights = tf.nn.softmax(
            generator.log_likelihood(draw.x[:, None], means)
            + generator.log_prior(latents)
            - log_density
        )
        return tf.linalg.matvec(means, weights, transpose_a=True)

    # Counts on over calls, so that no two blocks share their draws.
    calls = itertools.count()

    def mean(draw):
        starts = range(0, len(draw.x), rows)
        parts = [Draw(*(v[start : start + rows] for v in draw)) for start in starts]
        blocks = [one_block(part, tf.constant(next(calls))) for part in parts]
        return tf.concat(blocks, axis=0)

    return mean
