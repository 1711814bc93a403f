import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import CLASSES, FEATURES, assert_same_weights, batches, make_network, rows

from keras_ebm.layers import SpectralNorm
from keras_ebm.models import LangevinModel
from keras_ebm.negatives import LangevinMoves, MALAMoves, MarkovChains, ReplayBuffer
from keras_ebm.networks import ClassConditional
from keras_ebm.random import StepRandom

X, Y = rows(16)
LABELLED = np.abs(Y)


def chains(num_steps=3, buffer=None, moves=None, **arguments):
    moves = moves or LangevinMoves(num_steps, 0.05, 0.1)
    return MarkovChains(moves, buffer, **arguments)


def make(num_outputs=1, negatives=None, **arguments):
    negatives = negatives or chains()
    return LangevinModel(make_network(num_outputs), negatives, **arguments)


def compiled(model, rate=0.05):
    model.compile(keras.optimizers.SGD(rate))
    return model


def conditional_network(seed=3):
    keras.utils.set_random_seed(seed)
    x, y = keras.Input((FEATURES,)), keras.Input((CLASSES,))
    hidden = keras.layers.Concatenate()([x, y])
    hidden = keras.layers.Dense(16, activation="silu")(hidden)
    out = keras.layers.Dense(1, name="logits")(hidden)
    return ClassConditional(keras.Model([x, y], out))


@keras.saving.register_keras_serializable(package="tests")
class Bowl(keras.layers.Layer):
    """`f(x) = -rate ||x||^2 / 2`, whose chains are known in closed form."""

    def build(self, shape):
        self.rate = self.add_weight(
            name="rate", shape=(), initializer=keras.initializers.Constant(0.5)
        )

    def call(self, x):
        rate = tf.convert_to_tensor(self.rate)
        return -0.5 * rate * tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)


def bowl(num_steps, **arguments):
    network = keras.Sequential([keras.Input((2,)), Bowl()])
    moves = LangevinMoves(num_steps, 0.1, noise_stddev=0.0)
    buffer = ReplayBuffer((2,), 40, in_turn=True)
    return LangevinModel(network, MarkovChains(moves, buffer), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"negatives": chains(start="data", start_stddev=0.0)},
        {"negatives": chains(start="uniform")},
        {"negatives": chains(buffer=ReplayBuffer((FEATURES,), 16, in_turn=True))},
        {"negatives": chains(moves=MALAMoves(2, num_leapfrog=2))},
        {
            "negatives": chains(
                buffer=ReplayBuffer((FEATURES,), 32, replacement="ring")
            ),
            "energy_l2": 1.0,
            "objective": "softplus",
            "dequantisation": 0.1,
        },
        {"energy_l2": 1.0, "objective": "logsumexp"},
        {"objective": "logistic", "gradient_penalty": 0.1},
        {"kl_weight": 1.0, "kl_through": "all"},
        {
            "negatives": chains(
                buffer=ReplayBuffer((FEATURES,), 64, replacement="reservoir")
            ),
            "kl_weight": 1.0,
            "neighbour_weight": 0.3,
            "num_neighbours": 2,
        },
        {"num_outputs": CLASSES},
        {"num_outputs": CLASSES, "conditional": True, "classification_weight": 1.0},
    ],
    ids=[
        "cd",
        "short-run",
        "pcd",
        "hmc",
        "igebm-softplus",
        "igebm-logsumexp",
        "logistic",
        "kl-all",
        "improved-cd",
        "jem",
        "jem-conditional",
    ],
)
def test_every_method_trains_saves_and_goes_on(arguments, tmp_path):
    model = compiled(make(**arguments))
    before = model.network.get_weights()
    data = batches(X, Y, 8)
    model.fit(data, epochs=2, shuffle=False, verbose=0)
    history = model.fit(data, epochs=2, shuffle=False, verbose=0).history
    assert all(np.all(np.isfinite(values)) for values in history.values())
    assert set(history) >= {"loss", "data_energy", "negative_energy"}
    after = model.network.get_weights()
    assert any(np.abs(a - b).max() > 1e-5 for a, b in zip(before, after, strict=True))
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, copy):
        one.fit(data, shuffle=False, verbose=0)
    assert_same_weights(model, copy)
    logs = model.evaluate(data, verbose=0, return_dict=True)
    assert np.isfinite(logs["data_energy"])


def test_the_loss_is_contrast_and_squares():
    model = make(energy_l2=0.5)
    other = X + 1.0
    loss, logs = model.energy_loss(X, Y, [other])
    data, negative = model.energy(X), model.energy(other)
    expected = np.mean(data) - np.mean(negative)
    expected += 0.5 * (np.mean(data**2) + np.mean(negative**2))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(logs["negative_energy"], negative, rtol=1e-5)


@pytest.mark.parametrize("num_steps, through", [(1, "last"), (3, "last"), (3, "all")])
def test_the_kl_terms_gradient_is_that_through_the_chain_at_a_fixed_energy(
    num_steps, through
):
    model = bowl(num_steps, kl_weight=2.0, kl_through=through)
    random = StepRandom(0, 0)
    x = tf.constant([[1.0, -2.0], [0.5, 0.0]])
    made = model.walk(x, random)
    rate = model.network.trainable_variables[0].value
    with tf.GradientTape() as tape:
        loss, logs = model.walk_loss(made, random)
    taken = 1 if through == "last" else num_steps
    # x_K = s (1 - 0.1 r)^n for n steps from s, and the energy's rate 0.5 fixed.
    shrink = 0.95**taken
    squares = np.sum(np.square(made.before), axis=-1)
    slope = 0.5 * shrink * squares * taken * 0.95 ** (taken - 1) * -0.1
    np.testing.assert_allclose(tape.gradient(loss, rate), 2 * slope.mean(), rtol=1e-4)
    np.testing.assert_allclose(loss, 2 * np.mean(0.25 * shrink**2 * squares), rtol=1e-5)
    np.testing.assert_allclose(made.x, shrink * made.before, rtol=1e-5)


def test_the_neighbour_term_spreads_the_chains():
    model = bowl(1, neighbour_weight=0.3, num_neighbours=2)
    random = StepRandom(0, 0)
    made = model.walk(tf.constant([[3.0, 0.0]]), random)
    end = np.asarray(made.x)
    states = tf.constant(end + np.array([[0.0, 2.0]], np.float32))
    far = tf.constant(end + np.array([[30.0, 0.0]], np.float32))
    neighbours = (tf.concat([far, states], 0), tf.constant(True))
    rate = model.network.trainable_variables[0].value
    with tf.GradientTape() as tape:
        loss, logs = model.walk_loss(made, random, neighbours)
    np.testing.assert_allclose(logs["neighbour_distance"], [2.0], rtol=1e-5)
    np.testing.assert_allclose(loss, -0.3 * np.log(2.0), rtol=1e-5)
    # d log ||x - b|| / dx = (x - b) / 4, and dx / d rate = -0.1 before.
    expected = -0.3 * np.sum((end - states) / 4 * -0.1 * made.before)
    np.testing.assert_allclose(tape.gradient(loss, rate), expected, rtol=1e-4)
    loss, _ = model.walk_loss(made, random, (states, tf.constant(False)))
    assert loss == 0.0


def test_neighbours_count_once_the_buffer_has_enough():
    model = compiled(bowl(1, neighbour_weight=0.3, num_neighbours=2))
    x = np.ones((8, 2), np.float32)
    known = []
    for _ in range(4):
        buffer, random = model.negatives.buffer, StepRandom(0, 0)
        known.append(bool(model.walk_terms.neighbours(buffer, random)[1]))
        model.train_on_batch(x)
    assert known == [False, False, False, True]  # 0, 8, 16, 24 of the 20 it takes


def test_unlabelled_rows_do_not_touch_the_cross_entropy():
    model = make(CLASSES)
    _, logs = model.energy_loss(X, Y, [])
    values, counted = logs["cross_entropy"]
    np.testing.assert_array_equal(counted, Y >= 0)
    known = Y >= 0
    probabilities = tf.nn.softmax(model.logits(X[known])).numpy()
    expected = -np.log(probabilities[np.arange(known.sum()), Y[known]])
    np.testing.assert_allclose(np.asarray(values)[known], expected, rtol=1e-4)


def test_class_conditional_energies_classify_and_their_chains_keep_their_label():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    x = (rng.normal(size=(2000, 2)) * 0.5 + np.where(y, 1.5, -1.5)[:, None]).astype(
        np.float32
    )
    keras.utils.set_random_seed(1)
    a, b = keras.Input((2,)), keras.Input((2,))
    hidden = keras.layers.Concatenate()([a, b])
    for _ in range(2):
        hidden = keras.layers.Dense(32, activation="silu")(hidden)
    network = ClassConditional(keras.Model([a, b], keras.layers.Dense(1)(hidden)))
    buffer = ReplayBuffer((2,), 200, in_turn=True, store_labels=True)
    moves = LangevinMoves(10, 0.02, noise_stddev=None)
    negatives = MarkovChains(moves, buffer, restart_share=0.05)
    model = LangevinModel(network, negatives, energy_l2=0.01)
    assert model.conditional and model.classification_weight == 0.0
    model.compile(keras.optimizers.Adam(3e-3, beta_1=0.5))
    model.fit(x, y, batch_size=100, epochs=15, verbose=0)
    guess = np.argmax(model.logits(x), axis=-1)
    assert np.mean(guess == y) > 0.98  # 3 standard deviations between: 0.9987
    samples = model.sample(400, num_steps=200, fresh=True).numpy()
    means = [samples[i::2].mean() for i in range(2)]
    assert means[0] < -1.0 and means[1] > 1.0


def test_missing_labels_are_drawn_from_the_classifier():
    model = compiled(
        LangevinModel(conditional_network(), chains(), classification_weight=0.0)
    )
    x = tf.repeat(tf.constant(X[:1]), 4000, axis=0)
    y = tf.constant([2] * 1000 + [-1] * 3000)
    drawn = model.complete_labels(x, y, StepRandom(0, 0)).numpy()
    assert np.all(drawn[:1000] == 2)
    expected = tf.nn.softmax(model.logits(X[:1])).numpy()[0]
    shares = np.bincount(drawn[1000:], minlength=CLASSES) / 3000
    assert np.abs(shares - expected).max() < 5 * 0.5 / np.sqrt(3000)
    history = model.fit(batches(X, Y, 8), shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_energies_and_chains_of_a_conditional_step_are_those_of_the_labels():
    model = LangevinModel(conditional_network(), chains())
    loss, logs = model.energy_loss(
        X, LABELLED, [X + 1.0], training=True, labels=(LABELLED, LABELLED[::-1])
    )
    np.testing.assert_allclose(logs["data_energy"], model.energy(X, LABELLED), 1e-4)
    expected = model.energy(X + 1.0, LABELLED[::-1])
    np.testing.assert_allclose(logs["negative_energy"], expected, rtol=1e-4)
    np.testing.assert_allclose(
        loss, np.mean(logs["data_energy"]) - np.mean(expected), rtol=1e-4
    )


@pytest.mark.parametrize("num_outputs", [1, CLASSES])
def test_a_step_of_two_replicas_is_the_step_of_one(strategy, num_outputs):
    models = []
    for scope in (contextlib.nullcontext(), strategy.scope()):
        with scope:
            negatives = chains(start="uniform")
            model = compiled(make(num_outputs, negatives, energy_l2=0.5, kl_weight=0.5))
        model.fit(batches(X, Y, 16), epochs=2, shuffle=False, verbose=0)
        models.append(model)
    assert_same_weights(*models, rtol=1e-5, atol=1e-6)


def test_one_power_iteration_a_step_serves_all_its_passes():
    keras.utils.set_random_seed(0)
    layer = SpectralNorm(keras.layers.Dense(8))
    network = keras.Sequential([keras.Input((FEATURES,)), layer, keras.layers.Dense(1)])
    model = compiled(LangevinModel(network, chains(5)), rate=0.0)
    u = layer.u.numpy()
    twice = keras.models.clone_model(network).layers[0]
    twice.set_weights(layer.get_weights())
    model.train_on_batch(X)
    twice.update()
    np.testing.assert_allclose(layer.u.numpy(), twice.u.numpy(), rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(u))


def test_sampling_repeats_itself_and_leaves_the_model_alone():
    model = make(negatives=chains(moves=MALAMoves(3, 0.1)))
    step = float(model.negatives.moves.step_size.numpy())
    x = model.sample(6, seed=1)
    np.testing.assert_array_equal(x, model.sample(6, seed=1))
    assert not np.any(np.isclose(x, model.sample(6, seed=2)))
    assert float(model.negatives.moves.step_size.numpy()) == step


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"energy_l2": -1.0}, "`energy_l2` must be a finite number"),
        ({"kl_through": "first"}, "`kl_through` must be one of"),
        ({"num_neighbours": 0}, "`num_neighbours` must be an integer"),
        ({"conditional": True}, "`conditional` needs a network with classes"),
        ({"kl_weight": 1.0, "negatives": chains(moves=MALAMoves())}, "LangevinMoves"),
        ({"neighbour_weight": 1.0}, "`neighbour_weight` needs a buffer"),
        ({"negatives": lambda x, random: x}, "`negatives` must be MarkovChains"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)


def test_sampling_needs_chains_that_start_from_noise():
    model = make(negatives=chains(start="data"))
    with pytest.raises(ValueError, match="start='data'"):
        model.sample(2)
