"""`sample_weight` and `class_weight`: what they do to a loss, and which are refused."""

import contextlib

import keras
import numpy as np
import pytest
import support
import tensorflow as tf

from keras_ebm import models, objectives
from keras_ebm.negatives import Jitter, LangevinMoves, MarkovChains
from keras_ebm.objectives import DenoisingScoreMatching, SemiSupervised
from keras_ebm.random import StepRandom

X, Y = support.rows(16)
LABELS = np.abs(Y)
WEIGHTS = np.random.default_rng(5).integers(0, 3, 16).astype(np.float32)
#: Each row as often as it weighs.
REPEATED = np.repeat(np.arange(16), WEIGHTS.astype(int))


def classifier(num_outputs=3, **arguments):
    model = models.EnergyModel(support.make_network(num_outputs), **arguments)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def model():
    """A classifier that takes no steps to speak of."""
    model = models.EnergyModel(support.make_network())
    model.compile(keras.optimizers.SGD(0.0))
    return model


def test_the_cross_entropy_is_weighed_as_keras_weighs_it(model):
    found = model.evaluate(
        X, LABELS, sample_weight=WEIGHTS, batch_size=5, verbose=0, return_dict=True
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = loss(LABELS, model.logits(X), sample_weight=WEIGHTS)
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
    plain = model.evaluate(X, LABELS, verbose=0, return_dict=True)
    assert found["accuracy"] == plain["accuracy"]
    assert found["cross_entropy"] == pytest.approx(plain["cross_entropy"], rel=1e-5)


def test_a_weight_counts_a_row_so_often(model):
    heavy, _ = model.energy_loss(X, LABELS, [], sample_weight=WEIGHTS)
    often, _ = model.energy_loss(X[REPEATED], LABELS[REPEATED], [])
    assert float(heavy) * 16 == pytest.approx(float(often) * len(REPEATED), rel=1e-5)


@pytest.mark.parametrize("objective", ["contrastive", "logistic", "logsumexp"])
def test_energies_of_data_are_weighed_in_a_mean(objective):
    model = classifier(1, objective=objective, gradient_penalty=0.3)
    negatives = [tf.constant(X + 1.0)]
    heavy, logs = model.energy_loss(
        tf.constant(X), Y, negatives, training=True, sample_weight=WEIGHTS
    )
    often, others = model.energy_loss(
        tf.constant(X[REPEATED]), Y[REPEATED], negatives, training=True
    )
    assert float(heavy) == pytest.approx(float(often), rel=1e-4, abs=1e-6)
    assert float(logs["gradient_penalty"]) == pytest.approx(
        float(others["gradient_penalty"]), rel=1e-4
    )


def test_pairs_are_weighed_by_their_data():
    loss = objectives.softplus_loss(
        tf.constant([1.0, 5.0]), tf.constant([1.0, 0.0]), tf.constant([3.0, 0.0])
    )
    assert float(loss) == pytest.approx(np.log(2.0), rel=1e-6)


def test_terms_of_unlabelled_rows_are_weighed():
    terms = SemiSupervised(
        pseudo_label_weight=1.0,
        pseudo_label_threshold=0.01,
        virtual_adversarial_weight=1.0,
    )
    model = classifier(semi_supervised=terms, conditional_entropy_weight=0.7)
    none = np.full(16, -1)

    def loss(weights):
        batch = model.begin_step((X, none, weights))
        return float(model.step_loss(batch, model.draw_step(batch))[0])

    one = loss(np.ones(16))
    assert one > 0.0
    assert loss(np.full(16, 3.0)) == pytest.approx(3.0 * one, rel=1e-4)
    assert loss(np.zeros(16)) == 0.0


def test_a_batch_without_weight_moves_nothing():
    model = classifier(negatives=Jitter(), gradient_penalty=0.1)
    before = model.get_weights()
    model.train_step((X, LABELS, np.zeros(16, np.float32)))
    for one, other in zip(before, model.network.get_weights(), strict=False):
        np.testing.assert_array_equal(one, other)


def test_classes_are_weighed_and_rows_without_a_label_by_1():
    weights = {0: 2.0, 1: 0.0}
    own = np.select([Y == 0, Y == 1], [2.0, 0.0], 1.0)
    data = tf.data.Dataset.from_tensors((X, Y))
    trained = []
    for x, y, arguments in (
        (X, Y, {"class_weight": weights}),
        (data, None, {"class_weight": weights}),
        (X, np.where(Y < 0, np.nan, Y), {"class_weight": weights}),
        (X, Y, {"sample_weight": own}),
    ):
        model = classifier(conditional_entropy_weight=1.0)
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0, **arguments)
        trained.append(model)
    plain = classifier(conditional_entropy_weight=1.0)
    plain.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
    for other in trained[1:]:
        support.assert_same_weights(trained[0], other, rtol=1e-5, atol=1e-6)
    first = plain.network.get_weights()[0]
    assert np.abs(trained[0].network.get_weights()[0] - first).max() > 1e-4


def test_rows_of_the_classifier_have_weights_of_their_own(model):
    none, twice = np.zeros(16, np.float32), np.full(16, 2.0, np.float32)
    batch = model.begin_step(((X[::-1], X), (LABELS[::-1], Y), (twice, none)))
    loss, _ = model.step_loss(batch, model.draw_step(batch))
    plain, _ = model.energy_loss(X, LABELS, [])
    assert float(loss) == pytest.approx(2.0 * float(plain), rel=1e-5)
    with pytest.raises(ValueError, match=r"must be a pair.*\(class_weights, weights\)"):
        model.begin_step(((X, X), (LABELS, Y), twice))


def test_a_density_of_a_criterion_is_weighed_in_a_mean():
    model = models.DensityModel(support.make_network(1), DenoisingScoreMatching(0.3))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    losses, _ = model.criterion_losses(tf.constant(X), StepRandom(0, 0))
    expected = np.average(losses, weights=WEIGHTS)
    options = {"sample_weight": WEIGHTS, "batch_size": 16, "verbose": 0}
    found = model.evaluate(X, return_dict=True, **options)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    model.optimizer.iterations.assign(0)
    history = model.fit(X, shuffle=False, **options).history
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)


def test_a_chain_model_weighs_the_squares_of_its_energies():
    def loss(x, **weights):
        chains = MarkovChains(LangevinMoves(1))
        model = models.LangevinModel(support.make_network(), chains, energy_l2=1.0)
        negatives = [tf.constant(X + 1.0)]
        return model.energy_loss(x, np.full(len(x), -1), negatives, **weights)[0]

    found = loss(X, sample_weight=WEIGHTS)
    assert float(found) == pytest.approx(float(loss(X[REPEATED])), rel=1e-5)


def test_a_weighed_step_of_two_replicas_is_the_step_of_one(strategy):
    def step(scope):
        with scope:
            model = support.compile_sgd(
                support.make_vera(gradient_penalty=0.5, conditional_entropy_weight=0.3)
            )
        data = tf.data.Dataset.from_tensors((X, Y, WEIGHTS))
        history = model.fit(data, shuffle=False, verbose=0).history
        return model, history["loss"][0]

    one, loss = step(contextlib.nullcontext())
    two, other = step(strategy.scope())
    support.assert_same_weights(one, two, rtol=1e-5, atol=1e-6)
    assert loss == pytest.approx(other, rel=1e-5)


BAD = {
    "negative": (np.where(np.arange(16) == 3, -1.0, 1.0), "Received: -1.0 in row 3"),
    "not finite": (np.where(np.arange(16) == 2, np.nan, 1.0), "nan in row 2"),
    "too few": (np.ones(15), r"shape \(15,\) for 16 rows"),
    "of cells": (np.ones((16, 4)), r"shape \(16, 4\)"),
    "words": (np.array(["a"] * 16), "finite weight of at least 0"),
}


@pytest.mark.parametrize("weights, message", BAD.values(), ids=BAD)
def test_weights_in_arrays_are_looked_at_before_the_first_step(model, weights, message):
    calls = {
        "fit": lambda: model.fit(X, Y, sample_weight=weights, verbose=0),
        "validation": lambda: model.fit(
            X, Y, validation_data=(X, Y, weights), verbose=0
        ),
        "evaluate": lambda: model.evaluate(X, Y, sample_weight=weights, verbose=0),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=message):
            call()


def test_weights_in_batches_are_looked_at_in_their_step(model):
    batches = tf.data.Dataset.from_tensors((X, LABELS, -WEIGHTS))
    with pytest.raises(tf.errors.InvalidArgumentError, match="finite weight of at"):
        model.evaluate(batches, verbose=0)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({3: 1.0}, "from 0 to 2.*Received: 3: 1.0"),
        ({"cat": 1.0}, "Received: 'cat': 1.0"),
        ({0: -1.0}, "Received: 0: -1.0"),
        ({0: float("nan")}, "Received: 0: nan"),
        ([1.0, 2.0, 3.0], "must be a dict"),
    ],
)
def test_weights_of_classes_are_looked_at(model, weights, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, class_weight=weights, verbose=0)


def test_weights_of_classes_need_classes_and_labels(model):
    with pytest.raises(ValueError, match="cannot be given together"):
        model.fit(X, Y, class_weight={0: 1.0}, sample_weight=WEIGHTS, verbose=0)
    with pytest.raises(ValueError, match="needs the rows' labels"):
        model.fit(X, class_weight={0: 1.0}, verbose=0)
    with pytest.raises(ValueError, match="needs batches"):
        model.fit(tf.data.Dataset.from_tensors(X), class_weight={0: 1.0}, verbose=0)
    with pytest.raises(ValueError, match="needs a network with classes"):
        classifier(1).fit(X, class_weight={0: 1.0}, verbose=0)
