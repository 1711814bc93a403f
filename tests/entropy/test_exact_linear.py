import keras
import numpy as np
import pytest
import tensorflow_probability as tfp
from entropy_support import (
    covariance,
    draw_from,
    entropy_gradient,
    linear_generator,
    true_gradient,
)
from support import make_generator

from keras_ebm.entropy import ExactLinear
from keras_ebm.generators import GaussianGenerator
from keras_ebm.random import StepRandom

WEIGHTS = np.array([[0.5, 0.1], [0.2, -0.3], [0.1, 0.4]], np.float32)
BIAS = np.array([1.0, -2.0, 0.5], np.float32)


def test_entropy_and_log_density_are_the_normal_distributions():
    generator = linear_generator(WEIGHTS, BIAS)
    estimator = ExactLinear()
    estimator.build_for(generator)
    draw = draw_from(generator, 20, StepRandom(0, 0))
    estimate = estimator.estimate(generator, draw, {})
    normal = tfp.distributions.MultivariateNormalFullCovariance(
        BIAS.astype(np.float64), covariance(WEIGHTS.astype(np.float64))
    )
    np.testing.assert_allclose(estimate.surrogate, normal.entropy(), rtol=1e-5)
    expected = normal.log_prob(draw.x.numpy().astype(np.float64))
    # Sums of terms of size 10 in float32.
    np.testing.assert_allclose(estimate.log_density, expected, atol=1e-4)


def test_the_gradient_is_the_closed_form():
    generator = linear_generator(WEIGHTS, BIAS)
    gradient, slope = entropy_gradient(generator, ExactLinear(), 2)
    expected, expected_slope = true_gradient(WEIGHTS)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4)


def decoder(*layers):
    return GaussianGenerator(keras.Sequential([keras.Input((2,)), *layers]))


@pytest.mark.parametrize(
    "generator",
    [
        make_generator(),
        decoder(keras.layers.Dense(3, activation="tanh")),
        decoder(keras.layers.Dense(3), keras.layers.Activation("relu")),
        decoder(keras.layers.Dense(3), keras.layers.Dense(4)),
        decoder(keras.layers.Dense(3), keras.layers.Rescaling(2.0)),
    ],
)
def test_decoders_that_are_not_one_linear_layer_are_refused(generator):
    with pytest.raises(ValueError, match="one linear Dense layer.*log_volume"):
        ExactLinear().build_for(generator)
