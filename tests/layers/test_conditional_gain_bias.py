import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.layers import ConditionalBias, ConditionalGain

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3, 2, 5)).astype(np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[[2, 0, 1, 2]]
ANY = RNG.normal(size=(4, 3)).astype(np.float32)
LAYERS = pytest.mark.parametrize("layer", [ConditionalBias, ConditionalGain])


def shaken(layer, inputs):
    """The layer with random weights, which it returns in order."""
    layer(inputs)
    weights = [RNG.normal(size=w.shape).astype(np.float32) for w in layer.weights]
    layer.set_weights(weights)
    return weights


@LAYERS
def test_nothing_changes_at_the_start(layer):
    np.testing.assert_array_equal(layer()(X), X)
    np.testing.assert_array_equal(layer(3)([X, ONE_HOT]), X)


def test_without_classes_there_is_one_number_a_channel():
    bias, gain = ConditionalBias(), ConditionalGain()
    (b,), (g,) = shaken(bias, X), shaken(gain, X)
    assert b.shape == g.shape == (5,)
    np.testing.assert_allclose(bias(X), X + b, rtol=1e-6)
    np.testing.assert_allclose(gain(X), X * g, rtol=1e-6)


def test_a_one_hot_label_takes_its_row():
    bias, gain = ConditionalBias(3), ConditionalGain(3)
    (table,) = shaken(bias, [X, ONE_HOT])
    gains, shared = shaken(gain, [X, ONE_HOT])
    assert table.shape == gains.shape == (3, 5) and shared.shape == (5,)
    for row, label in enumerate([2, 0, 1, 2]):
        np.testing.assert_allclose(
            bias([X, ONE_HOT])[row], X[row] + table[label], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            gain([X, ONE_HOT])[row],
            X[row] * (gains[label] + shared),
            rtol=1e-5,
            atol=1e-6,
        )


def test_any_other_label_weighs_the_rows():
    bias, gain = ConditionalBias(3), ConditionalGain(3)
    (table,) = shaken(bias, [X, ANY])
    gains, shared = shaken(gain, [X, ANY])
    mixed = (ANY @ table)[:, None, None]
    np.testing.assert_allclose(bias([X, ANY]), X + mixed, rtol=1e-5, atol=1e-6)
    scale = (ANY @ gains)[:, None, None] + shared
    np.testing.assert_allclose(gain([X, ANY]), X * scale, rtol=1e-5, atol=1e-6)


@LAYERS
def test_vectors_have_channels_too(layer):
    assert layer(3)([X[:, 0, 0], ONE_HOT]).shape == (4, 5)
    assert layer()(X[:, 0, 0]).shape == (4, 5)


@LAYERS
def test_all_weights_and_the_label_have_a_gradient(layer):
    conditional = layer(3)
    y = tf.constant(ANY)
    shaken(conditional, [X, y])
    with tf.GradientTape() as tape:
        tape.watch(y)
        value = tf.reduce_sum(conditional([X, y]) ** 2)
    sources = [y, *(v.value for v in conditional.trainable_variables)]
    for gradient in tape.gradient(value, sources):
        assert np.any(gradient != 0)


@LAYERS
@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_saved_network_is_the_same(layer, num_classes, tmp_path):
    x, y = keras.Input((3, 2, 5)), keras.Input((3,))
    inputs = [x, y] if num_classes else x
    network = keras.Model(inputs, layer(num_classes)(inputs))
    assert network.output_shape == (None, 3, 2, 5)
    given = [X, ANY] if num_classes else X
    shaken(network, given)
    network.save(tmp_path / "network.keras")
    copy = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(copy(given), network(given))


@LAYERS
@pytest.mark.parametrize("num_classes", [-1, 2.0, True])
def test_the_number_of_classes_is_checked(layer, num_classes):
    with pytest.raises(ValueError, match="`num_classes` must be an integer"):
        layer(num_classes)


@LAYERS
def test_inputs_that_do_not_fit_are_refused(layer):
    with pytest.raises(ValueError, match="num_classes=0.* takes x alone"):
        layer()([X, ONE_HOT])
    with pytest.raises(ValueError, match=r"num_classes=3.* takes \[x, y\]"):
        layer(3)(X)
    with pytest.raises(ValueError, match="num_classes=4.*one-hot"):
        layer(4)([X, ONE_HOT])
