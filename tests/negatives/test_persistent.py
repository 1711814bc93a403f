import keras
import numpy as np
import pytest
import tensorflow as tf
from support import FEATURES, make_generator, make_network, rows

from keras_ebm.models import VERA, EnergyModel
from keras_ebm.negatives import PersistentChains
from keras_ebm.random import StepRandom

X = rows(12)[0]


def gaussian(x):
    """Energy of `N(1, 0.5^2 I)`."""
    return 0.5 * tf.reduce_sum(tf.square((x - 1.0) / 0.5), axis=-1)


@pytest.mark.parametrize("num_leapfrog", [1, 4])
def test_chains_reach_their_energys_moments(num_leapfrog):
    chains = PersistentChains(
        (2,),
        capacity=4000,
        num_steps=10,
        restart_share=0.0,
        initial_step_size=0.1,
        adaptation_rate=0.3,
        num_leapfrog=num_leapfrog,
    )
    advance = tf.function(
        lambda i: chains.advance(gaussian, 4000, StepRandom(0, i)), autograph=False
    )
    for i in range(60):
        made = advance(tf.constant(i, tf.int64))
    x = made.x.numpy()
    # 4,000 independent chains: standard errors 0.008 and 0.006; five of them.
    assert np.abs(x.mean(0) - 1.0).max() < 0.04
    assert np.abs(x.std(0) - 0.5).max() < 0.03
    assert abs(float(made.logs["mala_acceptance"]) - 0.6) < 0.1


def test_chains_take_turns_and_stay_where_they_were_left():
    chains = PersistentChains((2,), capacity=10, num_steps=1, restart_share=0.0)
    before = chains.buffer.numpy()
    made = chains.advance(gaussian, 4, StepRandom(0, 2))
    after = chains.buffer.numpy()
    turn = [8, 9, 0, 1]
    np.testing.assert_array_equal(after[turn], made.x)
    others = [i for i in range(10) if i not in turn]
    np.testing.assert_array_equal(after[others], before[others])
    assert np.any(after[turn] != before[turn])


def test_a_share_of_the_chains_starts_anew_from_what_is_given():
    chains = PersistentChains(
        (2,), capacity=2000, num_steps=1, restart_share=0.25, initial_step_size=1e-12
    )
    fresh = tf.fill([2000, 2], 7.0)
    made = chains.advance(gaussian, 2000, StepRandom(0, 0), fresh)
    share = np.mean(np.abs(made.x.numpy()[:, 0] - 7.0) < 1e-3)
    assert abs(share - 0.25) < 0.05  # five standard errors of 2,000 draws


def test_a_model_of_chains_learns_a_gaussian():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((1,)), Quadratic()])
    chains = PersistentChains((1,), capacity=500, num_steps=5, restart_share=0.0)
    model = EnergyModel(network, negatives=chains)
    model.compile(keras.optimizers.Adam(0.02))
    x = np.random.default_rng(0).normal(1.5, 0.5, (4000, 1)).astype(np.float32)
    model.fit(x, batch_size=200, epochs=15, verbose=0)
    mean, log_stddev = (float(w) for w in model.network.get_weights())
    # Adam's 0.02 jitters by about as much around the maximum of the likelihood.
    assert abs(mean - x.mean()) < 0.06 and abs(np.exp(log_stddev) / 0.5 - 1) < 0.12


@keras.saving.register_keras_serializable(package="tests")
class Quadratic(keras.layers.Layer):
    """Minus the energy of a normal with learnt moments, up to `log Z`."""

    def build(self, shape):
        self.mean = self.add_weight(name="mean", shape=(), initializer="zeros")
        self.log_stddev = self.add_weight(name="s", shape=(), initializer="zeros")

    def call(self, x):
        z = (x - self.mean) * tf.exp(-tf.convert_to_tensor(self.log_stddev))
        return -0.5 * tf.square(z)


def test_chains_are_saved_with_their_model_and_still_in_evaluation(tmp_path):
    chains = PersistentChains((FEATURES,), capacity=20, num_steps=2)
    model = EnergyModel(make_network(1), negatives=chains)
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(X, batch_size=6, epochs=2, verbose=0)
    held = chains.buffer.numpy()
    logs = model.evaluate(X, batch_size=6, verbose=0, return_dict=True)
    np.testing.assert_array_equal(chains.buffer, held)
    assert "data_energy" in logs and "negative_energy" not in logs
    model.save(tmp_path / "chains.keras")
    copy = keras.models.load_model(tmp_path / "chains.keras")
    np.testing.assert_array_equal(copy.negatives.buffer, held)
    for one in (model, copy):
        one.fit(X, batch_size=6, epochs=1, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_with_a_generator_chains_start_from_its_samples():
    # Every chain starts anew and none moves: the negatives are the samples.
    chains = PersistentChains(
        (FEATURES,), capacity=12, num_steps=1, restart_share=1.0, initial_step_size=1e-9
    )
    model = VERA(make_network(1), make_generator(), negatives=chains)
    model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0))
    samples = model.draw(12, StepRandom(model.seed, 0)).x
    model.train_step((X, -np.ones(12, np.int32)))
    np.testing.assert_allclose(chains.buffer, samples, atol=1e-3)


def test_several_replicas_are_refused(strategy):
    chains = PersistentChains((FEATURES,), capacity=12)
    with strategy.scope():
        model = EnergyModel(make_network(1), negatives=chains)
        model.compile(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="one replica. Received: 2 replicas"):
        model.fit(X, batch_size=6, verbose=0)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"capacity": 0}, "`capacity` must be an integer"),
        ({"num_steps": 0}, "`num_steps` must be an integer"),
        ({"restart_share": -0.1}, "`restart_share` must be a finite number"),
        ({"target_acceptance": 1.0}, "`target_acceptance` must be below 1"),
        ({"num_leapfrog": 0}, "`num_leapfrog` must be an integer"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        PersistentChains((2,), **arguments)
