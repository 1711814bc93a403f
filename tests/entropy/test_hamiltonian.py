import numpy as np
import pytest
import tensorflow as tf
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

from keras_ebm.entropy import Draw, HamiltonianChains
from keras_ebm.random import StepRandom

WEIGHTS = np.array([[0.5, 0.1], [0.2, -0.3], [0.1, 0.4]], np.float32)


def built(generator, *args, **kwargs):
    estimator = HamiltonianChains(*args, **kwargs)
    estimator.build_for(generator)
    return estimator


def test_chains_give_the_exact_score_of_a_linear_generator():
    generator = linear_generator(WEIGHTS)
    estimator = built(generator, 40, 10, adaptation_rate=1e-6)
    estimator.step_size.assign(0.3)
    # One x, and chains of their own from a latent that is not its mean.
    rows, x = 4000, np.array([0.6, -0.2, 0.4], np.float32)
    draw = Draw(tf.tile(x[None], [rows, 1]), tf.ones([rows, 2]), tf.zeros([rows, 3]))
    prepared = tf.function(
        lambda: estimator.prepare(generator, draw, StepRandom(0, 0)), autograph=False
    )()
    score = prepared["score"].numpy()
    exact = -np.linalg.solve(covariance(WEIGHTS), x)
    # Chains are independent: their spread gives the standard error of the mean.
    error = np.abs(score.mean(axis=0) - exact)
    assert np.all(error < 5 * score.std(axis=0) / np.sqrt(rows))
    assert np.all(error < 0.1 * np.abs(exact).max())


@pytest.mark.parametrize("target", [0.5, 0.9])
def test_the_acceptance_adapts_to_its_target(target):
    generator = linear_generator(WEIGHTS)
    estimator = built(generator, target_acceptance=target, adaptation_rate=0.2)
    rates = []
    warm_up(estimator, generator, 120, 200, each=rates.append)
    accepted = np.mean([rate["acceptance"] for rate in rates[-20:]])
    # 20 steps of 200 chains, each one's step a tenth off by the adaptation itself.
    assert abs(accepted - target) < 0.04


def recovery(generator, weights, **kwargs):
    """Share of the true gradient, once the step size has adapted."""
    estimator = built(generator, adaptation_rate=0.1, **kwargs)
    warm_up(estimator, generator, 120, 100)
    gradient, _ = entropy_gradient(generator, estimator, 4000)
    truth, _ = true_gradient(weights)
    return np.sum(gradient * truth) / np.sum(truth * truth)


def test_the_published_force_recovers_next_to_nothing():
    # Eigenvalues of W'W / sigma^2 from 0.3 to 20, sigma 0.3.
    weights = orthogonal_weights(40, 20, 0.3 * np.sqrt([0.3, 20.0]))
    generator = linear_generator(weights)
    # An independent implementation had 0.92 and 0.04 at k = 10, 0.74 and -0.03
    # at k = 100.
    assert recovery(generator, weights) > 0.7
    assert recovery(generator, weights, compat=True) < 0.15


def test_what_a_chain_does_not_forget_is_not_counted():
    generator = linear_generator(WEIGHTS)
    estimator = built(generator, adaptation_rate=1e-6)
    estimator.step_size.assign(1e-4)
    gradient, _ = entropy_gradient(generator, estimator, 4000)
    truth, _ = true_gradient(WEIGHTS)
    # A chain that stays at z0: noise alone, |eps / sigma| over 4,000 draws.
    assert abs(np.sum(gradient * truth) / np.sum(truth * truth)) < 0.1


def test_the_logs_are_those_it_names():
    generator = make_generator()
    estimator = built(generator)
    random = StepRandom(0, 0)
    prepared = estimator.prepare(generator, draw_from(generator, 4, random), random)
    logs = estimator.logs(prepared)
    assert tuple(logs) == estimator.log_names
    assert 0 <= logs["chain_acceptance"] <= 1
    # From 1 / k, by a fiftieth of how far the acceptance was from 0.67.
    expected = 0.5 * (1 + 0.02 * (float(logs["chain_acceptance"]) - 0.67))
    np.testing.assert_allclose(logs["chain_step_size"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"num_burn_in": 0}, "`num_burn_in`"),
        ({"num_samples": 0}, "`num_samples`"),
        ({"num_leapfrog": 0}, "`num_leapfrog`"),
        ({"target_acceptance": 1.0}, "`target_acceptance` must be below 1"),
        ({"adaptation_rate": 0.0}, "`adaptation_rate`"),
    ],
)
def test_bad_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        HamiltonianChains(**arguments)
