"""The convolution of doubled pixels, against doubling them and convolving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.layers import DoubledConv2D


def both(shape=(5, 4, 3), **kwargs):
    """The layer and the plain pair with the same weights, neither of them small."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    layer = DoubledConv2D(6, bias_initializer="normal", **kwargs)
    ours = keras.Model(inputs, layer(inputs))
    doubled = keras.layers.UpSampling2D(2)(inputs)
    plain = keras.layers.Conv2D(6, 3, padding="same", **kwargs)
    plain = keras.Model(inputs, plain(doubled))
    plain.set_weights(ours.get_weights())
    return ours, plain


def images(count=2, shape=(5, 4, 3)):
    rng = np.random.default_rng(0)
    return tf.constant(rng.normal(size=(count, *shape)).astype(np.float32))


@pytest.mark.parametrize("kwargs", [{}, {"activation": "relu"}])
def test_it_is_the_convolution_of_doubled_pixels_up_to_the_border(kwargs):
    ours, plain = both(**kwargs)
    x = images()
    assert ours.output_shape == plain.output_shape == (None, 10, 8, 6)
    # Sums of 27 products of order 1, in another order.
    np.testing.assert_allclose(ours(x), plain(x), rtol=1e-5, atol=1e-5)


def test_gradients_by_inputs_and_weights_are_the_plain_ones_twice():
    x, found = images(), []
    for model in both():
        weights = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                outer.watch(weights)
                loss = tf.reduce_sum(tf.tanh(model(x)))
            gradient = inner.gradient(loss, x)
            penalty = tf.reduce_sum(gradient**2)
        found.append([gradient, *outer.gradient(penalty, weights)])
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)
    assert np.abs(found[0][1]).max() > 0.1


def test_sides_may_be_unknown():
    layer = DoubledConv2D(2)
    model = keras.Model(inputs := keras.Input((None, None, 3)), layer(inputs))
    assert model(images()).shape == (2, 10, 8, 2)


def test_it_is_saved_with_its_model(tmp_path):
    ours, _ = both(use_bias=True, activation="relu")
    ours.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy(images()), ours(images()))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"kernel_size": 5},
        {"padding": "valid"},
        {"strides": 2},
        {"groups": 3},
        {"dilation_rate": 2},
        {"data_format": "channels_first"},
    ],
    ids=str,
)
def test_what_it_cannot_do_is_refused(kwargs):
    (name,) = kwargs
    with pytest.raises(ValueError, match=f"`{name}` of .* use UpSampling2D and Conv2D"):
        DoubledConv2D(6, **kwargs)
