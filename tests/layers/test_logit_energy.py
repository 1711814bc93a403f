import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from keras_ebm.layers import LogitEnergy

LOGITS = np.array([[1.0, -2.0, 0.5], [100.0, 99.0, -100.0]], np.float32)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_energy_is_minus_the_scaled_logsumexp(temperature):
    expected = -temperature * logsumexp(LOGITS / temperature, axis=-1)
    energy = LogitEnergy(temperature)(LOGITS)
    np.testing.assert_allclose(energy, expected, rtol=1e-6)


def test_one_logit_is_minus_the_energy():
    np.testing.assert_allclose(LogitEnergy()(LOGITS[:, :1]), -LOGITS[:, 0], rtol=1e-6)


def test_energy_goes_to_minus_the_largest_logit_as_it_gets_cold():
    # The gap to the maximum is T log(1 + exp(-0.5 / T) + ...) < 1e-3 * log 3.
    energy = LogitEnergy(1e-3)(LOGITS)
    np.testing.assert_allclose(energy, -LOGITS.max(axis=-1), atol=1.1e-3)


def test_the_gradient_is_minus_the_class_probabilities():
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        energy = LogitEnergy()(logits)
    expected = -tf.nn.softmax(logits)
    np.testing.assert_allclose(tape.gradient(energy, logits), expected, atol=1e-6)


def test_energies_are_float32_under_a_mixed_policy():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        energy = LogitEnergy()(tf.cast(LOGITS, tf.bfloat16))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert energy.dtype == tf.float32
    # These logits are exact in bfloat16; the sum of exponentials would not be.
    np.testing.assert_allclose(energy, -logsumexp(LOGITS, axis=-1), rtol=1e-6)


def test_the_config_round_trips():
    layer = LogitEnergy(0.7, name="energy")
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(copy(LOGITS), layer(LOGITS))


def test_the_symbolic_shape_has_one_energy_an_example():
    inputs = keras.Input((5,))
    assert LogitEnergy()(inputs).shape == (None,)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), "1"])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number"):
        LogitEnergy(temperature)
