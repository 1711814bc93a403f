import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ebm.samplers import annealed_importance, reverse_annealed_importance

tfd = tfp.distributions


def standard_normal(size):
    return tfd.MultivariateNormalDiag(tf.zeros(size), tf.ones(size))


def energy_of(target, log_partition):
    """The energy of a normalised density, with `log Z` as wanted."""

    def energy_fn(x):
        return -target.log_prob(x) - log_partition

    return energy_fn


def narrow(size):
    """A Gaussian off the base's centre, with unequal scales."""
    scale = tf.linspace(0.5, 1.5, size)
    return tfd.MultivariateNormalDiag(0.5 * tf.ones(size), scale)


def mixture():
    weights = tfd.Categorical(probs=[0.3, 0.7])
    parts = tfd.MultivariateNormalDiag([[-2.0, 0.0], [2.0, 1.0]], 0.6 * tf.ones([2, 2]))
    return tfd.MixtureSameFamily(weights, parts)


def both_ways(target, base, log_partition, num_chains=400, **settings):
    energy_fn = energy_of(target, log_partition)
    below = annealed_importance(
        energy_fn, base, num_chains=num_chains, seed=(3, 1), **settings
    )
    x = target.sample(num_chains, seed=(5, 2))
    above = reverse_annealed_importance(energy_fn, base, x, seed=(3, 4), **settings)
    return below, above


@pytest.mark.parametrize(
    "target, base, log_partition, settings",
    [
        (narrow(2), standard_normal(2), 1.7, {"num_steps": 50, "step_size": 0.5}),
        (narrow(20), standard_normal(20), -30.0, {"num_steps": 300, "step_size": 0.3}),
        (
            mixture(),
            tfd.MultivariateNormalDiag(tf.zeros(2), 2.5 * tf.ones(2)),
            4.0,
            {"num_steps": 100, "step_size": 0.4},
        ),
    ],
    ids=["2 dimensions", "20 dimensions", "mixture"],
)
def test_both_directions_find_log_z(target, base, log_partition, settings):
    for chains in both_ways(target, base, log_partition, **settings):
        assert chains.log_weights.shape == (400,)
        error = abs(float(chains.estimate) - log_partition)
        assert error < 4.0 * float(chains.stderr) and chains.stderr < 0.1
        assert 50.0 < chains.effective_sample_size <= 400.0
        assert 0.6 < chains.acceptance <= 1.0


def test_the_mean_log_weights_straddle_log_z():
    # Jensen's gap is what few steps leave; the means' own error is far smaller.
    below, above = both_ways(
        narrow(20), standard_normal(20), 2.0, num_steps=5, step_size=0.3
    )
    low, high = below.log_weights.numpy(), -above.log_weights.numpy()
    for values, sign in ((low, -1.0), (high, 1.0)):
        standard_error = values.std() / np.sqrt(len(values))
        assert sign * (values.mean() - 2.0) > 5.0 * standard_error


def test_weights_without_a_transition_to_speak_of_are_those_of_importance_sampling():
    # A step of nearly no length: one weight is exp(-E(x)) / base(x) at the start.
    target, base = narrow(2), standard_normal(2)
    chains = annealed_importance(
        energy_of(target, 0.0), base, num_chains=8, num_steps=4, step_size=1e-7
    )
    seeds = tf.random.experimental.stateless_split(tf.constant([0, 0]), 2, "philox")
    x = base.sample(8, seed=seeds[0])
    expected = target.log_prob(x) - base.log_prob(x)
    np.testing.assert_allclose(chains.log_weights, expected, atol=1e-4)
    weights = np.exp(expected.numpy())
    assert float(chains.estimate) == pytest.approx(np.log(weights.mean()), abs=1e-4)
    standard_error = weights.std(ddof=1) / np.sqrt(8) / weights.mean()
    assert float(chains.stderr) == pytest.approx(standard_error, rel=1e-3)
    effective = weights.sum() ** 2 / np.square(weights).sum()
    assert float(chains.effective_sample_size) == pytest.approx(effective, rel=1e-3)


def test_a_seed_repeats_its_chains_and_compiled_ones_agree():
    settings = {"num_chains": 100, "num_steps": 20, "step_size": 0.5}
    energy_fn, base = energy_of(narrow(2), 0.0), standard_normal(2)
    first, again, compiled, other = (
        annealed_importance(energy_fn, base, seed=seed, jit_compile=jit, **settings)
        for seed, jit in (
            ((1, 2), False),
            ((1, 2), False),
            ((1, 2), True),
            ((1, 3), False),
        )
    )
    np.testing.assert_array_equal(first.log_weights, again.log_weights)
    assert not np.allclose(first.log_weights, other.log_weights)
    # XLA draws other noise, of the same law.
    assert abs(float(compiled.estimate)) < 4.0 * float(compiled.stderr)


def test_images_have_chains_too():
    shape = (4, 4, 1)
    base = tfd.Independent(tfd.Normal(tf.zeros(shape), 1.0), 3)
    target = tfd.Independent(tfd.Normal(tf.zeros(shape), 0.8), 3)
    chains = annealed_importance(
        energy_of(target, 3.0), base, num_chains=100, num_steps=50, step_size=0.3
    )
    assert abs(float(chains.estimate) - 3.0) < 4.0 * float(chains.stderr)


def test_double_precision_is_kept_and_arrays_are_taken():
    base = tfd.MultivariateNormalDiag(np.zeros(2), np.ones(2))
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    chains = reverse_annealed_importance(
        energy_of(base, 1.5), base, x, num_steps=4, step_size=0.5
    )
    assert chains.log_weights.dtype == tf.float64
    np.testing.assert_allclose(chains.log_weights, -1.5, atol=1e-6)
    assert float(chains.estimate) == pytest.approx(1.5, abs=1e-6)


def test_a_weight_that_is_not_finite_is_an_error():
    def energy_fn(x):
        return tf.where(x[:, 0] > 0.0, tf.reduce_sum(x * x, -1), float("inf"))

    with pytest.raises(ValueError, match="log-weight must be finite.*of 20"):
        annealed_importance(
            energy_fn, standard_normal(2), num_chains=20, num_steps=3, step_size=0.1
        )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_chains": 1}, "at least 2 chains"),
        ({"num_steps": 0}, "num_steps=0"),
        ({"step_size": 0.0}, "step_size=0.0"),
        ({"num_leapfrog": 0}, "num_leapfrog=0"),
        ({"seed": 3}, "pair of integers.*seed=3"),
        ({"base": tfd.Normal(tf.zeros(2), 1.0)}, r"base.log_prob.*\(4, 2\)"),
        ({"energy_fn": lambda x: x}, r"energy_fn.*\(4, 2\)"),
    ],
)
def test_an_argument_that_breaks_its_rule_is_refused(change, message):
    arguments = {
        "energy_fn": energy_of(narrow(2), 0.0),
        "base": standard_normal(2),
        "num_chains": 4,
        "num_steps": 3,
        "step_size": 0.1,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        annealed_importance(
            arguments.pop("energy_fn"), arguments.pop("base"), **arguments
        )
