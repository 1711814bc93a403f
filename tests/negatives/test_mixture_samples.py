"""Mixtures of Gaussians: density, samples, and the energy learnt on top of one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import threadpoolctl
from scipy import stats
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from keras_ebm import mixtures
from keras_ebm.layers import MixtureBase, with_mixture_base
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import MixtureSamples
from keras_ebm.networks import mlp_energy
from keras_ebm.random import StepRandom

MEANS = np.array([[100.0, 0.0], [103.0, 1.0], [100.0, -5.0]])
COVARIANCES = np.array([[[1.0, 0.8], [0.8, 1.0]], [[0.1, 0.0], [0.0, 2.0]], np.eye(2)])
WEIGHTS = np.array([0.5, 0.3, 0.2])


@pytest.fixture
def mixture():
    lower = np.linalg.cholesky(COVARIANCES)
    whitenings = np.swapaxes(np.linalg.inv(lower), 1, 2)
    return mixtures.Mixture.of_components(MEANS[0], whitenings, MEANS, WEIGHTS)


def log_density(x):
    parts = [
        stats.multivariate_normal(mean, covariance).logpdf(x) + np.log(weight)
        for mean, covariance, weight in zip(MEANS, COVARIANCES, WEIGHTS, strict=True)
    ]
    return logsumexp(parts, axis=0)


def test_the_density_is_scipys(mixture):
    x = MEANS[0] + 3.0 * np.random.default_rng(0).normal(size=(100, 2))
    value = mixture.log_density(x.astype(np.float32))
    # Float32 positions around 100 are off by 1e-5, of components .3 wide.
    np.testing.assert_allclose(value, log_density(x), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(mixture.means(), MEANS, rtol=1e-6)
    np.testing.assert_allclose(mixture.weights(), WEIGHTS, rtol=1e-5)


def test_samples_have_the_moments_of_the_mixture(mixture):
    count = 40_000
    x = MixtureSamples(mixture)(tf.zeros((count, 2)), StepRandom(3, 0)).numpy()
    mean = WEIGHTS @ MEANS
    away = MEANS - mean
    covariance = np.einsum("k,kij->ij", WEIGHTS, COVARIANCES)
    covariance += np.einsum("k,ki,kj->ij", WEIGHTS, away, away)
    error = np.sqrt(np.diag(covariance) / count)
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - mean), 5 * error)
    # A variance's standard error is sqrt(2 / n) of it, and less here: flatter tails.
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    found = np.cov(x, rowvar=False)
    assert (np.abs(found - covariance) < 5 * np.sqrt(2 / count) * scale).all()
    # Moments of the density they are of, too: E[-log q] by the two.
    entropy = -log_density(x)
    grid = [np.linspace(low, high, 400) for low, high in ((92, 110), (-14, 10))]
    cell = np.diff(grid[0])[0] * np.diff(grid[1])[0]
    logs = log_density(np.stack(np.meshgrid(*grid), axis=-1).reshape(-1, 2))
    exact = -np.sum(np.exp(logs) * logs) * cell
    assert abs(entropy.mean() - exact) < 5 * entropy.std() / np.sqrt(count)


def test_samples_are_saved_by_their_arrays(mixture):
    samples = MixtureSamples(mixture)
    again = MixtureSamples.from_config(samples.get_config())
    x = tf.zeros((8, 2))
    np.testing.assert_array_equal(
        samples(x, StepRandom(0, 1)), again(x, StepRandom(0, 1))
    )


def test_the_base_is_added_and_saved(mixture, tmp_path):
    network = with_mixture_base(mlp_energy((2,), 3, hidden=(8,)), mixture)
    x = MEANS.astype(np.float32) + 0.5
    plain = network.get_layer("logits").output
    plain = keras.Model(network.inputs[0], plain)(x).numpy()
    np.testing.assert_allclose(
        network(x), plain + log_density(x)[:, None], rtol=1e-3, atol=1e-3
    )
    network.save(tmp_path / "energy.keras")
    loaded = keras.saving.load_model(tmp_path / "energy.keras")
    np.testing.assert_array_equal(loaded(x), network(x))
    assert len(network.trainable_variables) == 4
    with pytest.raises(ValueError, match="num_components"):
        MixtureBase(0, 2)


def test_contrast_with_a_gaussian_learns_the_density_of_a_laplacian():
    rng = np.random.default_rng(0)
    x = rng.laplace(size=(20_000, 1)).astype(np.float32)
    mixture = mixtures.fit_mixture(x.astype(np.float64), 1)
    keras.utils.set_random_seed(0)
    network = mlp_energy((1,), hidden=(32, 32))
    ratio = EnergyModel(
        network, negatives=MixtureSamples(mixture), objective="logistic", seed=0
    )
    ratio.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 500))
    )
    labels = np.full(len(x), -1)
    ratio.fit(x[: 500 * 40], labels[: 500 * 40], batch_size=400, epochs=10, verbose=0)
    grid = np.linspace(-3.0, 3.0, 41, dtype=np.float32)[:, None]
    exact = stats.laplace.logpdf(grid[:, 0])
    learnt = with_mixture_base(network, mixture)(grid).numpy()[:, 0]
    gaussian = mixture.log_density(grid).numpy()
    # The Gaussian is off by .35 nats on average; what is left is the noise of 20,000
    # rows, about .03, and the rounded cusp.
    assert np.abs(gaussian - exact).mean() > 0.25
    assert np.abs(learnt - exact).mean() < 0.1


def test_a_fit_needs_two_rows_and_bears_equal_ones():
    with pytest.raises(ValueError, match="two or more. Received: 1"):
        mixtures.fit_mixture(np.zeros((1, 3)), 5)
    mixture = mixtures.fit_mixture(np.ones((50, 3)), 5)
    logs = mixture.log_density(np.array([[1, 1, 1], [2, 1, 1]], np.float32))
    assert np.isfinite(logs).all() and logs[0] > logs[1] + 10.0


def test_the_selected_mixture_is_what_other_rows_are_likeliest_under():
    rng = np.random.default_rng(0)

    def rows(count):
        # Eight narrow clusters on a circle.
        angles = rng.integers(0, 8, count) * np.pi / 4
        centres = 5.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return centres + 0.1 * rng.normal(size=(count, 2))

    train, held_out, new = rows(800), rows(400), rows(4000).astype(np.float32)
    likelihood = {
        count: mixtures.fit_mixture(train, count).log_density(new)
        for count in (2, 4, 8)
    }
    mixture = mixtures.select_mixture(train, held_out, 2)
    # Five fits of 4 x 2 components, where two alone would lie across clusters.
    assert mixture.log_weights.shape == (40,)
    np.testing.assert_allclose(mixture.weights().sum(), 1.0, rtol=1e-5)
    selected = np.mean(mixture.log_density(new))
    assert selected > np.mean(likelihood[4]) > np.mean(likelihood[2]) + 0.5
    # Each cluster as wide as it is and the ridge, 1/100 of the variance 25 / 2 + 0.01.
    variance = 0.01 + 0.01 * 12.51
    exact = -np.log(8) - np.log(2 * np.pi * variance) - 0.01 / variance
    # Means of 100 rows are off by a tenth of a cluster's width, of a wider Gaussian.
    assert abs(selected - exact) < 0.02


def test_a_selected_mixture_is_the_mean_of_its_fits():
    rng = np.random.default_rng(0)
    train = rng.exponential(size=(120, 3))
    held_out = rng.exponential(size=(60, 3))
    mixture = mixtures.select_mixture(train, held_out, 2)
    assert mixture.log_weights.shape == (10,)
    x = held_out.astype(np.float32)
    found = np.exp(mixture.log_density(x))
    means = [
        np.mean(
            [
                np.exp(mixtures.fit_mixture(train, 2, r, s).log_density(x))
                for s in range(5)
            ],
            axis=0,
        )
        for r in mixtures.RIDGES
    ]
    singles = [
        np.mean(mixtures.fit_mixture(train, 2, r).log_density(x))
        for r in mixtures.RIDGES
    ]
    np.testing.assert_allclose(found, means[int(np.argmax(singles))], rtol=1e-3)
    # A single Gaussian has one fit.
    one = mixtures.select_mixture(train[:30], held_out, 1)
    assert one.log_weights.shape == (1,)


def test_a_mixture_of_many_rows_starts_on_some_and_ends_on_all():
    rng = np.random.default_rng(0)
    centres = 4.0 * rng.normal(size=(12, 2))
    train, held_out, new = (
        centres[rng.integers(0, 12, count)] + rng.normal(size=(count, 2))
        for count in (3000, 300, 3000)
    )
    new = new.astype(np.float32)
    found = [
        mixtures.select_mixture(train, held_out, 3, starting_rows=rows)
        for rows in (1000, 3000)
    ]
    few, all_rows = (np.mean(mixture.log_density(new)) for mixture in found)
    assert found[0].log_weights.shape == found[1].log_weights.shape == (60,)
    # Means of the densities of 3,000 rows differ by a fiftieth of a nat, if by chance.
    assert abs(few - all_rows) < 0.02
    # The last steps have seen all rows: weights are shares of them, not of the draws.
    ridge = mixtures.RIDGE
    start = mixtures._fit(train[:1000], 12, ridge, 0)
    ended = mixtures._fit(train, 12, ridge, 0, mixtures.LAST_STEPS, start=start)
    before, after = (
        np.mean(mixtures.Mixture.of_components(*fit).log_density(train))
        for fit in (start, ended)
    )
    assert after > before


def test_a_mixture_is_fitted_by_one_thread(monkeypatch):
    pools, fit = [], GaussianMixture.fit

    def recording(self, *args):
        pools.extend(threadpoolctl.threadpool_info())
        return fit(self, *args)

    monkeypatch.setattr(GaussianMixture, "fit", recording)
    mixtures.fit_mixture(np.random.default_rng(0).normal(size=(40, 2)), 2)
    assert pools and all(pool["num_threads"] == 1 for pool in pools)
