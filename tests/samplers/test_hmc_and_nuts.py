import numpy as np
import pytest
import tensorflow as tf
from targets import TARGETS, assert_moments

from keras_ebm.random import StepRandom
from keras_ebm.samplers import hmc, mala, mala_state, nuts

RANDOM = StepRandom(0, 0)


def start(count=100):
    return tf.zeros([count, 2])


@tf.function(autograph=False)
def run_mala(energy, num_burnin, num_steps):
    settings = {"step_size": 0.08, "random": RANDOM}
    state = mala_state(energy, start())
    state, _ = mala(energy, state, num_steps=num_burnin, **settings)
    settings |= {"first_step": num_burnin, "keep": True}
    return mala(energy, state, num_steps=num_steps, **settings)


def run(kind, energy, random=RANDOM, **settings):
    """A chain of each adjusted sampler, long enough for two-dimensional targets."""
    if kind == "mala":
        return run_mala(energy, 300, 700)
    settings = {"num_burnin": 300, "step_size": 0.1, "keep": True, **settings}
    if kind == "hmc":
        return hmc(energy, start(), num_steps=500, random=random, **settings)
    return nuts(
        energy, start(20), num_steps=200, random=random, max_tree_depth=6, **settings
    )


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("kind", ["mala", "hmc", "nuts"])
def test_adjusted_samplers_have_the_targets_moments(kind, name):
    target = TARGETS[name]
    # The banana is narrow in its tails, where long steps get stuck.
    accept = {} if kind == "mala" else {"target_acceptance": 0.9}
    _, info = run(kind, target.energy, **accept)
    assert_moments(info.x, target)


@pytest.mark.parametrize("kind", ["mala", "hmc"])
def test_walls_of_a_box_are_respected(kind):
    def uniform(x):
        inside = tf.reduce_all(tf.abs(x) < 1.0, axis=-1)
        return tf.where(inside, 0.0 * x[..., 0], 1e9)

    if kind == "mala":
        _, info = run_mala(uniform, 200, 800)
    else:
        _, info = hmc(
            uniform,
            start(),
            num_steps=600,
            num_burnin=100,
            step_size=0.1,
            num_leapfrog=4,
            random=RANDOM,
            keep=True,
        )
    x = info.x.numpy()
    assert np.abs(x).max() < 1.0
    target = TARGETS["gaussian"]._replace(expected=np.array([0, 0, 1 / 3, 1 / 3, 0.0]))
    assert_moments(x, target)


@pytest.mark.parametrize("kind", ["hmc", "nuts"])
@pytest.mark.parametrize("acceptance", [0.65, 0.9])
def test_the_step_size_adapts_to_the_target_acceptance(kind, acceptance):
    energy = TARGETS["gaussian"].energy
    state, info = run(kind, energy, target_acceptance=acceptance, num_burnin=1000)
    # A few hundredths are left after 800 steps of adaptation (0.027 measured).
    assert abs(np.mean(info.acceptance) - acceptance) < 0.06
    assert abs(float(state.step_size) - 0.1) > 0.05


def test_infos_are_those_of_the_places_the_chains_went():
    energy = TARGETS["banana"].energy
    state, info = hmc(
        energy,
        start(7),
        num_steps=5,
        num_burnin=0,
        step_size=0.05,
        num_leapfrog=3,
        random=RANDOM,
        keep=True,
    )
    np.testing.assert_array_equal(info.x[-1], state.x)
    flat = tf.reshape(info.x, [-1, 2])
    expected = mala_state(energy, flat)
    np.testing.assert_allclose(tf.reshape(info.energy, [-1]), expected.energy, 1e-4)
    norms = np.linalg.norm(expected.gradient, axis=-1)
    np.testing.assert_allclose(tf.reshape(info.gradient_norm, [-1]), norms, 1e-4)
    moved = np.linalg.norm(np.diff(info.x, axis=0), axis=-1)
    np.testing.assert_allclose(info.movement[1:], moved, rtol=1e-3, atol=1e-5)
    assert info.acceptance.shape == [5, 7]


def test_the_same_random_gives_the_same_chain():
    energy = TARGETS["mixture"].energy

    def end(seed):
        settings = {"num_steps": 3, "num_burnin": 2, "step_size": 0.2}
        return hmc(energy, start(4), random=StepRandom(seed, 0), **settings)[0].x

    np.testing.assert_array_equal(end(1), end(1))
    assert not np.any(np.isclose(end(1), end(2)))


@pytest.mark.parametrize(
    "sampler, arguments, match",
    [
        (hmc, {"num_leapfrog": 0}, "`num_leapfrog` must be an integer"),
        (hmc, {"num_steps": 0}, "`num_steps` must be an integer"),
        (nuts, {"max_tree_depth": 0}, "`max_tree_depth` must be an integer"),
        (nuts, {"target_acceptance": 1.0}, "`target_acceptance` must be below 1"),
        (hmc, {"step_size": 0.0}, "`step_size` must be a finite number above 0"),
    ],
)
def test_arguments_are_checked(sampler, arguments, match):
    settings = {"num_steps": 1, "num_burnin": 0, "step_size": 0.1, **arguments}
    with pytest.raises(ValueError, match=match):
        sampler(TARGETS["gaussian"].energy, start(2), random=RANDOM, **settings)
