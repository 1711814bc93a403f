import keras
import numpy as np
import pytest
import tensorflow as tf
from entropy_support import draw_from, entropy_gradient, linear_generator
from support import make_generator

from keras_ebm.entropy import MutualInformation
from keras_ebm.generators import GaussianGenerator
from keras_ebm.random import StepRandom

STDDEV = 0.5
#: I(x; z) = 1/2 log(1 + W^2 / sigma^2) for one dimension of W = 1.
TRUTH = 0.5 * np.log(1.0 + 1.0 / STDDEV**2)


def trained(generator, bound, steps=600):
    """The critic after `steps` descents on a generator that stands still."""
    estimator = MutualInformation(bound, hidden=(64, 64))
    estimator.build_for(generator)
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(3e-3, steps)
    )
    optimizer.build(estimator.trainable_variables)
    weights = [v.value for v in estimator.trainable_variables]

    @tf.function(autograph=False)
    def step(iteration):
        random = StepRandom(0, iteration)
        draw = draw_from(generator, 512, random)
        with tf.GradientTape() as tape:
            loss = estimator.loss(generator, draw, random)
        optimizer.apply(tape.gradient(loss, weights), estimator.trainable_variables)

    for i in range(steps):
        step(tf.constant(i, tf.int64))
    return estimator


def test_the_bound_in_nats_reaches_the_information_from_below():
    generator = linear_generator(np.ones((1, 1), np.float32), stddev=STDDEV)
    estimator = trained(generator, "donsker_varadhan")
    values = []
    for i in range(20):
        draw = draw_from(generator, 2000, StepRandom(1, i))
        values.append(float(estimator.information(draw.x, draw.latents)))
    error = np.std(values, ddof=1) / np.sqrt(20)
    # The critic's shortfall is of second order in its own error.
    assert TRUTH - 0.06 < np.mean(values) < TRUTH + 3 * error
    # Its gradient in W is that of the information, 1 / (W (1 + sigma^2 / W^2)).
    gradients = [
        entropy_gradient(generator, estimator, 2000, 2, i)[0][0, 0] for i in range(20)
    ]
    exact = 1.0 / (1.0 + STDDEV**2)
    assert abs(np.mean(gradients) - exact) < 0.25 * exact


def test_the_steadier_bound_raises_the_entropy_too():
    generator = linear_generator(np.ones((1, 1), np.float32), stddev=STDDEV)
    estimator = trained(generator, "jensen_shannon")
    gradients = [
        entropy_gradient(generator, estimator, 2000, 2, i)[0][0, 0] for i in range(10)
    ]
    assert np.mean(gradients) > 5 * np.std(gradients, ddof=1) / np.sqrt(10)


@pytest.mark.parametrize("bound", ["jensen_shannon", "donsker_varadhan"])
def test_a_critic_that_cannot_tell_sees_no_information(bound):
    generator = make_generator()
    estimator = MutualInformation(bound)
    estimator.build_for(generator)
    for variable in estimator.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    draw = draw_from(generator, 8, StepRandom(0, 0))
    information = estimator.information(draw.x, draw.latents)
    np.testing.assert_allclose(information, 0.0, atol=1e-6)


def test_the_noise_alone_counts_its_own_entropy():
    generator = make_generator()
    estimator = MutualInformation()
    estimator.build_for(generator)
    for variable in estimator.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    with tf.GradientTape() as tape:
        draw = draw_from(generator, 8, StepRandom(0, 0))
        value = estimator.estimate(generator, draw, {}).surrogate
    # D log sigma: one nat for each of the 4 dimensions.
    slope = tape.gradient(value, generator.log_stddev.value)
    np.testing.assert_allclose(slope, 4.0, rtol=1e-6)


def test_batch_normalisation_is_no_hindrance():
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    )
    MutualInformation().build_for(GaussianGenerator(decoder))


@pytest.mark.parametrize(
    "arguments, match",
    [({"bound": "nce"}, "`bound` must be one of"), ({"hidden": (0,)}, "`hidden`")],
)
def test_bad_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        MutualInformation(**arguments)
