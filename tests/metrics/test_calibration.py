"""Calibration by hand, and the Keras metrics against the functions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

from keras_ebm.metrics import (
    AUROC,
    BrierScore,
    ExpectedCalibrationError,
    FPRAtRecall,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)

# Largest probabilities .9, .7, .5, .5; the first two and the last are hits.
PROBABILITIES = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5], [0.5, 0.5]])
LABELS = np.array([0, 1, 1, 0])


def draw(num_rows=1000, num_classes=5, unlabelled=0.3):
    rng = np.random.default_rng(0)
    logits = 2.0 * rng.normal(size=(num_rows, num_classes)).astype(np.float32)
    labels = rng.integers(0, num_classes, num_rows)
    labels[rng.random(num_rows) < unlabelled] = -1
    return logits, labels


def softmax(logits):
    return np.asarray(tf.nn.softmax(logits))


def test_calibration_error_by_hand():
    # Two bins. (0, .5]: 2 rows, confidence .5, accuracy .5. (.5, 1]: 2 rows,
    # confidence .8, accuracy 1. The error is 2/4 * 0 + 2/4 * .2.
    value = expected_calibration_error(PROBABILITIES, LABELS, num_bins=2)
    assert value == pytest.approx(0.1)


def test_reliability_by_hand_has_nan_in_an_empty_bin():
    table = reliability(PROBABILITIES, LABELS, num_bins=4)
    np.testing.assert_array_equal(table.count, [0, 2, 1, 1])
    np.testing.assert_allclose(table.confidence, [np.nan, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(table.accuracy, [np.nan, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(table.edges, [0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bin_index", range(8, 15))
def test_a_bin_owns_its_right_edge(dtype, bin_index):
    top = (bin_index + 1) / 15
    table = reliability(np.array([[top, 1.0 - top]], dtype), np.array([0]))
    assert table.count.argmax() == bin_index


def test_brier_score_by_hand():
    # .01 + .01, .09 + .09, .25 + .25 twice.
    assert brier_score(PROBABILITIES, LABELS) == pytest.approx(1.2 / 4)


def test_likelihood_agrees_with_scikit_learn_from_either_input():
    logits, labels = draw(unlabelled=0.0)
    probabilities = softmax(logits).astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = log_loss(labels, probabilities)
    value = negative_log_likelihood(probabilities, labels)
    assert value == pytest.approx(expected)
    value = negative_log_likelihood(logits, labels, from_logits=True)
    assert value == pytest.approx(expected, rel=1e-5)


def test_an_impossible_label_costs_infinity():
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert negative_log_likelihood(probabilities, np.array([0, 1])) == np.inf


FUNCTIONS = [expected_calibration_error, brier_score, negative_log_likelihood]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_unlabelled_rows_are_left_out(function):
    logits, labels = draw()
    probabilities, known = softmax(logits), labels != -1
    expected = function(probabilities[known], labels[known])
    assert function(probabilities, labels) == expected


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "probabilities, labels, match",
    [
        (PROBABILITIES, -np.ones(4, int), "all labelled -1"),
        (PROBABILITIES, LABELS + 1, "labels from 1 to 2"),
        (PROBABILITIES, LABELS * 1.0, "dtype float64"),
        (PROBABILITIES, LABELS[:3], r"shapes \(4, 2\) and \(3,\)"),
        (PROBABILITIES * np.nan, LABELS, "4 of 4 labelled rows with nan"),
        (PROBABILITIES * 3, LABELS, "apply a softmax"),
        (PROBABILITIES[:, 0] * 3, LABELS, "apply a sigmoid.*from 0.9 to 2.7"),
        (PROBABILITIES[:, :1] - 0.4, LABELS, "apply a sigmoid"),
    ],
)
def test_bad_rows_raise(function, probabilities, labels, match):
    with pytest.raises(ValueError, match=match):
        function(probabilities, labels)


# Probabilities .1, .4, .5 and .8 of class 1, each as often right as it says.
BINARY = np.repeat([0.1, 0.4, 0.5, 0.8], 10).astype(np.float32)
OUTCOMES = np.concatenate([np.arange(10) < 10 * p for p in [0.1, 0.4, 0.5, 0.8]])


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_column_is_the_class_1_of_two(shape):
    labels, both = OUTCOMES.astype(int), np.stack([1.0 - BINARY, BINARY], axis=1)
    column, logits = BINARY.reshape(shape), np.log(BINARY / (1 - BINARY)).reshape(shape)
    assert expected_calibration_error(column, labels) < 1e-6
    for function in FUNCTIONS:
        assert function(column, labels) == pytest.approx(function(both, labels))
    nll = negative_log_likelihood(logits, labels, from_logits=True)
    assert nll == pytest.approx(negative_log_likelihood(both, labels))


METRICS = [
    (ExpectedCalibrationError, expected_calibration_error),
    (BrierScore, brier_score),
]


@pytest.mark.parametrize("kind, function", METRICS)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_a_metric_equals_its_function(kind, function, from_logits, compiled):
    logits, labels = draw()
    probabilities = softmax(logits)
    predictions = logits if from_logits else probabilities
    metric = kind(from_logits=from_logits)
    update = tf.function(metric.update_state) if compiled else metric.update_state
    for rows in np.array_split(np.arange(len(labels)), 4):
        update(tf.constant(labels[rows]), tf.constant(predictions[rows]))
    expected = function(probabilities, labels)
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-5)


@pytest.mark.parametrize("kind, function", METRICS)
def test_evaluate_reports_a_metric(kind, function):
    logits, labels = draw()
    model = keras.Sequential([keras.Input((5,)), keras.layers.Identity()])
    metric = kind(from_logits=True)
    model.compile(loss=lambda y, x: tf.reduce_mean(x, axis=-1), metrics=[metric])
    logs = model.evaluate(logits, labels, verbose=0, return_dict=True)
    expected = function(softmax(logits), labels)
    assert logs[metric.name] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind, function", METRICS)
@pytest.mark.parametrize("column", [0, 1])
def test_nan_stays_nan_only_where_a_row_counts(kind, function, column):
    predictions = PROBABILITIES.astype(np.float32)
    predictions[1, column] = np.nan
    metric = kind()
    metric.update_state([0, -1, 1, 0], predictions)
    assert np.isfinite(metric.result())
    metric.update_state([0, 1, 1, 0], predictions)
    assert np.isnan(metric.result())


@pytest.mark.parametrize("kind, function", METRICS)
def test_without_a_labelled_row_the_result_is_nan(kind, function):
    metric = kind()
    metric.update_state([-1, -1], PROBABILITIES[:2])
    assert np.isnan(metric.result())
    metric.reset_state()
    metric.update_state([0], PROBABILITIES[:1])
    assert np.isfinite(metric.result())


@pytest.mark.parametrize("kind, function", METRICS)
def test_weights_count_rows(kind, function):
    repeated, weighted = kind(), kind()
    weights = np.array([2, 0, 1, 3])
    repeated.update_state(
        np.repeat(LABELS, weights), np.repeat(PROBABILITIES, weights, axis=0)
    )
    weighted.update_state(LABELS, PROBABILITIES, sample_weight=weights)
    np.testing.assert_allclose(weighted.result(), repeated.result(), rtol=1e-6)


@pytest.mark.parametrize("kind, function", METRICS)
def test_a_million_rows_lose_no_digits(kind, function):
    metric = kind()
    labels = tf.tile(tf.constant([0, 1, 1, 0]), [100])
    predictions = tf.tile(tf.constant(PROBABILITIES, tf.float32), [100, 1])

    @tf.function
    def update_many(times):
        for _ in tf.range(times):
            metric.update_state(labels, predictions)

    update_many(tf.constant(2500))
    expected = function(PROBABILITIES, LABELS)
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)


def test_a_row_still_counts_after_sixteen_million():
    metric = BrierScore()
    metric.count.assign(2.0**24)  # float32 has no 2**24 + 1
    metric.update_state(LABELS[:1], PROBABILITIES[:1])
    assert float(metric.count) == 2.0**24 + 1


def test_a_bin_of_the_metric_owns_its_right_edge():
    # (0, .5]: 2 misses at .5. (.5, 1]: a hit at .7. In one bin the gaps would
    # cancel to .7 / 3.
    metric = ExpectedCalibrationError(num_bins=2)
    metric.update_state([1, 1, 1], [[0.5, 0.5], [0.5, 0.5], [0.3, 0.7]])
    assert float(metric.result()) == pytest.approx((0.5 + 0.5 + 0.3) / 3)


def test_config_survives_a_round_trip():
    metric = ExpectedCalibrationError(num_bins=7, from_logits=True, name="gap")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert (again.num_bins, again.from_logits, again.name) == (7, True, "gap")
    with pytest.raises(ValueError, match="num_bins=0"):
        ExpectedCalibrationError(num_bins=0)
    with pytest.raises(ValueError, match="`y_pred` must have shape"):
        metric.update_state([0, 1], [[[0.1, 0.2]]])


@pytest.mark.parametrize("kind, function", METRICS)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_a_metric_of_one_column_is_that_of_two_classes(
    kind, function, from_logits, shape
):
    metric = kind(from_logits=from_logits)
    predictions = np.log(BINARY / (1.0 - BINARY)) if from_logits else BINARY
    metric.update_state(OUTCOMES, predictions.reshape(shape))
    expected = function(BINARY, OUTCOMES.astype(int))
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


NO_PROBABILITIES = [
    ([0, 1], [[0.2, 0.8], [2.0, -1.0]], r"(?s)softmax.*\W1\W+rows that are not"),
    ([0, 1], [[0.2, 0.8], [0.6, 0.6]], "rows that sum to 1"),
    ([0, 1], [[0.2], [1.5]], r"(?s)sigmoid.*from\W+1.5\W+to\W+1.5"),
    ([0, 1], [0.5, -0.5], "sigmoid"),
    ([0, 2], [[0.2, 0.8], [0.5, 0.5]], r"(?s)classes 0 to 1.*from\W+2"),
    ([0, 0.5], [0.2, 0.5], "`y_true` must hold classes"),
]


@pytest.mark.parametrize("kind, function", METRICS)
@pytest.mark.parametrize("labels, predictions, match", NO_PROBABILITIES)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_a_metric_refuses_what_is_no_probability_where_a_row_counts(
    kind, function, labels, predictions, match, compiled
):
    metric = kind()
    update = tf.function(metric.update_state) if compiled else metric.update_state
    predictions = tf.constant(predictions)
    update(tf.constant([labels[0], -1], tf.float32), predictions)
    before = float(metric.result())
    error = tf.errors.InvalidArgumentError if compiled else ValueError
    with pytest.raises(error, match=match):
        update(tf.constant(labels, tf.float32), predictions)
    assert float(metric.count) == 1.0 and float(metric.result()) == before


@pytest.mark.parametrize("kind, function", METRICS)
def test_under_xla_what_is_no_probability_leaves_no_finite_result(kind, function):
    metric = kind()
    update = tf.function(metric.update_state, jit_compile=True)
    update(tf.constant([0, -1]), tf.constant([[0.2, 0.8], [3.0, 4.0]]))
    assert np.isfinite(metric.result())
    update(tf.constant([0, 1]), tf.constant([[0.2, 0.8], [3.0, 4.0]]))
    assert not np.isfinite(metric.result())


@pytest.mark.parametrize("eagerly", [False, True])
def test_fit_refuses_logits_that_were_not_called_so(eagerly):
    # One weight, of 1, at a learning rate of 0.
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), dense])
    metrics = [ExpectedCalibrationError(), BrierScore()]
    model.compile(
        keras.optimizers.SGD(0.0),
        loss="mse",
        metrics=metrics,
        run_eagerly=eagerly,
        jit_compile=False,
    )
    x = np.array([[0.2], [0.7], [-3.0]], np.float32)
    logs = model.evaluate(x, np.array([0, 1, -1]), verbose=0, return_dict=True)
    assert logs["brier"] == pytest.approx(2 * (0.04 + 0.09) / 2, abs=1e-6)
    assert logs["ece"] == pytest.approx((0.2 + 0.3) / 2, abs=1e-6)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="sigmoid"):
        model.fit(x, np.array([0, 1, 1]), verbose=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounding_of_a_coarse_type_is_no_error(dtype):
    logits, labels = draw(num_classes=200)
    metric = BrierScore()
    metric.update_state(labels, tf.nn.softmax(tf.cast(logits, dtype)))
    expected = brier_score(softmax(logits), labels)
    assert float(metric.result()) == pytest.approx(expected, rel=0.02)


def test_labels_of_another_shape_raise():
    metric = BrierScore()
    with pytest.raises(ValueError, match=r"`y_true` must have shape .*\(2, 2\)"):
        metric.update_state([[0, 1], [1, 0]], PROBABILITIES[:2])
    with pytest.raises(ValueError, match="1 labels for 4 rows"):
        metric.update_state([0], PROBABILITIES)


def test_callbacks_know_what_is_the_best_of_each_metric():
    kinds = [ExpectedCalibrationError, BrierScore, FPRAtRecall, AUROC]
    assert [kind()._direction for kind in kinds] == ["down", "down", "down", "up"]
