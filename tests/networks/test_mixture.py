import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.networks import GaussianMixture, with_features


def two_hills():
    """0.3 N((-1, 0), diag(0.5^2, 1)) + 0.7 N((2, 1), diag(1, 0.25^2))."""
    network = GaussianMixture(2, 2)
    network.means.assign([[-1.0, 0.0], [2.0, 1.0]])
    network.log_stddevs.assign(np.log([[0.5, 1.0], [1.0, 0.25]]))
    network.logits.assign(np.log([0.3, 0.7]) + 5.0)
    return network


def normal(x, mean, stddev):
    z = (x - mean) / stddev
    return np.exp(-0.5 * np.sum(z**2, -1)) / np.prod(stddev) / (2 * np.pi)


def test_the_density_is_the_weighted_sum_of_the_normals():
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    density = 0.3 * normal(x, [-1, 0], [0.5, 1]) + 0.7 * normal(x, [2, 1], [1, 0.25])
    network = two_hills()
    np.testing.assert_allclose(network.log_prob(x), np.log(density), rtol=1e-4)
    np.testing.assert_array_equal(network(x)[:, 0], network.log_prob(x))


def test_the_density_integrates_to_one():
    line = np.linspace(-12.0, 12.0, 481, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    density = np.exp(two_hills().log_prob(points).numpy().astype(np.float64))
    # The grid's step is a fifth of the smallest sigma: exact but for float32.
    np.testing.assert_allclose(density.sum() * 0.05**2, 1.0, atol=1e-3)


def test_samples_have_the_mixtures_moments_and_repeat():
    network = two_hills()
    x = network.sample(20_000, seed=3).numpy()
    np.testing.assert_array_equal(x, network.sample(20_000, seed=3))
    assert not np.allclose(x, network.sample(20_000, seed=4))
    # E x = 0.3 (-1, 0) + 0.7 (2, 1); spreads below 1.7 and 0.8 over 20,000 draws
    # are standard errors of 0.012 and 0.006; five of them.
    assert np.abs(x.mean(0) - [1.1, 0.7]).max() < 0.06
    variance = 0.3 * (0.25 + 2.1**2) + 0.7 * (1 + 0.9**2)
    assert abs(x[:, 0].var() / variance - 1) < 0.05


def test_it_starts_with_equal_hills_of_width_one_at_seeded_places():
    one, same, other = (GaussianMixture(50, 40, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.means, same.means)
    assert not np.allclose(one.means, other.means)
    # 2,000 draws: standard errors 0.022 and 0.016; five of them.
    assert abs(np.mean(one.means)) < 0.11 and abs(np.std(one.means) - 1) < 0.08
    assert np.all(one.log_stddevs.numpy() == 0) and np.all(one.logits.numpy() == 0)


def test_the_score_can_be_differentiated_in_every_weight():
    network = two_hills()
    x = tf.random.normal([8, 2])
    weights = [v.value for v in network.trainable_variables]
    assert len(weights) == 3
    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = network.log_prob(x)
        loss = tf.reduce_sum(tf.square(tape.gradient(value, x)))
    for gradient in outer.gradient(loss, weights):
        assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)


def test_a_saved_network_is_the_same(tmp_path):
    network = two_hills()
    assert network.input_shape == (None, 2) and network.output_shape == (None, 1)
    network.save(tmp_path / "mixture.keras")
    copy = keras.models.load_model(tmp_path / "mixture.keras")
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(copy(x), network(x))
    assert copy.get_config() == network.get_config()


def test_there_are_no_features_to_have():
    with pytest.raises(ValueError, match="Features need a functional"):
        with_features(GaussianMixture(4, 3))


@pytest.mark.parametrize("name", ["input_dim", "num_components"])
def test_sizes_are_checked(name):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer"):
        GaussianMixture(**{"input_dim": 2, "num_components": 2, name: 0})
