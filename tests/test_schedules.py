import keras
import numpy as np
import pytest

from keras_ebm.schedules import WarmUp


def values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_a_constant_rate_is_ramped_up_and_then_held():
    rates = values(WarmUp(0.2, 4), range(6))
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.15, 0.2, 0.2, 0.2], rtol=1e-6)


def test_one_step_of_warm_up_changes_nothing():
    np.testing.assert_allclose(values(WarmUp(0.2, 1), [0, 5]), 0.2, rtol=1e-6)


def test_a_schedule_is_followed_from_its_own_step_0():
    decay = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=10)
    # CosineDecay is 0.1 (1 + cos(pi t / 10)) / 2.
    steps = np.array([0, 1, 2, 5, 10])
    expected = 0.05 * (1 + np.cos(np.pi * steps / 10)) * np.minimum(1, (steps + 1) / 3)
    np.testing.assert_allclose(values(WarmUp(decay, 3), steps), expected, atol=1e-7)


@pytest.mark.parametrize(
    "rate",
    [0.3, keras.optimizers.schedules.CosineDecay(0.3, 20)],
    ids=["constant", "cosine"],
)
def test_an_optimizers_schedule_survives_the_round_trip(rate):
    optimizer = keras.optimizers.Adam(WarmUp(rate, 4))
    config = keras.saving.serialize_keras_object(optimizer)
    schedule = keras.saving.deserialize_keras_object(config)._learning_rate
    assert isinstance(schedule, WarmUp)
    assert values(schedule, range(8)) == values(WarmUp(rate, 4), range(8))


@pytest.mark.parametrize("steps", [0, -3, 2.5])
def test_the_number_of_warm_up_steps_is_checked(steps):
    with pytest.raises(ValueError, match="`warmup_steps` must be an integer"):
        WarmUp(0.1, steps)
