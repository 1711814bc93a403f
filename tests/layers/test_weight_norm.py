import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.layers import WeightNorm

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 6, 5, 2)).astype(np.float32)
ROWS = RNG.normal(size=(3, 7)).astype(np.float32)
LAYERS = {
    "dense": lambda **k: (keras.layers.Dense(4, **k), ROWS),
    "convolution": lambda **k: (
        keras.layers.Conv2D(4, 3, padding="same", **k),
        IMAGES,
    ),
    "strided, with activation": lambda **k: (
        keras.layers.Conv2D(4, (3, 2), strides=2, activation="silu", **k),
        IMAGES,
    ),
    "without bias": lambda **k: (keras.layers.Dense(4, use_bias=False, **k), ROWS),
}
KINDS = pytest.mark.parametrize("kind", LAYERS)


def wrapped(kind="convolution", **kwargs):
    """A built `WeightNorm` and inputs for it."""
    layer, x = LAYERS[kind](bias_initializer="ones")
    norm = WeightNorm(layer, **kwargs)
    norm(x)
    return norm, x


def column_lengths(kernel):
    return np.linalg.norm(np.reshape(kernel, (-1, kernel.shape[-1])), axis=0)


@KINDS
def test_at_first_it_is_the_bare_layer(kind):
    norm, x = wrapped(kind)
    np.testing.assert_allclose(norm(x), norm.layer(x), rtol=1e-5, atol=1e-6)
    assert norm.compute_output_shape(x.shape) == norm(x).shape == norm.layer(x).shape


@KINDS
def test_columns_are_as_long_as_their_gains(kind):
    norm, x = wrapped(kind)
    norm.gain.assign([1.0, -2.0, 0.5, 3.0])
    norm.layer.kernel.assign(7.0 * norm.layer.kernel)
    kernel = norm.normalized_kernel()
    np.testing.assert_allclose(column_lengths(kernel), [1, 2, 0.5, 3], rtol=1e-5)
    plain, _ = LAYERS[kind]()
    plain.build(x.shape)
    plain.set_weights([kernel, *norm.layer.get_weights()[1:]])
    np.testing.assert_allclose(norm(x), plain(x), rtol=1e-5, atol=1e-5)


@KINDS
def test_a_call_changes_no_weight(kind):
    norm, x = wrapped(kind)
    before = norm.get_weights()
    norm(x, training=True)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_gradients_are_those_of_the_paper():
    # Equation 3: with G the loss's gradient in w, that in g is G.v / |v|, and that
    # in v is g / |v| G less its part along v.
    norm, x = wrapped("dense")
    norm.gain.assign([1.0, -2.0, 0.5, 3.0])
    v, g = norm.layer.kernel.numpy(), norm.gain.numpy()
    upstream = RNG.normal(size=(3, 4)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(upstream * norm(x))
    in_v, in_g = tape.gradient(loss, [norm.layer.kernel.value, norm.gain.value])
    in_w, lengths = x.T @ upstream, column_lengths(v)
    expected_g = (in_w * v).sum(0) / lengths
    expected_v = g / lengths * in_w - g * expected_g / lengths**2 * v
    np.testing.assert_allclose(in_g, expected_g, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(in_v, expected_v, rtol=1e-4, atol=1e-5)


@KINDS
def test_it_can_be_differentiated_twice(kind):
    norm, x = wrapped(kind)

    def energy(v):
        return tf.reduce_sum(tf.reshape(tf.square(norm(v)), (3, -1)), axis=-1)

    with tf.GradientTape() as tape:
        _, gradient = energy_and_gradient(energy, tf.constant(x))
        penalty = tf.reduce_mean(squared_norm(gradient))
    weights = [norm.layer.kernel.value, norm.gain.value]
    for second in tape.gradient(penalty, weights):
        assert np.all(np.isfinite(second)) and np.any(second != 0)


def test_a_column_of_zeros_is_no_nan():
    norm, x = wrapped("dense")
    kernel = norm.layer.kernel.numpy()
    kernel[:, 1] = 0.0
    norm.layer.kernel.assign(kernel)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(norm(x))
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, norm.layer.kernel.value)).all()


def test_the_kernel_is_normalised_in_float32_under_mixed_precision():
    layer = keras.layers.Dense(4, dtype="mixed_bfloat16")
    norm = WeightNorm(layer, dtype="mixed_bfloat16")
    assert norm(ROWS).dtype == "bfloat16"
    assert norm.normalized_kernel().dtype == "float32" == norm.gain.dtype


@KINDS
def test_a_saved_layer_is_the_same(kind, tmp_path):
    layer, x = LAYERS[kind]()
    model = keras.Sequential([keras.Input(x.shape[1:]), WeightNorm(layer)])
    model.layers[0].gain.assign([1.0, -2.0, 0.5, 3.0])
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy(x), model(x))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.BatchNormalization(),
        keras.layers.Conv2DTranspose(4, 3),
        keras.layers.Conv2D(4, 3, data_format="channels_first"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_other_layers_are_refused(layer):
    with pytest.raises(ValueError, match="`layer` must be .*leave other layers"):
        WeightNorm(layer)
