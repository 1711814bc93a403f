import numpy as np
import tensorflow as tf
from targets import TARGETS, assert_moments

from keras_ebm.random import StepRandom
from keras_ebm.samplers import mala_state, normal_jump, run_chain

RANDOM = StepRandom(0, 0)


def test_jumps_alone_sample_the_target():
    target = TARGETS["mixture"]

    def step(index, state):
        draws = RANDOM.fold(index)
        return normal_jump(
            target.energy,
            state,
            stddev=2.5,
            noise=draws.normal(tf.shape(state.x), "jump"),
            uniform=draws.uniform([tf.shape(state.x)[0]], "accept"),
        )

    @tf.function(autograph=False)
    def run():
        start = mala_state(target.energy, tf.zeros([200, 2]))
        state, _ = run_chain(step, start, 50)
        return run_chain(step, state, 200, first=50, keep=True)

    state, info = run()
    assert_moments(info.x, target)
    assert 0.1 < np.mean(info.acceptance) < 0.9
    moved = np.mean(info.movement.numpy() > 0)
    # A chain moves as often as it accepts: 40,000 draws, but correlated.
    assert abs(moved - np.mean(info.acceptance)) < 0.02
    expected = mala_state(target.energy, state.x)
    np.testing.assert_allclose(state.energy, expected.energy, rtol=1e-4, atol=1e-4)


def test_jumps_are_in_detailed_balance():
    target, stddev = TARGETS["banana"], 2.0
    x = tf.random.stateless_normal([50, 2], [0, 1])
    y = tf.random.stateless_normal([50, 2], [0, 2]) * stddev
    flows = []
    for here, there in ((x, y), (y, x)):
        state = mala_state(target.energy, here)
        half = tf.fill([50], 0.5)
        _, info = normal_jump(
            target.energy, state, stddev=stddev, noise=there / stddev, uniform=half
        )
        proposal = -0.5 * tf.reduce_sum(tf.square(there / stddev), axis=-1)
        flows.append(-state.energy + proposal + tf.math.log(info.acceptance))
    # p(x) q(y) a(x, y) = p(y) q(x) a(y, x), to float32's rounding, where an
    # acceptance is no less than float32 can hold.
    there, back = (flow.numpy() for flow in flows)
    held = np.isfinite(there) & np.isfinite(back)
    assert held.sum() > 25
    np.testing.assert_allclose(there[held], back[held], rtol=1e-4, atol=1e-3)
