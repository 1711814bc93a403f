"""Every sampler is numbers with an `init` and a `step`, and one loop runs them."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.random import StepRandom
from keras_ebm.samplers import MALA, Langevin, NormalJump, run_sampler


def bowl(x):
    """Energy of a standard normal."""
    return 0.5 * tf.reduce_sum(tf.square(x), axis=-1)


@pytest.mark.parametrize(
    "sampler",
    [Langevin(0.1).check(), MALA(0.3, num_leapfrog=2), NormalJump(1.5)],
    ids=lambda sampler: type(sampler).__name__,
)
def test_chains_that_go_on_end_where_unbroken_ones_do(sampler):
    start = sampler.init(bowl, tf.constant([[3.0, 0.0], [0.0, -3.0]]))

    def run(state, num_steps, first_step):
        return run_sampler(
            sampler,
            bowl,
            state,
            num_steps=num_steps,
            random=StepRandom(0, 0),
            first_step=first_step,
        )

    whole, info = run(start, 5, 0)
    half, _ = run(start, 3, 0)
    rest, _ = run(half, 2, 3)
    np.testing.assert_array_equal(rest.x, whole.x)
    assert np.all(np.linalg.norm(whole.x - start.x, axis=-1) > 0.1)
    assert info.energy.shape == (5, 2)
