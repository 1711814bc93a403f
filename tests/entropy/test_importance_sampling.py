import keras
import numpy as np
import pytest
import tensorflow as tf
from entropy_support import (
    SIGMA,
    covariance,
    draw_from,
    entropy_gradient,
    linear_generator,
)
from support import make_generator

from keras_ebm import GaussianGenerator, networks
from keras_ebm.entropy import Draw, ImportanceSampling, importance_sampling
from keras_ebm.random import StepRandom


def estimator_at_the_optimum(weights, num_samples, widening=1.0):
    """The estimator with its widths where the lower bound is highest."""
    estimator = ImportanceSampling(num_samples, widening=widening)
    estimator.build((None, weights.shape[1]))
    estimator.log_width.assign(np.log(best_width(weights)))
    return estimator


def best_width(weights):
    return 1.0 / np.sqrt(1.0 + np.sum(weights**2, axis=0) / SIGMA**2)


def recovery(weights, num_samples, widening=1.0, seeds=4):
    """Share of the true gradient recovered, and the standard error of it."""
    truth = np.linalg.solve(covariance(weights), weights)
    generator = linear_generator(weights)
    estimator = estimator_at_the_optimum(weights, num_samples, widening)
    shares = []
    for seed in range(seeds):
        gradient, _ = entropy_gradient(generator, estimator, 5000, seed)
        shares.append(np.sum(gradient * truth) / np.sum(truth * truth))
    return np.mean(shares), np.std(shares, ddof=1) / np.sqrt(seeds)


def test_the_widths_reach_the_optimum_of_the_lower_bound():
    weights = np.array([[0.5, 0.1], [0.2, -0.05], [0.0, 0.3]], np.float32)
    generator = linear_generator(weights)
    estimator = ImportanceSampling(initial_width=0.1)
    estimator.build_for(generator)
    variables = [estimator.log_width.value]
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(estimator.trainable_variables)

    @tf.function(autograph=False)
    def step(iteration):
        random = StepRandom(0, iteration)
        draw = draw_from(generator, 500, random)
        with tf.GradientTape() as tape:
            loss = estimator.loss(generator, draw, random)
        optimizer.apply(tape.gradient(loss, variables), estimator.trainable_variables)
        return tf.exp(estimator.log_width.value)

    widths = [step(tf.constant(i, tf.int64)).numpy() for i in range(400)]
    # A step's gradient has a relative noise of about sqrt(2 / 500) = 6%, and
    # Adam's 0.02 averages some 50 of them: 1% of jitter, less over 200 steps.
    average = np.mean(widths[200:], axis=0)
    np.testing.assert_allclose(average, best_width(weights), rtol=0.02)


def test_the_posterior_loss_is_minus_the_lower_bound():
    # Closed form of the bound for one x and z0 of a linear generator.
    weights = np.array([[0.8], [-0.4]], np.float32)
    generator = linear_generator(weights)
    estimator = ImportanceSampling(initial_width=0.3)
    estimator.build_for(generator)
    x, z0 = np.array([0.4, 0.1]), np.array([0.5])
    rows = 20_000
    draw = Draw(
        tf.constant(np.tile(x, (rows, 1)), tf.float32),
        tf.constant(np.tile(z0, (rows, 1)), tf.float32),
        tf.zeros([rows, 2]),
    )
    spread = 0.3**2 * np.sum(weights**2)
    misfit = np.sum((x - weights @ z0) ** 2) + spread
    bound = (
        -misfit / (2 * SIGMA**2)
        - np.log(2 * np.pi * SIGMA**2)
        - (z0 @ z0 + 0.3**2) / 2
        - 0.5 * np.log(2 * np.pi)
        + 0.5 * np.log(2 * np.pi * np.e * 0.3**2)
    )
    loss = estimator.loss(generator, draw, StepRandom(0, 0))
    # One row's value has a standard deviation below 0.8: 0.006 for the mean.
    np.testing.assert_allclose(loss, -bound, atol=0.03)


def test_many_samples_give_the_exact_score():
    weights = np.array([[0.5, 0.1], [0.2, -0.3], [0.1, 0.4]], np.float32)
    bias = np.array([1.0, -2.0, 0.5], np.float32)
    generator = linear_generator(weights, bias)
    estimator = estimator_at_the_optimum(weights, 20_000, widening=3.0)
    random = StepRandom(0, 0)
    draw = draw_from(generator, 12, random)
    prepared = estimator.prepare(generator, draw, random)

    exact = -np.linalg.solve(covariance(weights), (draw.x.numpy() - bias).T).T
    posterior = np.linalg.inv(np.eye(2) + weights.T @ weights / SIGMA**2)
    spread = np.sqrt(np.diag(weights @ posterior @ weights.T)) / SIGMA**2
    size = prepared["effective_sample_size"].numpy()
    assert size.min() > 1000
    # A weighted mean of draws of this spread: 36 numbers, five standard errors.
    error = np.abs(prepared["score"].numpy() - exact)
    assert np.all(error < 5 * spread / np.sqrt(size)[:, None])


def test_weights_are_self_normalised_importance_weights():
    generator = make_generator()
    estimator = ImportanceSampling(num_samples=5)
    estimator.build_for(generator)
    random = StepRandom(0, 3)
    draw = draw_from(generator, 3, random)
    score = estimator.prepare(generator, draw, random)["score"].numpy()

    noise = random.normal([3, 5, 2], "importance").numpy()
    for row in range(3):
        z0, x = draw.latents[row].numpy(), draw.x[row].numpy()
        z = z0 + 0.1 * noise[row]
        means = generator(z).numpy()
        log_weights = (
            -np.sum((x - means) ** 2, -1) / (2 * 0.1**2)
            - np.sum(z**2, -1) / 2
            + np.sum((z - z0) ** 2, -1) / (2 * 0.1**2)
        )
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        expected = (weights @ means - x) / 0.1**2
        np.testing.assert_allclose(score[row], expected, rtol=2e-3, atol=2e-3)


def test_more_samples_recover_more_of_the_entropy_gradient():
    weights = np.array([[0.6], [0.8]], np.float32)
    at_z0, noise_z0 = recovery(weights, 1, widening=1e-3)
    few, noise_few = recovery(weights, 20)
    many, noise_many = recovery(weights, 100)
    # Proposals that stay at z0 see a score that knows nothing of W.
    assert abs(at_z0) < 5 * noise_z0 + 0.02
    # An independent implementation recovered 0.79 and 0.89 with 20,000 draws.
    assert abs(few - 0.79) < 0.05
    assert abs(many - 0.90) < 0.05
    assert few + 3 * (noise_few + noise_many) < many


def test_wider_proposals_recover_more_of_the_entropy_gradient():
    weights = np.array([[0.6], [0.8]], np.float32)
    plain, noise_plain = recovery(weights, 20)
    wide, noise_wide = recovery(weights, 20, widening=3.0)
    # Five standard errors of the difference.
    assert plain + 5 * np.hypot(noise_plain, noise_wide) < wide
    assert abs(wide - 0.98) < 0.05


def test_descending_minus_the_surrogate_raises_the_entropy():
    weights = np.array([[0.6, 0.1], [0.2, -0.4]], np.float32)
    generator = linear_generator(weights)
    estimator = estimator_at_the_optimum(weights, 20)
    gradient, slope = entropy_gradient(generator, estimator, 2000)

    def entropy(weights, stddev):
        return 0.5 * np.linalg.slogdet(covariance(weights, stddev))[1]

    start = entropy(weights, SIGMA)
    rate = 0.01
    # Descending -surrogate moves the weights along its gradient.
    assert entropy(weights + rate * gradient, SIGMA) > start + 0.001
    assert entropy(weights, SIGMA * np.exp(rate * slope)) > start + 0.001


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="only a CPU takes passes"
)
def test_a_large_decoder_in_passes_gives_what_one_pass_gives(monkeypatch):
    decoder = networks.resnet_decoder(6, (32, 32, 3), filters=32, normalization=None)
    generator = GaussianGenerator(decoder)
    estimator = ImportanceSampling(18)
    estimator.build_for(generator)
    latents = keras.random.normal((3, 6), seed=1)
    noise = keras.random.normal((3, 32, 32, 3), seed=2)
    draw = Draw(generator.sample(latents, noise), latents, noise)
    passes = []
    monkeypatch.setattr(decoder, "call", counted(decoder.call, passes))

    def prepare():
        return estimator.prepare(generator, draw, StepRandom(0, 0))

    split = prepare()
    assert passes == [12] * 4 + [6]
    passes.clear()
    monkeypatch.setattr(importance_sampling, "_LARGE", np.inf)
    whole = prepare()
    assert passes == [54]
    # The same sums in another order: float32's rounding, over sigma^2 = 0.01.
    np.testing.assert_allclose(split["score"], whole["score"], atol=1e-3)
    np.testing.assert_allclose(
        split["effective_sample_size"], whole["effective_sample_size"], rtol=1e-3
    )


def counted(call, rows):
    """`call`, which also appends the rows that it gets."""

    def counting(inputs, **kwargs):
        rows.append(len(inputs))
        return call(inputs, **kwargs)

    return counting


def test_no_gradient_reaches_the_weights_through_the_score():
    generator = make_generator()
    estimator = ImportanceSampling(num_samples=3)
    estimator.build_for(generator)
    random = StepRandom(0, 0)
    kernel = generator.decoder.trainable_variables[0].value

    def gradient(prepare_inside):
        draw = draw_from(generator, 4, random)
        prepared = estimator.prepare(generator, draw, random)
        with tf.GradientTape() as tape:
            draw = draw_from(generator, 4, random)
            if prepare_inside:
                prepared = estimator.prepare(generator, draw, random)
            value = estimator.estimate(generator, draw, prepared).surrogate
        return tape.gradient(value, kernel)

    np.testing.assert_allclose(gradient(True), gradient(False), rtol=1e-5, atol=1e-6)


def test_the_loss_moves_only_the_widths():
    generator = make_generator()
    estimator = ImportanceSampling()
    estimator.build_for(generator)
    assert len(estimator.trainable_variables) == 1
    random = StepRandom(0, 0)
    with tf.GradientTape() as tape:
        draw = draw_from(generator, 4, random)
        loss = estimator.loss(generator, Draw(*map(tf.stop_gradient, draw)), random)
    gradient = tape.gradient(loss, estimator.log_width.value)
    assert gradient.shape == (2,) and np.all(gradient != 0)


def test_the_effective_sample_size_lies_between_1_and_the_number_of_samples():
    generator = make_generator()
    estimator = ImportanceSampling(num_samples=7)
    estimator.build_for(generator)
    random = StepRandom(0, 0)
    prepared = estimator.prepare(generator, draw_from(generator, 50, random), random)
    size = prepared["effective_sample_size"].numpy()
    assert size.shape == (50,)
    assert size.min() >= 1 - 1e-5 and size.max() <= 7 + 1e-5
    log = estimator.logs(prepared)["effective_sample_size"]
    np.testing.assert_allclose(log, size.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"num_samples": 0}, "num_samples"),
        ({"initial_width": 0.0}, "initial_width"),
        ({"widening": -1.0}, "widening"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=f"`{named}` must be"):
        ImportanceSampling(**arguments)


def test_the_config_round_trips():
    estimator = ImportanceSampling(7, initial_width=0.2, widening=2.0)
    config = keras.saving.serialize_keras_object(estimator)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == estimator.get_config()
    assert (copy.num_samples, copy.initial_width, copy.widening) == (7, 0.2, 2.0)
