import keras
import numpy as np
import pytest
import tensorflow as tf
from support import FEATURES, make_generator, make_network, rows

from keras_ebm.models import VERA, EnergyModel
from keras_ebm.negatives import LangevinMoves, MALAMoves, MarkovChains, ReplayBuffer
from keras_ebm.random import StepRandom

X = rows(12)[0]


def gaussian(x):
    """Energy of `N(1, 0.5^2 I)`."""
    return 0.5 * tf.reduce_sum(tf.square((x - 1.0) / 0.5), axis=-1)


def persistent(shape, capacity, moves=None, **arguments):
    """Chains that take turns and are never given up, as PCD has them."""
    buffer = ReplayBuffer(shape, capacity, in_turn=True)
    arguments = {"restart_share": 0.0, **arguments}
    return MarkovChains(moves or MALAMoves(2, 0.1), buffer, **arguments)


def still(num_steps=1):
    """Moves that leave chains where they are."""
    return LangevinMoves(num_steps, 1e-12, noise_stddev=0.0)


@pytest.mark.parametrize("num_leapfrog", [1, 4])
def test_chains_reach_their_energys_moments(num_leapfrog):
    moves = MALAMoves(10, 0.1, adaptation_rate=0.3, num_leapfrog=num_leapfrog)
    chains = persistent((2,), 4000, moves)
    x = tf.zeros([4000, 2])
    advance = tf.function(
        lambda i: chains.draw(gaussian, x, StepRandom(0, i), training=True),
        autograph=False,
    )
    for i in range(60):
        made = advance(tf.constant(i, tf.int64))
    x = made.x.numpy()
    # 4,000 independent chains: standard errors 0.008 and 0.006; five of them.
    assert np.abs(x.mean(0) - 1.0).max() < 0.04
    assert np.abs(x.std(0) - 0.5).max() < 0.03
    assert abs(float(made.logs["mala_acceptance"]) - 0.6) < 0.1


@pytest.mark.parametrize(
    "arguments, mean, stddev",
    [
        ({}, 0.0, 1.0),
        ({"start_mean": 0.5, "start_stddev": 2.0}, 0.5, 2.0),
        ({"start": "uniform"}, 0.0, 1 / np.sqrt(3)),
        ({"start": "uniform", "start_range": (0.0, 6.0)}, 3.0, np.sqrt(3)),
        ({"start": "data", "start_stddev": 0.5}, 7.0, 0.5),
    ],
)
def test_without_a_buffer_every_chain_is_fresh(arguments, mean, stddev):
    chains = MarkovChains(still(), **arguments)
    made = chains.draw(
        gaussian, tf.fill([20_000, 1], 7.0), StepRandom(0, 0), training=True
    )
    # Standard error of the mean 0.7 % of a standard deviation; five of them.
    assert abs(np.mean(made.x) - mean) < 0.036 * stddev
    assert abs(np.std(made.x) / stddev - 1) < 0.03


def test_contrastive_divergence_starts_at_the_data():
    chains = MarkovChains(still(), start="data", start_stddev=0.0)
    np.testing.assert_allclose(
        chains.draw(gaussian, X, StepRandom(0, 0), training=True).x, X
    )


def test_a_share_of_the_chains_starts_anew_from_what_is_given():
    chains = persistent((2,), 2000, still(), restart_share=0.25)
    x = tf.zeros([2000, 2])
    first = chains.draw(gaussian, x, StepRandom(0, 0), start=x, training=True)
    np.testing.assert_allclose(first.x, x, atol=1e-6)
    made = chains.draw(gaussian, x, StepRandom(0, 1), start=x + 7.0, training=True)
    share = np.mean(np.abs(made.x.numpy()[:, 0] - 7.0) < 1e-3)
    assert abs(share - 0.25) < 0.05  # five standard errors of 2,000 draws


def test_the_last_steps_taken_again_lead_to_the_same_end():
    moves = LangevinMoves(6, 0.05, 0.2)
    chains = MarkovChains(moves)
    random = StepRandom(0, 3)
    whole = chains.draw(gaussian, X, random, training=True)
    made = chains.draw(gaussian, X, random, last_steps=2, training=True)
    np.testing.assert_allclose(made.x, whole.x, rtol=1e-6)
    again, _ = moves.move(gaussian, made.before, random, first=4, differentiable=True)
    np.testing.assert_allclose(again, made.x, rtol=1e-6)
    assert np.all(np.any(made.before != made.x, axis=-1))


def test_chains_walk_under_their_own_labels_if_the_buffer_keeps_them():
    def energy(x, y):
        return 0.5 * tf.reduce_sum(tf.square(x - tf.cast(y, x.dtype)[:, None]), axis=-1)

    for store in (True, False):
        buffer = ReplayBuffer((2,), 4, in_turn=True, store_labels=store)
        moves = LangevinMoves(1, 1.0, noise_stddev=0.0)
        chains = MarkovChains(moves, buffer, restart_share=0.0)
        x = tf.zeros([4, 2])
        chains.draw(
            energy, x, StepRandom(0, 0), tf.constant([1, 2, 3, 4]), training=True
        )
        made = chains.draw(energy, x, StepRandom(0, 1), tf.fill([4], 9), training=True)
        expected = [1, 2, 3, 4] if store else [9] * 4
        np.testing.assert_array_equal(made.labels, expected)
        np.testing.assert_allclose(made.x[:, 0], expected)  # one step leads there


def test_a_batch_above_the_buffer_is_refused():
    chains = persistent((2,), 4)
    with pytest.raises(ValueError, match="capacity=4 on 1 replicas for 5 rows"):
        chains.draw(gaussian, tf.zeros([5, 2]), StepRandom(0, 0), training=True)


def test_a_model_of_chains_learns_a_gaussian():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((1,)), Quadratic()])
    chains = persistent((1,), 500, MALAMoves(5, 0.01))
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
    chains = persistent((FEATURES,), 20, restart_share=0.05)
    model = EnergyModel(make_network(1), negatives=chains)
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(X, batch_size=6, epochs=2, verbose=0)
    held = chains.buffer.whole()
    logs = model.evaluate(X, batch_size=6, verbose=0, return_dict=True)
    assert "data_energy" in logs and "negative_energy" not in logs
    model.save(tmp_path / "chains.keras")
    copy = keras.models.load_model(tmp_path / "chains.keras")
    for name, value in held.items():
        np.testing.assert_array_equal(chains.buffer.whole()[name], value)
        np.testing.assert_array_equal(copy.negatives.buffer.whole()[name], value)
    for one in (model, copy):
        one.fit(X, batch_size=6, epochs=1, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_with_a_generator_chains_start_from_its_samples():
    chains = persistent((FEATURES,), 12, still(), restart_share=1.0)
    model = VERA(make_network(1), make_generator(), negatives=chains)
    model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0))
    samples = model.draw(12, StepRandom(model.seed, 0)).x
    model.train_step((X, -np.ones(12, np.int32)))
    np.testing.assert_allclose(chains.buffer.states, samples, atol=1e-3)


def test_replicas_walk_their_own_chains(strategy, tmp_path):
    with strategy.scope():
        chains = persistent((FEATURES,), 12, restart_share=0.1)
        model = EnergyModel(make_network(1), negatives=chains)
        model.compile(keras.optimizers.SGD(0.01))
    model.fit(X, batch_size=6, epochs=2, verbose=0)
    whole = chains.buffer.whole()
    assert whole["visited"].all() and whole["stored"] == 24
    assert len(np.unique(whole["states"][:, 0])) == 12
    model.save(tmp_path / "two.keras")
    alone = keras.models.load_model(tmp_path / "two.keras").negatives.buffer
    assert alone.num_replicas == 1
    for name, value in whole.items():
        np.testing.assert_array_equal(alone.whole()[name], value)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: MarkovChains(still(), start="zero"), "`start` must be one of"),
        (lambda: MarkovChains(still(), restart_share=1.5), "at most 1"),
        (lambda: MarkovChains(still(), restart_share=-0.1), "`restart_share` must"),
        (lambda: MarkovChains(still(), start_range=(1, 0)), "`start_range` must be"),
        (lambda: MarkovChains(MALAMoves(0)), "at least one step"),
        (lambda: MALAMoves(target_acceptance=1.0), "`target_acceptance` must be below"),
        (lambda: MALAMoves(num_leapfrog=0), "`num_leapfrog` must be an integer"),
        (lambda: LangevinMoves(0), "`num_steps` must be an integer"),
        (lambda: LangevinMoves(step_size=0.0), "`step_size` must be a finite"),
        (lambda: LangevinMoves(noise_stddev=-1.0), "`noise_stddev` must be"),
        (lambda: LangevinMoves(box=(1.0, 1.0)), "`box` must be"),
        (lambda: LangevinMoves(clip="all"), "`clip` must be one of"),
    ],
)
def test_arguments_are_checked(make, match):
    with pytest.raises(ValueError, match=match):
        make()
