import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import assert_same_weights, batches, make_network, rows

from keras_ebm.models import EnergyModel
from keras_ebm.negatives import CutAndBlend
from keras_ebm.optimizers import ClippedAdam

RNG = np.random.default_rng(0)


def reference(x, gradients, rate, beta_1, beta_2, epsilon, stddevs, offset):
    """Clipped Adam in float64; also returns how many entries were clipped."""
    m, v, clipped = np.zeros_like(x), np.zeros_like(x), 0
    for step, gradient in enumerate(gradients, start=1):
        bound = stddevs * np.sqrt(v / (1 - beta_2**step)) + offset
        clipped += np.sum(np.abs(gradient) > bound)
        gradient = np.clip(gradient, -bound, bound)
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        scale = np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        x = x - rate * scale * m / (np.sqrt(v) + epsilon)
    return x, clipped


@pytest.mark.parametrize("beta_1", [0.0, 0.9])
@pytest.mark.parametrize("stddevs, offset", [(3.0, 0.1), (1.0, 0.02)])
def test_fifty_steps_are_those_of_the_formula(beta_1, stddevs, offset):
    # Tails that are heavy enough for some entries to be clipped, and some not.
    gradients = 0.05 * RNG.standard_t(2, size=(50, 30))
    start = RNG.normal(size=30)
    expected, clipped = reference(
        start, gradients, 0.01, beta_1, 0.99, 1e-8, stddevs, offset
    )
    assert 20 < clipped < 1480
    variable = keras.Variable(start)
    optimizer = ClippedAdam(
        0.01,
        beta_1=beta_1,
        beta_2=0.99,
        clip_stddevs=stddevs,
        clip_offset=offset,
    )
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    # 50 float32 steps of up to 0.1, each with an error of 1e-6 of it.
    np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5)


def test_the_first_bound_is_the_offset():
    variable = keras.Variable(np.zeros(3))
    optimizer = ClippedAdam(beta_2=0.9, clip_offset=0.5)
    optimizer.apply([tf.constant([0.3, 2.0, -7.0])], [variable])
    (velocity,) = optimizer._velocities
    np.testing.assert_allclose(velocity, 0.1 * np.square([0.3, 0.5, 0.5]), rtol=1e-5)


def test_one_outlier_moves_the_moments_by_its_bound():
    variable = keras.Variable(np.zeros(1))
    optimizer = ClippedAdam(beta_2=0.9)
    for gradient in [0.1] * 100 + [1e6]:
        optimizer.apply([tf.constant([gradient])], [variable])
    (velocity,) = optimizer._velocities
    # The deviation was 0.1, so that 3 * 0.1 + 0.1 is all that got through.
    np.testing.assert_allclose(velocity, [0.9 * 0.01 + 0.1 * 0.16], rtol=1e-3)


def test_without_a_bound_it_is_adam():
    ends = []
    for optimizer in (
        ClippedAdam(0.01, beta_1=0.5, epsilon=1e-7, clip_offset=1e9),
        keras.optimizers.Adam(0.01, beta_1=0.5),
    ):
        variable = keras.Variable(np.ones(4))
        for _ in range(10):
            optimizer.apply([2.0 * variable], [variable])
        ends.append(variable.numpy())
    np.testing.assert_array_equal(*ends)


def test_the_defaults_are_the_papers():
    config = ClippedAdam().get_config()
    names = ("beta_1", "beta_2", "epsilon", "clip_stddevs", "clip_offset")
    assert [config[name] for name in names] == [0.0, 0.999, 1e-8, 3.0, 0.1]
    np.testing.assert_allclose(config["learning_rate"], 3e-4)


def test_rows_of_an_embedding_may_be_all_that_has_a_gradient():
    variable = keras.Variable(np.zeros((3, 2)))
    with tf.GradientTape() as tape:
        value = 9.0 * tf.reduce_sum(tf.gather(variable.value, [1]))
    optimizer = ClippedAdam(0.01, beta_2=0.9)
    optimizer.apply(tape.gradient(value, [variable.value]), [variable])
    assert np.all(variable.numpy()[1] < 0) and not variable.numpy()[[0, 2]].any()
    np.testing.assert_allclose(optimizer._velocities[0][1], [1e-3, 1e-3], rtol=1e-5)


def fitted(x, y, epochs, scope=None, model=None, **kwargs):
    with scope or contextlib.nullcontext():
        if model is None:
            model = EnergyModel(make_network(), negatives=CutAndBlend())
            model.compile(ClippedAdam(1e-2, **kwargs))
    model.fit(batches(x, y, len(x)), epochs=epochs, verbose=0, shuffle=False)
    return model


def test_two_replicas_take_the_steps_of_one(strategy):
    # Rows of 10 and of 1: the replicas' gradients differ by much, and the large
    # ones are clipped.
    x, y = rows(16)
    x[:8] *= 10.0

    def train(scope, clip_offset):
        # With a large epsilon Adam does not turn rounding errors into steps.
        return fitted(x, y, 5, scope, clip_offset=clip_offset, epsilon=0.1)

    one = train(None, 0.01)
    two = train(strategy.scope(), 0.01)
    assert two.distribute_strategy.num_replicas_in_sync == 2
    assert_same_weights(one, two, rtol=1e-5, atol=1e-6)
    free = train(None, 1e6)
    pairs = zip(one.get_weights(), free.get_weights(), strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) > 1e-3


def test_the_sum_over_replicas_is_what_is_clipped(strategy):
    with strategy.scope():
        variable = keras.Variable(np.zeros(2))
        optimizer = ClippedAdam(beta_2=0.9, clip_offset=0.5)
        optimizer.build([variable])
    shares = tf.constant([[5.0, 0.2], [-4.9, 0.2]])

    @tf.function
    def step():
        def replica():
            which = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply([tf.gather(shares, which)], [variable])

        strategy.run(replica)

    step()
    # 0.1 and 0.4. Clipped apart, the first would be 0.5 - 0.5 = 0.
    (velocity,) = optimizer._velocities
    np.testing.assert_allclose(velocity, [0.1 * 0.01, 0.1 * 0.16], rtol=1e-4)


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    x, y = rows(16)
    whole = fitted(x, y, 6)
    half = fitted(x, y, 3)
    half.save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(resumed.optimizer, ClippedAdam)
    resumed = fitted(x, y, 3, model=resumed)
    assert_same_weights(resumed, whole)
    for a, b in zip(
        resumed.optimizer.variables, whole.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_config_round_trips():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = ClippedAdam(schedule, beta_1=0.3, clip_stddevs=2.0, clip_offset=0.2)
    serialize = keras.saving.serialize_keras_object
    copy = keras.saving.deserialize_keras_object(serialize(optimizer))
    assert isinstance(copy, ClippedAdam)
    assert serialize(copy) == serialize(optimizer)
    assert (copy.clip_stddevs, copy.clip_offset) == (2.0, 0.2)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"clip_stddevs": -1.0}, "`clip_stddevs` must be a finite number at least 0"),
        ({"clip_offset": 0.0}, "`clip_offset` must be a finite number above 0"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        ClippedAdam(**arguments)
