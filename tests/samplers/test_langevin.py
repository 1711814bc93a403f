import numpy as np
import pytest
import tensorflow as tf
from targets import TARGETS, assert_moments

from keras_ebm.random import StepRandom
from keras_ebm.samplers import (
    LangevinState,
    Region,
    langevin,
    langevin_step,
    mala,
    mala_state,
)

RANDOM = StepRandom(0, 0)


def bowl(x):
    """Energy of a standard normal."""
    return 0.5 * tf.reduce_sum(tf.square(x), axis=list(range(1, len(x.shape))))


def flat(x):
    return 0.0 * bowl(x)


def test_without_noise_a_step_is_gradient_descent():
    x = tf.constant([[3.0, -1.0]])
    state, info = langevin(
        bowl, x, num_steps=1, step_size=0.1, noise_stddev=0.0, random=RANDOM
    )
    np.testing.assert_allclose(state.x, 0.9 * x, rtol=1e-6)
    np.testing.assert_allclose(info.energy, [[5.0]], rtol=1e-6)
    np.testing.assert_allclose(info.gradient_norm, [[np.sqrt(10)]], rtol=1e-6)
    np.testing.assert_allclose(info.movement, [[0.1 * np.sqrt(10)]], rtol=1e-5)
    np.testing.assert_array_equal(info.acceptance, [[1.0]])


def test_the_order_of_noise_and_gradient_is_as_asked():
    x, noise = tf.constant([[2.0]]), tf.constant([[1.0]])
    settings = {"step_size": 0.5, "noise_stddev": 0.1}
    after, _ = langevin_step(bowl, LangevinState(x), noise, **settings)
    before, _ = langevin_step(
        bowl, LangevinState(x), noise, noise_first=True, **settings
    )
    np.testing.assert_allclose(after.x, [[2.0 - 1.0 + 0.1]], rtol=1e-6)
    np.testing.assert_allclose(before.x, [[2.1 - 1.05]], rtol=1e-6)


@pytest.mark.parametrize("name", TARGETS)
def test_small_steps_sample_the_target(name):
    target = TARGETS[name]
    x = target.draw(np.random.default_rng(0), 500)
    run = tf.function(langevin, autograph=False)
    _, info = run(
        target.energy,
        tf.constant(x, tf.float32),
        num_steps=800,
        step_size=0.004,
        random=RANDOM,
        keep=True,
    )
    # The step's bias: of the order of step times curvature (4 for the banana's
    # conditional variance) times the second moments, of which the largest is 3.
    assert_moments(info.x, target, bias=0.05)


def test_a_step_widens_a_gaussian_by_the_known_amount():
    state, _ = langevin(
        bowl, tf.zeros([20_000, 1]), num_steps=60, step_size=0.2, random=RANDOM
    )
    # The stationary variance of x' = 0.8 x + sqrt(0.4) e is 0.4 / (1 - 0.64).
    # Standard error of a variance of 20,000 draws: 1 %.
    assert abs(np.var(state.x) / (0.4 / 0.36) - 1) < 0.05


@pytest.mark.parametrize("temperature", [0.25, 4.0])
def test_temperature_scales_the_variance(temperature):
    state, _ = tf.function(langevin, autograph=False)(
        bowl,
        tf.zeros([20_000, 1]),
        num_steps=400,
        step_size=0.02 * temperature,
        temperature=temperature,
        random=RANDOM,
    )
    # Five standard errors, and 1 % by which a step of 0.02 widens.
    assert abs(np.var(state.x) / temperature - 1) < 0.06


def test_every_step_draws_its_own_noise():
    state, _ = langevin(
        flat,
        tf.zeros([20_000, 1]),
        num_steps=4,
        step_size=0.5,
        noise_stddev=1.0,
        random=RANDOM,
    )
    assert abs(np.var(state.x) - 4.0) < 0.2  # one repeated draw would give 16


def test_a_chain_in_two_parts_is_the_chain_in_one():
    x = tf.constant([[1.0, 2.0], [0.0, -1.0]])
    settings = {"step_size": 0.1, "random": RANDOM}
    whole, _ = langevin(bowl, x, num_steps=5, **settings)
    half, _ = langevin(bowl, x, num_steps=3, **settings)
    rest, _ = langevin(bowl, half.x, num_steps=2, first_step=3, **settings)
    np.testing.assert_array_equal(rest.x, whole.x)


def run_langevin(x):
    state, info = langevin(bowl, x, num_steps=20, step_size=0.1, random=RANDOM)
    return state.x, info.energy


def run_mala(x):
    start = mala_state(bowl, x)
    state, info = mala(bowl, start, num_steps=20, step_size=0.3, random=RANDOM)
    return state.x, info.energy


@pytest.mark.parametrize("run", [run_langevin, run_mala], ids=["langevin", "mala"])
def test_xla_graph_and_eager_run_the_same_chain(run):
    x = tf.random.stateless_normal([6, 3], [0, 1])
    expected = run(x)
    for xla in (False, True):
        compiled = tf.function(run, autograph=False, jit_compile=xla)(x)
        for actual, one in zip(compiled, expected, strict=True):
            # Rounding, over 20 steps that contract.
            np.testing.assert_allclose(actual, one, rtol=1e-4, atol=1e-4)


def test_what_the_box_does():
    region = Region(box=(-1.0, 1.0))
    _, info = langevin(
        flat,
        tf.zeros([4000, 2]),
        num_steps=60,
        step_size=0.1,
        noise_stddev=0.3,
        region=region,
        random=RANDOM,
        keep=True,
    )
    x = info.x.numpy()
    assert x.min() == -1.0 and x.max() == 1.0
    # A walk that sticks to the walls until it turns: symmetric about 0.
    assert abs(x[-1].mean()) < 5 / np.sqrt(8000)


def test_fixed_entries_stay_and_the_ball_holds_the_others():
    start = tf.random.stateless_uniform([50, 4], [0, 1])
    fixed = tf.constant([True, False, False, True])
    state, _ = langevin(
        bowl,
        start,
        num_steps=30,
        step_size=0.5,
        region=Region(start=start, radius=0.25, fixed=fixed),
        random=RANDOM,
    )
    moved = np.abs(state.x - start)
    np.testing.assert_array_equal(moved[:, [0, 3]], 0.0)
    assert np.all(moved[:, 1:3] <= 0.25 + 1e-6) and moved[:, 1:3].max() > 0.24


@pytest.mark.parametrize(
    "clip, expected", [("element", [[-1.0, 1.0]]), ("norm", [[-0.6, 0.8]])]
)
def test_the_gradient_is_clipped(clip, expected):
    x = tf.constant([[-3.0, 4.0]])
    state, info = langevin(
        bowl,
        x,
        num_steps=1,
        step_size=1.0,
        noise_stddev=0.0,
        max_gradient=1.0,
        clip=clip,
        random=RANDOM,
    )
    np.testing.assert_allclose(x - state.x, expected, rtol=1e-6)
    np.testing.assert_allclose(info.gradient_norm, [[5.0]], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_clipped_away(bad):
    def broken(x):
        return tf.reduce_sum(x * tf.constant([bad, 1.0]), axis=-1)

    state, info = langevin(
        broken,
        tf.ones([1, 2]),
        num_steps=1,
        step_size=0.1,
        max_gradient=0.5,
        region=Region(box=(-1.0, 1.0)),
        random=RANDOM,
    )
    assert np.isnan(state.x[0, 0]) and np.isfinite(state.x[0, 1])
    assert not np.isfinite(info.energy[0, 0])


def test_labels_may_change_from_step_to_step():
    centres = tf.constant([[0.0], [10.0]])

    def energy(x, y):
        return 0.5 * tf.reduce_sum(tf.square(x - tf.gather(centres, y)), axis=-1)

    x = tf.zeros([2, 1])
    settings = {"step_size": 1.0, "noise_stddev": 0.0, "random": RANDOM}
    held, _ = langevin(energy, x, num_steps=2, labels=tf.constant([0, 1]), **settings)
    np.testing.assert_allclose(held.x, [[0.0], [10.0]], atol=1e-5)
    schedule = tf.constant([[1, 1], [0, 1]])
    _, info = langevin(energy, x, num_steps=2, labels=schedule, keep=True, **settings)
    np.testing.assert_allclose(info.x, [[[10.0], [10.0]], [[0.0], [10.0]]], atol=1e-5)


def test_gradients_pass_through_differentiable_steps():
    rate = tf.Variable(0.5)
    x = tf.constant([[1.0]])

    def end(differentiable):
        with tf.GradientTape() as tape:
            state, _ = langevin(
                lambda v: rate * bowl(v),
                x,
                num_steps=2,
                step_size=0.1,
                noise_stddev=0.0,
                random=RANDOM,
                differentiable=differentiable,
            )
            total = tf.reduce_sum(state.x)
        return tape.gradient(total, rate)

    # x_2 = (1 - 0.1 r)^2, so d x_2 / d r = -0.2 (1 - 0.1 r).
    np.testing.assert_allclose(end(True), -0.2 * 0.95, rtol=1e-5)
    compiled = tf.function(lambda: end(True), autograph=False)()
    np.testing.assert_allclose(compiled, -0.2 * 0.95, rtol=1e-5)
    assert tf.function(lambda: end(False) is None, autograph=False)()


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"step_size": 0.0}, "`step_size` must be a finite number above 0"),
        ({"noise_stddev": -1.0}, "`noise_stddev` must be a finite number"),
        ({"temperature": 0.0}, "`temperature` must be a finite number above 0"),
        ({"clip": "global"}, "`clip` must be one of 'element', 'norm'"),
        ({"max_gradient": 0.0}, "`max_gradient` must be a finite number above 0"),
        ({"region": Region(box=(1.0, 0.0))}, "`box` must be"),
        ({"region": Region(radius=0.1)}, "`radius` and `fixed` need `start`"),
    ],
)
def test_arguments_are_checked(arguments, match):
    settings = {"num_steps": 1, "step_size": 0.1, "random": RANDOM, **arguments}
    with pytest.raises(ValueError, match=match):
        langevin(bowl, tf.zeros([1, 2]), **settings)
