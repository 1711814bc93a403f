"""Shares of classes that the labels do not tell, and choices by labelled rows alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import EnergyModel, ood
from keras_ebm.estimators import ClassShares, EnergyClassifier, KernelClassifier
from keras_ebm.estimators.class_shares import class_shares, matched_temperature
from keras_ebm.estimators.few_labels import choose_transform, evenly, log_softmax

HALVES = np.array([0.5, 0.5])


@pytest.fixture(scope="module")
def uneven():
    """Two Gaussians, nine rows to one; ten labels of each, -1 for the others."""
    rng = np.random.default_rng(0)
    y = (rng.random(1_000) < 0.1).astype(int)
    x = rng.normal(size=(1_000, 2)) + 2.5 * y[:, None] * [1.0, 0.0]
    labels = np.full(1_000, -1)
    for k in (0, 1):
        labels[np.flatnonzero(y == k)[:10]] = k
    return x.astype(np.float32), y, labels


def test_shares_of_calibrated_answers_are_found(uneven):
    x, y, _ = uneven
    # log p(x|1) / p(x|0) of the two Gaussians.
    log_odds = 2.5 * x[:, 0].astype(float) - 2.5**2 / 2.0
    log_p = log_softmax(np.stack([np.zeros(1_000), log_odds], axis=1))
    found = class_shares(log_p, HALVES, strength=0.0)
    # The standard error of the share of 1,000 rows is .01, and some overlap.
    np.testing.assert_allclose(found[1], y.mean(), atol=0.03)


def test_shares_stay_those_of_the_labels_where_answers_know_nothing():
    log_p = np.log(np.full((50, 2), 0.5))
    np.testing.assert_allclose(class_shares(log_p, HALVES, 10.0), HALVES)


def test_many_pseudo_rows_keep_the_labels_shares():
    log_p = log_softmax(np.tile([3.0, 0.0], (50, 1)))
    found = class_shares(log_p, np.array([0.3, 0.7]), strength=1e9)
    np.testing.assert_allclose(found, [0.3, 0.7], atol=1e-5)


def test_answers_left_out_are_those_of_fits_without_each_row():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 3)), np.arange(12) % 2
    found = KernelClassifier.fit(x, y)
    one_hot = np.eye(2)[y] - found.shares
    square = ((x[:, None] - x) ** 2).sum(-1)
    losses = []
    for ridge in (0.1, 1.0):
        kernel = np.exp(-found.width / 3 * square)
        answers = []
        for i in range(12):
            others = np.delete(np.arange(12), i)
            within = kernel[np.ix_(others, others)] + ridge * np.eye(11)
            weights = np.linalg.solve(within, one_hot[others])
            answers.append(kernel[i, others] @ weights)
        logits = np.log(found.shares) + np.array(answers)[:, None, :] / np.geomspace(
            0.2, 20.0, 80
        ).reshape(1, -1, 1)
        log_p = log_softmax(logits)
        losses.append((-log_p[np.arange(12), :, y]).mean(0).min())
    np.testing.assert_allclose(found.loss, min(losses), rtol=1e-6)


def test_informedness_is_high_of_far_classes_and_low_of_noise():
    rng = np.random.default_rng(2)
    y = np.arange(40) % 2
    noise = rng.normal(size=(40, 2))
    assert KernelClassifier.fit(noise + 8.0 * y[:, None], y).informedness > 0.9
    assert KernelClassifier.fit(noise, y).informedness < 0.1


def test_a_class_of_which_no_row_is_at_hand_stays_possible():
    found = KernelClassifier.fit(np.eye(4), np.array([0, 1, 0, 1]), num_classes=3)
    log_p = found.log_probabilities(np.eye(4))
    assert log_p.shape == (4, 3) and np.isfinite(log_p).all()


def test_a_temperature_makes_answers_as_sure_as_asked():
    logits = 30.0 * np.random.default_rng(3).normal(size=(200, 3))
    temperature = matched_temperature(logits, 0.7)
    p = np.exp(log_softmax(logits / temperature))
    np.testing.assert_allclose(p.max(1).mean(), 0.7, atol=1e-4)


def test_counted_shares_are_those_of_the_rows_and_make_sure_logits_less_so():
    rng = np.random.default_rng(4)
    labels = (rng.random(4_000) < 0.2).astype(int)
    x = rng.normal(size=4_000) + 2.0 * labels
    # Ten times as sure as two unit Gaussians that are 2 apart allow.
    logits = 10.0 * np.stack([np.zeros(4_000), 2.0 * x - 2.0], axis=1)
    found = ClassShares.counted(logits, labels, HALVES)
    np.testing.assert_allclose(found.shares[1], labels.mean(), atol=2e-3)
    np.testing.assert_allclose(found.temperature, 10.0, rtol=0.2)
    np.testing.assert_allclose(
        found.offsets, found.temperature * np.log(found.shares / 0.5)
    )


def test_estimated_shares_go_towards_the_rows_and_serve_them(uneven):
    x, y, labels = uneven
    logits = np.stack([np.zeros(1_000), 8.0 * x[:, 0] - 10.0], axis=1)
    found = ClassShares.estimate(logits, x, labels)
    assert found.labelled[1] == 0.5 and 0.1 < found.shares[1] < 0.45
    before = np.mean(logits.argmax(1) == y)
    assert np.mean((logits + found.offsets).argmax(1) == y) > before


@pytest.mark.parametrize("labels", [np.zeros(4, int), np.full(4, -1)])
def test_shares_need_labels_and_rows_without(labels):
    with pytest.raises(ValueError, match="must hold classes and -1.* labels of 4 rows"):
        ClassShares.estimate(np.zeros((4, 2)), np.eye(4), labels)


def test_normal_scores_are_chosen_where_columns_are_skewed():
    rng = np.random.default_rng(5)
    y = np.arange(2_000) % 2
    labels = np.where(np.arange(2_000) < 20, y, -1)
    skewed = np.exp(4.0 * rng.normal(size=(2_000, 1)) + 6.0 * y[:, None])
    assert choose_transform(skewed, labels) == "quantile"


def test_normal_scores_are_given_up_where_the_tail_tells_the_classes():
    rng = np.random.default_rng(5)
    y = np.arange(2_000) % 2
    labels = np.where(np.arange(2_000) < 20, y, -1)
    # Among 2,000 ranks, 10 and 1,000 are next to each other.
    x = rng.normal(size=(2_000, 5))
    x[:20, 0] = np.where(y[:20] == 1, 1_000.0, 10.0) + x[:20, 0]
    assert choose_transform(x, labels) == "standardise"


def test_rows_are_taken_evenly_and_all_where_they_are_few():
    assert evenly(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert evenly(101, 3).tolist() == [0, 50, 100]


@pytest.fixture(scope="module")
def fitted(uneven):
    x, _, labels = uneven
    return EnergyClassifier(
        "supervised",
        hidden=(16,),
        steps=8,
        batch_size=32,
        learning_rate=5e-2,
        random_state=0,
        run_eagerly=True,
        class_shares="estimated",
    ).fit(x, labels)


def test_the_classifier_answers_more_of_the_commoner_class(uneven, fitted):
    x, y, labels = uneven
    model = fitted.model_
    plain = np.argmax(model.logits(x), axis=1)
    answers = fitted.predict(x)
    assert answers.mean() < plain.mean()
    assert np.mean(answers == y) >= np.mean(plain == y)
    np.testing.assert_array_equal(fitted.predict_proba(x).argmax(1), answers)
    np.testing.assert_array_equal(fitted.decision_function(x) > 0, answers == 1)


def test_shares_leave_energies_alone(uneven, fitted):
    x = tf.constant(uneven[0][:8])
    logits = fitted.model_.logits(x)
    np.testing.assert_allclose(
        fitted.model_.energy(x), -tf.reduce_logsumexp(logits, axis=1), rtol=1e-5
    )


def test_a_detector_decides_with_the_shares(uneven, fitted):
    x = uneven[0]
    decided = ood.Detector.calibrate(fitted.model_, x[:200]).decide(tf.constant(x))
    np.testing.assert_array_equal(decided["class_id"], fitted.predict(x))


def test_rows_that_all_have_labels_are_answered_as_they_are(uneven):
    x, y, _ = uneven
    quick = {"hidden": (8,), "steps": 2, "random_state": 0, "run_eagerly": True}
    quick["class_shares"] = "estimated"
    found = EnergyClassifier("supervised", **quick).fit(x[:60], y[:60])
    assert found.class_shares_ is None and found.model_.class_offsets is None
    assert found.feature_transform_ == "quantile"


def small_model(**arguments):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    return EnergyModel(network, **arguments)


def test_offsets_come_back_from_a_configuration():
    model = small_model(class_offsets=[1.0, 0.0, -1.0])
    again = EnergyModel.from_config(model.get_config())
    assert again.class_offsets == [1.0, 0.0, -1.0]
    logits = np.zeros((1, 3), np.float32)
    np.testing.assert_allclose(
        again.to_probabilities(logits), tf.nn.softmax([[1.0, 0.0, -1.0]]), rtol=1e-6
    )


@pytest.mark.parametrize("offsets", [[1.0, 2.0], [0.0, np.nan, 0.0]])
def test_offsets_are_a_finite_number_for_each_class(offsets):
    with pytest.raises(ValueError, match="`class_offsets` must be 3 finite numbers"):
        small_model(class_offsets=offsets)
