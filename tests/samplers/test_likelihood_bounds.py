"""Bounds of `log Z` against energies whose `log Z` is known."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ebm.samplers import BoxSpace, WhitenedSpace, log_z_bounds

tfd = tfp.distributions
A, B = 3.0, 1.5


def beta_energy(x):
    """Unnormalised beta densities of each of 8 entries, in [0, 1], at half its log."""
    return -tf.reduce_sum(
        (A - 1.0) * tf.math.log(x) + (B - 1.0) * tf.math.log1p(-x), axis=1
    )


@pytest.fixture(scope="module")
def space():
    return BoxSpace((8,), 0.0, 1.0).check()


@pytest.fixture(scope="module")
def exact():
    beta = tfd.Beta(A, B)
    log_z = 8 * float(tf.math.lgamma(A) + tf.math.lgamma(B) - tf.math.lgamma(A + B))
    return log_z, beta.sample([64, 8], seed=0)


@pytest.mark.parametrize("given", [False, True], ids=["own starts", "exact starts"])
def test_both_bounds_of_a_density_in_a_box_close_in_on_its_integral(
    space, exact, given
):
    log_z, samples = exact
    bounds = log_z_bounds(
        space.energy_fn(beta_energy),
        space.uniform(),
        num_chains=64,
        num_steps=200,
        starts=space.from_box(samples) if given else None,
        burn_in=50,
    )
    # Each side is right to its standard error, of about .05 nats.
    assert bounds.lower < log_z + 4 * float(bounds.forward.stderr)
    assert bounds.upper > log_z - 4 * float(bounds.reverse.stderr)
    assert abs(bounds.upper - bounds.lower) < 0.3
    assert bounds.gradients > 64 * 400 and bounds.seconds > 0
    low, high = bounds.log_likelihood(beta_energy(samples))
    entropy = -8 * float(tfd.Beta(A, B).entropy())
    # Of 64 rows the mean has an error of about .1 nats.
    assert low - 0.5 < entropy < high + 0.5 and low <= high + 0.3


def test_little_annealing_leaves_a_gap_with_the_truth_inside(space, exact):
    log_z, samples = exact
    bounds = log_z_bounds(
        space.energy_fn(lambda x: 20.0 * beta_energy(x)),
        space.uniform(),
        num_chains=64,
        num_steps=3,
        step_size=0.05,
        starts=space.from_box(tfd.Beta(41.0, 11.0).sample([64, 8], seed=1)),
    )
    truth = 8 * float(
        tf.math.lgamma(41.0) + tf.math.lgamma(11.0) - tf.math.lgamma(52.0)
    )
    assert bounds.lower < truth < bounds.upper


def test_a_point_of_the_box_goes_to_the_whole_space_and_back():
    space = BoxSpace((3,), -1.0, 1.0).check()
    x = np.array([[-0.9, 0.0, 0.7]], np.float32)
    np.testing.assert_allclose(space.to_box(space.from_box(x)), x, atol=1e-6)
    # The uniform density of the box has energy log of its volume, where E = log 8.
    u = tf.constant(np.random.default_rng(0).normal(size=(5, 3)), tf.float32)
    flat = space.energy_fn(lambda x: tf.fill([len(x)], np.float32(np.log(8.0))))
    np.testing.assert_allclose(flat(u), -space.uniform().log_prob(u), rtol=1e-5)
    with pytest.raises(ValueError, match="low below high"):
        BoxSpace((3,), 1.0, 1.0).check()


def test_an_energy_too_steep_for_any_step_says_so(space):
    with pytest.raises(ValueError, match="pass a smaller `step_size`"):
        log_z_bounds(
            lambda u: 1e12 * tf.reduce_sum(u**2, axis=1),
            space.uniform(),
            num_chains=4,
            num_steps=2,
        )


def test_rows_are_a_standard_normal_of_their_own_space():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4_000, 3)) @ [[3.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0, 0, 0]]
    space = WhitenedSpace.of_rows(rows + 5.0)
    u = space.from_rows(tf.constant(rows + 5.0, tf.float32)).numpy()
    np.testing.assert_allclose(np.cov(u[:, :2], rowvar=False), np.eye(2), atol=0.08)
    # The third column is constant, and held to a hundredth of the others' spread.
    assert np.isfinite(u).all() and u[:, 2].std() < 1e-3
    np.testing.assert_allclose(space.to_rows(u), rows + 5.0, atol=1e-4)
    normal = tfd.MultivariateNormalTriL(space.mean, space.factor)
    bounds = log_z_bounds(
        space.energy_fn(lambda x: 2.0 - normal.log_prob(x)),
        space.wide_normal(),
        num_chains=32,
        num_steps=40,
        step_size=0.5,
        burn_in=5,
    )
    # A standard normal of depth 2, annealed from one of width 1.5.
    assert abs(bounds.lower + 2.0) < 0.3 and abs(bounds.upper + 2.0) < 0.3
