import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from entropy_support import (
    covariance,
    draw_from,
    entropy_gradient,
    linear_generator,
    orthogonal_weights,
    true_gradient,
    warm_up,
)
from support import make_generator

from benchmarks import entropy_truth
from keras_ebm.entropy import LogVolume
from keras_ebm.entropy.folds import fold_excess
from keras_ebm.generators import GaussianGenerator
from keras_ebm.jacobians import dense_jacobian
from keras_ebm.networks import mlp_decoder
from keras_ebm.random import StepRandom

WEIGHTS = np.array(
    [[0.5, 0.1, 1.0], [0.2, -0.3, 0.4], [0.1, 0.4, -2.0], [0.0, 1.0, 0.3]], np.float32
)
BIAS = np.array([1.0, -2.0, 0.5, 0.0], np.float32)


def built(generator, *args, **kwargs):
    estimator = LogVolume(*args, **kwargs)
    estimator.build_for(generator)
    return estimator


def test_the_dense_gradient_of_a_linear_generator_is_exact():
    generator = linear_generator(WEIGHTS, BIAS)
    gradient, slope = entropy_gradient(generator, built(generator, "dense"), 3)
    expected, expected_slope = true_gradient(WEIGHTS)
    # Whatever the draw, as the Jacobian is the same everywhere.
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4)


def test_the_iterative_gradient_of_a_linear_generator_is_unbiased():
    generator = linear_generator(WEIGHTS)
    # As many iterations as dimensions solve exactly; the probes' noise is left.
    estimator = built(generator, "iterative", num_iterations=3)
    found = [entropy_gradient(generator, estimator, 500, 0, i) for i in range(20)]
    for estimates, expected in zip(
        (np.stack(part) for part in zip(*found, strict=True)),
        true_gradient(WEIGHTS),
        strict=True,
    ):
        error = np.abs(estimates.mean(axis=0) - expected)
        # Five standard errors; the floor is float32's.
        assert np.all(error < 5 * estimates.std(axis=0, ddof=1) / np.sqrt(20) + 1e-4)
        assert np.all(error < 0.05)


@pytest.mark.parametrize("method", ["dense", "iterative"])
def test_the_log_density_of_a_linear_generator_is_exact(method):
    generator = linear_generator(WEIGHTS, BIAS)
    estimator = built(generator, method, num_iterations=3, decay=0.998)
    warm_up(estimator, generator, 60, 5000)
    random = StepRandom(0, 0)
    draw = draw_from(generator, 50, random)
    prepared = estimator.prepare(generator, draw, random)
    log_density = estimator.estimate(generator, draw, prepared).log_density
    expected = tfp.distributions.MultivariateNormalFullCovariance(
        BIAS.astype(np.float64), covariance(WEIGHTS.astype(np.float64))
    ).log_prob(draw.x.numpy().astype(np.float64))
    # The probe sees what the preconditioner, a mean over 300,000 products, leaves
    # of log A: entries of some 2 / sqrt(300000) = 0.4%, six of them.
    atol = {"dense": 1e-3, "iterative": 0.05}[method]
    np.testing.assert_allclose(log_density, expected, atol=atol)


def noise_by_entry(method):
    """A linear generator with one sigma an entry, its estimator, and the sigmas."""
    stddev = np.array([0.1, 0.2, 0.5, 1.0])
    decoder = linear_generator(WEIGHTS).decoder
    generator = GaussianGenerator(decoder, 0.1, (0.01, 2.0), per_entry=True)
    generator.log_stddev.assign(np.log(stddev))
    return generator, built(generator, method, num_iterations=3), stddev


@pytest.mark.parametrize("method", ["dense", "iterative"])
def test_one_sigma_an_entry_is_exact_too(method):
    generator, estimator, stddev = noise_by_entry(method)
    found = [entropy_gradient(generator, estimator, 500, 0, i) for i in range(20)]
    inverse = np.linalg.inv(WEIGHTS @ WEIGHTS.T + np.diag(stddev**2))
    for estimates, expected in zip(
        (np.stack(part) for part in zip(*found, strict=True)),
        (inverse @ WEIGHTS, stddev**2 * np.diag(inverse)),
        strict=True,
    ):
        error = np.abs(estimates.mean(axis=0) - expected)
        # Five standard errors, zero but for float32 where the route is dense.
        bound = 5 * estimates.std(axis=0, ddof=1) / np.sqrt(20) + 1e-3
        assert np.all(error < bound)


def true_entropy(generator, points=4001, extent=6.0):
    """`H(q)` of a generator of one dimension from one, by quadrature, in nats."""
    z = np.linspace(-extent, extent, points)
    mean = generator(z[:, None].astype(np.float32)).numpy()[:, 0].astype(np.float64)
    sigma = float(generator.stddev)
    x = np.linspace(mean.min() - 6 * sigma, mean.max() + 6 * sigma, 1501)
    kernel = np.exp(-0.5 * ((x[:, None] - mean) / sigma) ** 2)
    weights = np.exp(-0.5 * z**2)
    density = kernel @ (weights / weights.sum()) / (sigma * np.sqrt(2 * np.pi))
    return -np.sum(density * np.log(density + 1e-300)) * (x[1] - x[0])


def test_the_gradient_on_a_curve_is_that_of_the_entropy():
    # 2 z + MLP(z) rises everywhere, and sigma is small: the formula's own ground.
    generator = GaussianGenerator(
        mlp_decoder(1, (1,), hidden=(8,), skip=2.0), initial_stddev=0.05
    )
    variables = generator.decoder.trainable_variables
    for variable in variables:
        variable.assign_add(0.5 * keras.random.normal(variable.shape, seed=4))
    latents = np.linspace(-5, 5, 2001, dtype=np.float32)[:, None]
    assert dense_jacobian(generator, tf.constant(latents)).numpy().min() > 0.5
    estimator = built(generator, "dense")
    with tf.GradientTape() as tape:
        draw = draw_from(generator, 20_000, StepRandom(0, 0))
        value = estimator.estimate(generator, draw, {}).surrogate
    gradients = tape.gradient(
        value, [v.value for v in variables], unconnected_gradients="zero"
    )
    norm = float(tf.linalg.global_norm(gradients))

    def entropy_at(step):
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_add(step / norm * gradient)
        entropy = true_entropy(generator)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(step / norm * gradient)
        return entropy

    slope = (entropy_at(0.02) - entropy_at(-0.02)) / 0.04
    # 20,000 draws leave 1%, sigma^2 / J^2 less; the difference is of second order.
    np.testing.assert_allclose(norm, slope, rtol=0.04)


def test_it_recovers_the_entropy_gradient_of_a_random_network():
    case = entropy_truth.random_network(10, 3, seed=0, count=512)
    estimator = built(case.generator, "dense")
    with tf.GradientTape() as tape:
        draw = draw_from(case.generator, 4000, StepRandom(0, 0))
        value = estimator.estimate(case.generator, draw, {}).surrogate
    gradient = entropy_truth.flat_gradient(tape, value, case.generator).numpy()
    # The truth's own noise allows a cosine of about 0.98.
    assert entropy_truth.cosine(gradient, case.gradient) > 0.93
    assert 0.85 < gradient @ case.gradient / case.power < 1.1


def recovery(estimator, generator, weights):
    truth, _ = true_gradient(weights)
    gradient, _ = entropy_gradient(generator, estimator, 1000)
    return np.sum(gradient * truth) / np.sum(truth * truth)


def test_the_preconditioner_makes_few_iterations_enough(monkeypatch):
    # Column norms from 0.3 to 20: J'J has a condition number of 4,000.
    weights = orthogonal_weights(40, 30, (0.3, 20.0))
    generator = linear_generator(weights)
    estimator = built(generator, "iterative", num_iterations=2)
    warm_up(estimator, generator, 60, 200)
    assert abs(recovery(estimator, generator, weights) - 1.0) < 0.05
    monkeypatch.setattr(estimator, "_factor", lambda *_: tf.eye(30))
    assert recovery(estimator, generator, weights) < 0.5


@pytest.mark.parametrize("method", ["dense", "iterative"])
def test_a_compiled_estimate_is_the_eager_one(method):
    generator = make_generator()

    def run():
        estimator = built(generator, method)
        random = StepRandom(0, 0)

        def estimate():
            draw = draw_from(generator, 16, random)
            prepared = estimator.prepare(generator, draw, random)
            with tf.GradientTape() as tape:
                draw = draw_from(generator, 16, random)
                value = estimator.estimate(generator, draw, prepared)
            sources = [v.value for v in generator.trainable_variables]
            zero = "zero"
            return value, tape.gradient(value.surrogate, sources, None, zero)

        return estimate

    eager = run()()
    compiled = tf.function(run(), autograph=False)()
    for one, other in zip(
        tf.nest.flatten(eager), tf.nest.flatten(compiled), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def sheets(count, stddev, seed=0):
    """`g(z) = (z_0^2, z_1)` in units of the noise: z and its mirror image agree.

    Returns latents, means, transposed Jacobians and `log q` of the own sheet.
    """
    z = np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)
    means = np.stack([z[:, 0] ** 2, z[:, 1]], axis=-1) / stddev
    jacobians = np.zeros((count, 2, 2))
    jacobians[:, 0, 0], jacobians[:, 1, 1] = 2 * z[:, 0] / stddev, 1.0 / stddev
    log_density = -0.5 * np.sum(z**2, -1) - np.log(2 * np.pi)
    log_density -= np.log(np.abs(2 * z[:, 0]) + 1e-6) - 2 * np.log(stddev)
    parts = (means, jacobians, log_density)
    return z, *(tf.constant(part, tf.float32) for part in parts)


def test_a_fold_costs_the_log_of_its_sheets():
    z, means, jacobians, log_density = sheets(2000, 0.05)
    excess = fold_excess(means, means, jacobians, log_density).numpy()
    middle = (np.abs(z[:, 0]) > 0.7) & (np.linalg.norm(z, axis=-1) < 1.5)
    # Two sheets of equal density: log 2. The kernel's width of 0.3 smooths the
    # density by a few per cent, and some 60 neighbours estimate it.
    assert abs(np.mean(excess[middle]) - np.log(2.0)) < 0.07
    assert np.all(excess >= 0)


def test_a_map_that_is_one_to_one_has_no_fold():
    z, _, _, log_density = sheets(200, 0.1)
    matrix = np.array([[1.0, 0.5], [-0.3, 2.0]], np.float32)
    means = tf.constant(z @ matrix.T)
    jacobians = tf.tile(tf.constant(matrix.T)[None], [200, 1, 1])
    excess = fold_excess(means, means, jacobians, log_density)
    np.testing.assert_array_equal(excess, 0.0)


def test_the_fold_term_turns_a_fold_into_lost_entropy():
    # (|z_0| softly, z_1) covers the right half plane twice.
    latents = keras.Input((2,))
    first, second = latents[:, :1], latents[:, 1:]
    bent = keras.layers.Dense(1, name="bend", use_bias=False)(first**2)
    straight = keras.layers.Dense(1, name="straight", use_bias=False)(first)
    decoder = keras.Model(
        latents, keras.layers.Concatenate()([bent + straight, second])
    )
    decoder.get_layer("bend").kernel.assign([[1.0]])
    decoder.get_layer("straight").kernel.assign([[1.0]])
    generator = GaussianGenerator(decoder, initial_stddev=0.05)
    kernel = decoder.get_layer("straight").kernel.value

    def slope(**kwargs):
        estimator = built(generator, **kwargs)
        with tf.GradientTape() as tape:
            draw = draw_from(generator, 2000, StepRandom(0, 0))
            estimate = estimator.estimate(generator, draw, {})
        return float(tape.gradient(estimate.surrogate, kernel)[0, 0]), estimate

    plain, estimate = slope()
    folded, corrected = slope(fold_weight=1.0)
    # A larger linear part unfolds, which the fold term rewards.
    assert folded > plain + 0.05
    assert np.mean(corrected.log_density) > np.mean(estimate.log_density) + 0.1


def network_with(layer, latents=2, features=4):
    decoder = keras.Sequential(
        [keras.Input((latents,)), keras.layers.Dense(5), layer]
        + [keras.layers.Dense(features)]
    )
    return GaussianGenerator(decoder)


def rounding():
    return keras.layers.Lambda(tf.round)


def signs():
    return keras.layers.Lambda(tf.sign)


@pytest.mark.parametrize(
    "layer, match",
    [
        (keras.layers.BatchNormalization, "BatchNormalization.*mutual_information"),
        (rounding, "twice differentiable decoder.*importance"),
        (signs, "twice differentiable decoder.*importance"),
    ],
)
def test_a_decoder_it_cannot_serve_is_refused_with_one_that_can(layer, match):
    generator = network_with(layer())
    with pytest.raises(ValueError, match=match):
        LogVolume().build_for(generator)


@pytest.mark.parametrize(
    "generator, arguments, match",
    [
        ((70, 80), {"method": "dense"}, "at most 64.*latent_dim=70.*iterative"),
        ((2, 3), {"fold_weight": 1.0}, "`fold_weight`.*latent_dim=2.*3 numbers"),
        ((70, 70), {"fold_weight": 1.0}, "at most 64"),
    ],
)
def test_a_latent_of_the_wrong_size_is_refused(generator, arguments, match):
    latents, features = generator
    decoder = mlp_decoder(latents, (features,), hidden=(4,))
    with pytest.raises(ValueError, match=match):
        LogVolume(**arguments).build_for(GaussianGenerator(decoder))


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"method": "sparse"}, "`method` must be one of.*'sparse'"),
        ({"num_iterations": 0}, "`num_iterations`"),
        ({"fold_weight": -1.0}, "`fold_weight`"),
        ({"decay": 1.0}, "`decay` must be below 1"),
    ],
)
def test_bad_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        LogVolume(**arguments)


def test_auto_is_dense_for_small_latents_alone():
    small, large = make_generator(), GaussianGenerator(mlp_decoder(17, (20,)))
    assert not built(small).weights
    assert [w.shape for w in built(large).weights] == [(17, 17), ()]


def test_a_layer_that_starts_at_zero_is_no_obstacle():
    zeros = keras.layers.Dense(4, kernel_initializer="zeros")
    built(network_with(zeros))
