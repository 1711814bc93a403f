import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.random import StepRandom
from keras_ebm.samplers import leapfrog, mala, mala_state, mala_step

MEAN, STDDEV = np.array([1.0, -2.0], np.float32), np.array([0.5, 2.0], np.float32)


def gaussian(x):
    """Energy of `N(MEAN, diag(STDDEV^2))`, up to a constant."""
    return 0.5 * tf.reduce_sum(tf.square((x - MEAN) / STDDEV), axis=-1)


def quartic(x):
    return tf.reduce_sum(0.25 * x**4 - x**2 + 0.3 * x, axis=-1)


def run(energy_fn, x, steps, step_size, seed=0):
    return mala(
        energy_fn,
        mala_state(energy_fn, x),
        num_steps=steps,
        step_size=step_size,
        random=StepRandom(seed, 0),
    )


def test_samples_of_the_target_stay_samples_of_it():
    rng = np.random.default_rng(0)
    count = 20_000
    x = (MEAN + STDDEV * rng.normal(size=(count, 2))).astype(np.float32)
    # A step so large that the moves alone would widen the first dimension.
    state, info = run(gaussian, tf.constant(x), 10, 0.2)
    assert 0.3 < np.mean(info.acceptance) < 0.95
    moved = state.x.numpy()
    # Independent chains, five standard errors.
    error = 5 / np.sqrt(count)
    assert np.all(np.abs(moved.mean(0) - MEAN) / STDDEV < error)
    assert np.all(np.abs(moved.var(0) / STDDEV**2 - 1) < error * np.sqrt(2))
    assert np.mean(np.any(moved != x, axis=-1)) > 0.9


def test_chains_from_elsewhere_reach_the_target():
    count = 4000
    x = tf.zeros([count, 2])
    for seed in range(10):
        state, _ = run(gaussian, x, 15, 0.15, seed)
        x = state.x
    moved = state.x.numpy()
    # 150 steps of 0.15 are over 5 relaxation times of the wider dimension, whose
    # variance over the step is 27; what is left of the start is below 1%.
    error = 5 / np.sqrt(count)
    assert np.all(np.abs(moved.mean(0) - MEAN) / STDDEV < error + 0.02)
    assert np.all(np.abs(moved.var(0) / STDDEV**2 - 1) < error * np.sqrt(2) + 0.03)


def test_moves_are_in_detailed_balance():
    tau = 0.3
    rng = np.random.default_rng(1)
    x = tf.constant(rng.normal(size=(50, 2)), tf.float32)
    noise = tf.constant(rng.normal(size=(50, 2)), tf.float32)
    there = mala_state(quartic, x)
    y = x - tau * there.gradient + np.sqrt(2 * tau) * noise
    back = mala_state(quartic, y)
    returning = (x - y + tau * back.gradient) / np.sqrt(2 * tau)
    uniform = tf.fill([50], 0.5)
    flows = []
    for state, draw in ((there, noise), (back, returning)):
        _, info = mala_step(quartic, state, step_size=tau, noise=draw, uniform=uniform)
        log_move = -0.5 * tf.reduce_sum(tf.square(draw), axis=-1)
        flows.append(-state.energy + log_move + tf.math.log(info.acceptance))
    # p(x) k(x -> y) = p(y) k(y -> x), to float32's rounding of sums of size 10.
    np.testing.assert_allclose(*flows, rtol=1e-4, atol=1e-3)


def test_the_state_is_that_of_where_the_chain_stands():
    x = tf.random.stateless_normal([200, 2], [0, 1])
    state, _ = run(quartic, x, 3, 0.5)
    expected = mala_state(quartic, state.x)
    for one, other in zip(state, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    stayed = np.all(state.x == x, axis=-1)
    assert 0 < stayed.mean() < 1


@pytest.mark.parametrize("shape", [[3, 2], [3, 2, 2, 1]])
def test_no_steps_leave_the_chains_where_they_are(shape):
    x = tf.random.stateless_normal(shape, [0, 1])

    def energy(x):
        return tf.reduce_sum(tf.square(tf.reshape(x, [3, -1])), axis=-1)

    state, info = run(energy, x, 0, 0.1)
    np.testing.assert_array_equal(state.x, x)
    assert info.acceptance.shape == [0, 3]
    moved, _ = run(energy, x, 1, 0.1)
    assert moved.x.shape == x.shape


def test_leapfrog_is_reversible_and_nearly_keeps_the_hamiltonian():
    rng = np.random.default_rng(2)
    x = tf.constant(rng.normal(size=(100, 2)), tf.float32)
    momentum = tf.constant(rng.normal(size=(100, 2)), tf.float32)
    start = mala_state(quartic, x)

    def total(state, momentum):
        return state.energy + 0.5 * tf.reduce_sum(momentum**2, axis=-1)

    drifts = []
    for length, count in ((0.1, 20), (0.05, 40)):
        end, there = leapfrog(
            quartic, start, momentum, length=length, num_leapfrog=count
        )
        drift = total(end, there) - total(start, momentum)
        drifts.append(np.sqrt(np.mean(drift**2)))
        back, turned = leapfrog(quartic, end, -there, length=length, num_leapfrog=count)
        # Rounding of float32 over 40 steps.
        np.testing.assert_allclose(back.x, x, atol=1e-4)
        np.testing.assert_allclose(-turned, momentum, atol=1e-4)
    # The error of a trajectory is of the second order in the step.
    assert drifts[0] < 0.1 and 3.5 < drifts[0] / drifts[1] < 4.5
