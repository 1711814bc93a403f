import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from support import FEATURES, LATENTS, assert_same_weights, make_generator

from keras_ebm.generators import GaussianGenerator
from keras_ebm.networks import convolutional_decoder, mlp_decoder


def test_a_sample_is_the_decoded_latent_plus_scaled_noise():
    generator = make_generator(initial_stddev=0.2)
    latents, noise = tf.random.normal([5, LATENTS]), tf.random.normal([5, FEATURES])
    expected = generator.decoder(latents) + 0.2 * noise
    sample = generator.sample(latents, noise)
    np.testing.assert_allclose(sample, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(generator(latents), generator.decoder(latents))


def test_log_prior_is_the_standard_normals():
    latents = np.random.default_rng(0).normal(size=(6, LATENTS)).astype(np.float32)
    expected = stats.norm.logpdf(latents).sum(-1)
    np.testing.assert_allclose(make_generator().log_prior(latents), expected, rtol=1e-5)


def test_log_likelihood_is_a_normal_around_the_decoded_latent():
    generator = make_generator(initial_stddev=0.05)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 1, FEATURES)).astype(np.float32)
    mean = rng.normal(size=(6, 3, FEATURES)).astype(np.float32)
    expected = stats.norm.logpdf(x, mean, 0.05).sum(-1)
    assert expected.shape == (6, 3)
    actual = generator.log_likelihood(x, mean)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_log_likelihood_of_an_image_sums_over_its_pixels():
    decoder = convolutional_decoder(2, (4, 4, 2), filters=(4,))
    generator = GaussianGenerator(decoder, initial_stddev=0.3)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4, 4, 2)).astype(np.float32)
    expected = stats.norm.logpdf(x, 0.1, 0.3).sum((1, 2, 3))
    actual = generator.log_likelihood(x, np.full_like(x, 0.1))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert generator.sample_shape == (4, 4, 2) and generator.latent_dim == 2


@pytest.mark.parametrize("direction, bound", [(-1.0, 0.01), (1.0, 0.3)])
def test_updates_leave_sigma_within_its_bounds(direction, bound):
    generator = make_generator()
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([generator.log_stddev])
    stddevs = []
    for _ in range(4):
        gradient = tf.constant(-direction)
        optimizer.apply([gradient], [generator.log_stddev])
        stddevs.append(float(generator.stddev))
    # A step of 1 in log sigma, clipped: from 0.1 one way takes two steps up
    # and three down.
    np.testing.assert_allclose(stddevs[0], min(0.1 * np.exp(direction), 0.3), rtol=1e-5)
    np.testing.assert_allclose(stddevs[-1], bound, rtol=1e-5)


def test_sigma_is_float32_under_a_mixed_policy():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        generator = make_generator()
        sample = generator.sample(tf.zeros([2, LATENTS]), tf.zeros([2, FEATURES]))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert generator.stddev.dtype == tf.float32
    assert sample.dtype == tf.float32
    np.testing.assert_allclose(generator.stddev, 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    "initial, bounds",
    [(0.5, (0.01, 0.3)), (0.001, (0.01, 0.3)), (0.1, (0.3, 0.01))],
)
def test_sigma_must_start_within_its_bounds(initial, bounds):
    with pytest.raises(ValueError, match="low <= initial_stddev <= high"):
        make_generator(initial_stddev=initial, stddev_bounds=bounds)


@pytest.mark.parametrize("bounds", [(0.0, 0.3), (0.01, float("inf"))])
def test_bounds_must_be_positive_numbers(bounds):
    with pytest.raises(ValueError, match="`stddev_bounds` must be a finite number"):
        make_generator(stddev_bounds=bounds)


def test_a_decoder_of_images_is_refused():
    inputs = keras.Input((4, 4, 1))
    decoder = keras.Model(inputs, keras.layers.Conv2D(1, 3)(inputs))
    with pytest.raises(ValueError, match="`decoder` must map latents"):
        GaussianGenerator(decoder)


def test_saving_keeps_everything(tmp_path):
    generator = make_generator(initial_stddev=0.05, stddev_bounds=(0.02, 0.2))
    generator.log_stddev.assign(np.log(0.15))
    path = tmp_path / "generator.keras"
    generator.save(path)
    copy = keras.models.load_model(path)
    assert_same_weights(copy, generator)
    assert copy.stddev_bounds == (0.02, 0.2) and copy.initial_stddev == 0.05
    latents, noise = tf.random.normal([5, LATENTS]), tf.random.normal([5, FEATURES])
    np.testing.assert_array_equal(
        copy.sample(latents, noise), generator.sample(latents, noise)
    )
    # The bounds are kept as a rule too: an update is clipped to them.
    optimizer = keras.optimizers.SGD(10.0)
    optimizer.build([copy.log_stddev])
    optimizer.apply([tf.constant(1.0)], [copy.log_stddev])
    np.testing.assert_allclose(copy.stddev, 0.02, rtol=1e-5)


def test_the_generator_has_the_shapes_of_its_decoder():
    generator = GaussianGenerator(mlp_decoder(3, (2, 5), hidden=(4,)))
    assert generator.latent_dim == 3
    assert generator.sample_shape == (2, 5)
    assert generator.predict(np.zeros((4, 3)), verbose=0).shape == (4, 2, 5)
