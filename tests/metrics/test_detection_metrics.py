"""Keras detection metrics equal the functions, in every way they are run."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.metrics import AUROC, FPRAtRecall, auroc, fpr_at_recall

PAIRS = [(AUROC, auroc), (FPRAtRecall, fpr_at_recall)]


@pytest.fixture
def rows():
    """Labels and scores with ties, in no order."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 203)
    scores = (rng.normal(size=203) + labels).round(1).astype(np.float32)
    return labels, scores


def by_function(function, labels, scores):
    return function(scores[labels == 0], scores[labels == 1])


@pytest.mark.parametrize("kind, function", PAIRS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_batches_give_the_value_of_the_whole(kind, function, compiled, rows):
    metric = kind()
    update = tf.function(metric.update_state) if compiled else metric.update_state
    result = tf.function(metric.result) if compiled else metric.result
    for labels, scores in zip(*(np.array_split(a, 7) for a in rows), strict=True):
        update(tf.constant(labels), tf.constant(scores))
    expected = by_function(function, *rows)
    np.testing.assert_allclose(result(), expected, rtol=1e-6)


@pytest.mark.parametrize("recall", [0.07, 0.29, 0.55, 0.57, 0.95])
def test_a_whole_number_of_known_rows_is_not_rounded_up(recall):
    metric = FPRAtRecall(recall)
    metric.update_state(tf.zeros(100), tf.range(1.0, 101.0))
    metric.update_state(tf.ones(2), 100 * recall + tf.constant([-0.5, 0.5]))
    assert float(metric.result()) == 0.5


def identity_model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    metrics = [AUROC(), FPRAtRecall(recall=0.8)]
    model.compile(loss="mse", metrics=metrics, jit_compile=False)
    return model


def check_evaluate(model, labels, scores):
    logs = model.evaluate(
        scores[:, None], labels, batch_size=20, verbose=0, return_dict=True
    )
    known, foreign = scores[labels == 0], scores[labels == 1]
    assert logs["auroc"] == pytest.approx(auroc(known, foreign), rel=1e-6)
    assert logs["fpr95"] == pytest.approx(fpr_at_recall(known, foreign, 0.8))


def test_evaluate_starts_afresh_each_time(rows):
    model = identity_model()
    check_evaluate(model, *rows)
    check_evaluate(model, *(a[:101] for a in rows))


def test_two_replicas_keep_every_row(strategy, rows):
    with strategy.scope():
        model = identity_model()
    check_evaluate(model, *(a[:200] for a in rows))


@pytest.mark.parametrize("kind", [AUROC, FPRAtRecall])
def test_a_nan_score_makes_the_result_nan(kind):
    metric = kind()
    metric.update_state([0, 0, 1, 1], [0.0, 1.0, np.nan, 3.0])
    assert np.isnan(metric.result())


@pytest.mark.parametrize("kind", [AUROC, FPRAtRecall])
@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_without_both_kinds_of_rows_the_result_is_nan(kind, labels):
    metric = kind()
    metric.update_state(tf.constant(labels, tf.int32), tf.zeros(len(labels)))
    assert np.isnan(metric.result())


@pytest.mark.parametrize("kind", [AUROC, FPRAtRecall])
def test_a_column_counts_as_a_vector(kind):
    flat, column = kind(), kind()
    labels, scores = np.array([0, 1, 0, 1]), np.array([0.0, 1.0, 2.0, 3.0])
    flat.update_state(labels, scores)
    column.update_state(labels[:, None], scores[:, None])
    assert float(flat.result()) == float(column.result())


def test_sample_weights_and_other_labels_are_refused():
    metric = AUROC()
    with pytest.raises(ValueError, match="`sample_weight` must be None"):
        metric.update_state([0, 1], [0.0, 1.0], sample_weight=[1.0, 2.0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 .foreign. or 0"):
        tf.function(metric.update_state)(tf.constant([0, -1]), tf.zeros(2))


def test_two_columns_are_refused_and_not_read_as_twice_the_rows():
    one_hot = tf.constant([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="`y_pred` must have shape"):
        AUROC().update_state([0, 1], one_hot)
    with pytest.raises(ValueError, match="`y_true` must have shape"):
        AUROC().update_state(one_hot, one_hot)


def test_config_survives_a_round_trip():
    metric = FPRAtRecall(recall=0.9, name="fpr90")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert (again.recall, again.name) == (0.9, "fpr90")
    with pytest.raises(ValueError, match="recall=0"):
        FPRAtRecall(recall=0)
