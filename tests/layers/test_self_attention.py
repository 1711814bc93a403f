import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.layers import SelfAttention2D, update_spectral_norms

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4, 6)).astype(np.float32)


def shaken(**kwargs):
    layer = SelfAttention2D(**kwargs)
    layer(X)
    for variable in layer.trainable_variables:
        variable.assign(0.5 * RNG.normal(size=variable.shape))
    update_spectral_norms(layer)
    return layer


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_it_starts_as_the_identity(spectral_norm):
    layer = SelfAttention2D(spectral_norm=spectral_norm)
    np.testing.assert_array_equal(layer(X), X)
    assert layer.compute_output_shape(X.shape) == X.shape


def kernel_and_bias(layer, spectral_norm):
    kernel = layer.normalized_kernel() if spectral_norm else layer.kernel
    inner = layer.layer if spectral_norm else layer
    return np.asarray(kernel)[0, 0], np.asarray(inner.bias) if inner.use_bias else 0.0


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("key_dim, expected_dim", [(None, 3), (5, 5)])
def test_it_is_the_formula(spectral_norm, key_dim, expected_dim):
    layer = shaken(spectral_norm=spectral_norm, key_dim=key_dim)
    rows = X.reshape(2, 12, 6)
    query, key, value = (
        rows @ kernel + bias
        for kernel, bias in (
            kernel_and_bias(part, spectral_norm)
            for part in (layer.query, layer.key, layer.value)
        )
    )
    assert query.shape[-1] == key.shape[-1] == expected_dim
    value = np.where(value > 0, value, 0.2 * value)
    shares = softmax(query @ key.transpose(0, 2, 1), axis=-1)
    expected = rows + np.asarray(layer.gamma) * (shares @ value)
    np.testing.assert_allclose(
        layer(X), expected.reshape(X.shape), rtol=1e-5, atol=1e-5
    )


def test_there_is_a_bias_for_queries_and_keys_alone():
    layer = SelfAttention2D(spectral_norm=False)
    layer(X)
    # Two of 6 to 3 with bias, one of 6 to 6 without, and gamma.
    assert layer.count_params() == 2 * (18 + 3) + 36 + 1


def test_it_knows_no_order_of_the_positions():
    layer = shaken()
    order = RNG.permutation(12)
    moved = X.reshape(2, 12, 6)[:, order].reshape(X.shape)
    expected = layer(X).numpy().reshape(2, 12, 6)[:, order]
    np.testing.assert_allclose(
        layer(moved).numpy().reshape(2, 12, 6), expected, rtol=1e-5, atol=1e-5
    )


def test_entries_are_dropped_in_training_alone():
    layer = shaken(dropout=0.5, seed=1)
    np.testing.assert_array_equal(layer(X), layer(X))
    first, second = layer(X, training=True), layer(X, training=True)
    assert np.abs(first - second).max() > 1e-3


def test_its_three_convolutions_are_normalised_or_none_is():
    assert update_spectral_norms(shaken()) == 3
    assert update_spectral_norms(shaken(spectral_norm=False)) == 0


def test_it_can_be_differentiated_twice():
    layer = shaken(activation="silu")
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        _, gradient = energy_and_gradient(
            lambda v: tf.reduce_sum(layer(v) ** 2, axis=[1, 2, 3]), x
        )
        penalty = tf.reduce_mean(squared_norm(gradient))
    sources = {v.path: v.value for v in layer.trainable_variables}
    for path, second in tape.gradient(penalty, sources).items():
        assert np.all(np.isfinite(second)) and np.any(second != 0), path


def test_a_saved_network_is_the_same(tmp_path):
    inputs = keras.Input(X.shape[1:])
    layer = SelfAttention2D(2, activation="silu", dropout=0.1, seed=3)
    network = keras.Model(inputs, layer(inputs))
    layer.gamma.assign(0.7)
    network.save(tmp_path / "network.keras")
    copy = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(copy(X), network(X))
    assert copy.layers[-1].get_config() == layer.get_config()


@pytest.mark.parametrize(
    "arguments, match",
    [({"key_dim": 0}, "`key_dim`"), ({"dropout": 1.0}, "`dropout` must be below 1")],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        SelfAttention2D(**arguments)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"\(batch, height, width, channels\)"):
        SelfAttention2D()(X[:, 0])
