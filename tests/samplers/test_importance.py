import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.samplers import (
    effective_share,
    normalised_weights,
    systematic_resampling,
    tempering,
)


def weights_of(size, spread, seed=0):
    log_weights = spread * np.random.default_rng(seed).normal(size=size)
    return normalised_weights(tf.constant(log_weights, tf.float32))


def test_weights_sum_to_1_however_far_apart():
    weights = normalised_weights(tf.constant([1e4, 1e4 - 1.0, -1e4]))
    expected = np.array([1.0, np.exp(-1.0), 0.0]) / (1.0 + np.exp(-1.0))
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_the_effective_share_goes_from_one_sample_to_all():
    np.testing.assert_allclose(effective_share(tf.fill([8], 1 / 8)), 1.0, rtol=1e-6)
    np.testing.assert_allclose(effective_share(tf.one_hot(3, 8)), 1 / 8, rtol=1e-6)
    np.testing.assert_allclose(effective_share(tf.constant([0.5, 0.5, 0, 0])), 0.5)


@pytest.mark.parametrize("uniform", [0.0, 0.3, 0.999999])
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_every_sample_is_taken_as_often_as_it_weighs_up_to_rounding(spread, uniform):
    weights = weights_of(200, spread)
    kept = systematic_resampling(weights, uniform).numpy()
    counts = np.bincount(kept, minlength=200)
    assert len(kept) == 200 and np.all(np.diff(kept) >= 0)
    # The places are exact to float32's sum of 200 terms.
    assert np.all(np.abs(counts - 200 * weights.numpy()) < 1 + 1e-3)


def test_over_the_random_number_resampling_is_unbiased():
    weights = weights_of(10, 1.0)
    offsets = (np.arange(1000) + 0.5) / 1000
    kept = [systematic_resampling(weights, tf.constant(u, tf.float32)) for u in offsets]
    counts = np.bincount(np.concatenate(kept), minlength=10) / 1000
    # A grid of a thousand offsets is exact to a thousandth.
    np.testing.assert_allclose(counts, 10 * weights.numpy(), atol=2e-3)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_tempering_leaves_the_share_that_was_asked_for(share):
    log_weights = tf.constant(
        4.0 * np.random.default_rng(0).normal(size=500), tf.float32
    )
    exponent = tempering(log_weights, share)
    assert 0 < exponent < 1
    left = effective_share(tf.nn.softmax(exponent * log_weights))
    # The largest such exponent, to 2^-16 of it.
    assert share <= left < share + 1e-3


def test_even_weights_are_not_tempered():
    assert tempering(tf.constant([0.0, 0.1, -0.1]), 0.5) == 1.0
