"""The guarantee itself, counted; and every way to ask for it."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_ebm.ood import ConformalDetector, conformal_band
from keras_ebm.ood.conformal_rates import rows_needed


def draw(size, seed=0):
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def test_p_values_count_calibration_scores_at_or_above():
    detector = ConformalDetector(np.array([3.0, 1.0, 2.0, 2.0]))
    scores = tf.constant([0.0, 1.0, 2.0, 2.5, 3.0, 3.5])
    expected = np.array([5, 5, 4, 2, 2, 1]) / 5
    np.testing.assert_allclose(detector.p_value(scores), expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.01, np.float32(0.01), tf.constant(0.01)])
def test_99_rows_at_one_percent_refuse_what_is_above_them_all(rate):
    detector = ConformalDetector(draw(99))
    largest = detector.scores.max()
    scores = np.array(
        [largest - 1e-3, largest, np.nextafter(largest, np.float32(np.inf))]
    )
    accepted = detector.accept(tf.constant(scores, tf.float32), rate)
    np.testing.assert_array_equal(accepted, [True, True, False])


@pytest.fixture(scope="module")
def million():
    return ConformalDetector(np.arange(1e6))


def num_refused(detector, rate):
    """How many of the calibration rows' own ranks lie above the threshold."""
    ranks = tf.range(len(detector.scores) + 1, dtype=tf.float32)
    return int(np.sum(~detector.accept(ranks, rate).numpy()))


def both_ways(rate):
    """A rate as a float and as a tensor of each precision."""
    return [rate, tf.constant(rate, tf.float32), tf.constant(rate, tf.float64)]


@pytest.mark.parametrize("rate", ["1e-6", "2e-6", "0.00123", "0.5", "0.75"])
def test_ranks_are_exact_at_a_million_rows(million, rate):
    expected = math.floor(Fraction(rate) * 1_000_001)
    for given in both_ways(float(rate)):
        assert num_refused(million, given) == expected


def test_a_million_rows_cannot_keep_half_of_a_millionth(million):
    with pytest.raises(ValueError, match="at least 1e-06.*needs 1999999 rows"):
        million.check_rate(5e-7)
    with pytest.raises(ValueError, match="`num_calibration` must be at least"):
        conformal_band(5e-7, 1_000_000, 10)
    for rate in (tf.constant(5e-7), tf.constant(5e-7, tf.float64)):
        assert num_refused(million, rate) == 0


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32"])
def test_a_tensor_rate_of_0_refuses_nothing(million, by_class, dtype):
    classes = np.zeros(1_000_000, int) if by_class else None
    detector = ConformalDetector(million.scores, calibration_classes=classes)
    scores, ids = tf.constant([0.0, 1e9, np.inf]), tf.zeros(3, tf.int32)
    assert detector.accept(scores, tf.zeros((), dtype), ids).numpy().all()


@pytest.mark.parametrize("rows", [1, 2, 48, 99, 10**6 - 1, 2**20 - 1])
def test_one_in_n_plus_1_refuses_one_however_it_was_rounded(rows):
    share = 1 / (rows + 1)
    detector = ConformalDetector(np.zeros(rows))
    for rate in (share, np.float32(share), float(np.float32(share))):
        assert rows_needed(rate) == rows
        detector.check_rate(rate)
        for given in both_ways(rate):
            assert not detector.accept(tf.ones(1), given)[0]
    less, *tensors = both_ways(share * (1.0 - 1e-6))  # More than rounding takes away.
    assert rows_needed(less) > rows
    for given in tensors:
        assert detector.accept(tf.ones(1), given)[0]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_the_false_alarm_rate_is_exact_on_average(rate):
    # 4000 calibration sets of 39 rows, each a class of its own, and one fresh
    # known row for each.
    sets, rows = np.arange(4000), draw((4000, 40))
    detector = ConformalDetector(
        rows[:, :39].ravel(), calibration_classes=np.repeat(sets, 39)
    )
    refused = ~detector.accept(rows[:, 39], rate, sets).numpy()
    # A share of 4000 independent draws; four standard errors.
    margin = 4.0 * np.sqrt(rate * (1.0 - rate) / 4000)
    assert np.mean(refused) == pytest.approx(rate, abs=margin)


def test_held_out_rates_stay_in_the_band_as_often_as_it_says():
    low, high = conformal_band(0.05, 199, 500, level=0.9)
    inside = 0
    for seed in range(400):
        scores = draw(699, seed)
        detector = ConformalDetector(scores[:199])
        rate = np.mean(scores[199:] > detector.threshold(0.05))
        inside += low <= rate <= high
    # The band of a count covers at least 90 %; four standard errors of 400
    # draws are 6 %, and one step of the count is 1 %.
    assert 0.84 < inside / 400 < 0.97


@pytest.mark.parametrize(
    "rate, num_calibration, num_test, level",
    [
        (0.05, 1000, 10_000, 0.95),
        (0.01, 99, 500, 0.9),
        (0.5, 19, 3, 0.5),
        (0.2, 50_000, 200_000, 0.99),
    ],
)
def test_the_band_is_scipys_beta_binomial(rate, num_calibration, num_test, level):
    k = int(rate * (num_calibration + 1) + 1e-6)
    law = stats.betabinom(num_test, k, num_calibration + 1 - k)
    expected = law.ppf([(1 - level) / 2, (1 + level) / 2]) / num_test
    band = conformal_band(rate, num_calibration, num_test, level)
    np.testing.assert_allclose(band, expected, rtol=1e-12)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.37, 0.9])
def test_threshold_p_value_and_decision_are_one_rule(rate):
    detector = ConformalDetector(draw(99).round(1))
    scores = np.concatenate([draw(500, 1).round(1), draw(500, 2)])
    accepted = detector.accept(scores, rate).numpy()
    np.testing.assert_array_equal(accepted, scores <= detector.threshold(rate))
    small = detector.p_value(scores).numpy() <= np.float32(rate) + 1e-6
    np.testing.assert_array_equal(accepted, ~small)


def test_a_rate_for_each_row():
    detector = ConformalDetector(np.arange(99.0))
    rates = tf.constant([0.1, 0.5, 0.004])
    accepted = detector.accept(tf.constant([70.0, 70.0, 1e9]), rates)
    # The last rate is below 1 / 100, which no p-value can be.
    np.testing.assert_array_equal(accepted, [True, False, True])


@pytest.mark.parametrize("by_class", [False, True])
def test_a_nan_score_has_a_nan_p_value_and_is_refused(by_class):
    classes = np.arange(99) % 2 if by_class else None
    detector = ConformalDetector(draw(99), calibration_classes=classes)
    scores, ids = tf.constant([np.nan, -np.inf, np.inf]), tf.constant([0, 1, 1])
    p_value = detector.p_value(scores, ids).numpy()
    np.testing.assert_array_equal(np.isnan(p_value), [True, False, False])
    assert p_value[1] == 1.0 and p_value[2] <= 0.02
    accepted = detector.accept(scores, 0.05, ids)
    np.testing.assert_array_equal(accepted, [False, True, False])


def class_rows(size, seed=0):
    """Scores of three classes of different size and level."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(3, size=size, p=[0.6, 0.3, 0.1])
    return (rng.normal(size=size) + 5.0 * classes).astype(np.float32), classes


def test_by_class_each_class_is_its_own_detector():
    scores, classes = class_rows(400)
    detector = ConformalDetector(scores, calibration_classes=classes)
    test_scores, test_classes = class_rows(200, seed=1)
    p_value = detector.p_value(test_scores, test_classes).numpy()
    accepted = detector.accept(test_scores, 0.1, test_classes).numpy()
    thresholds = detector.threshold(0.1)
    for c in range(3):
        alone, rows = ConformalDetector(scores[classes == c]), test_classes == c
        np.testing.assert_array_equal(alone.p_value(test_scores[rows]), p_value[rows])
        np.testing.assert_array_equal(
            alone.accept(test_scores[rows], 0.1), accepted[rows]
        )
        assert thresholds[c] == alone.threshold(0.1)


def test_by_class_the_false_alarm_rate_holds_in_the_rare_class():
    scores, classes = class_rows(20_000)
    test_scores, test_classes = class_rows(20_000, seed=1)
    rare = test_classes == 2
    pooled = ConformalDetector(scores)
    assert np.mean(~pooled.accept(test_scores, 0.1)[rare]) > 0.9
    detector = ConformalDetector(scores, calibration_classes=classes)
    refused = ~detector.accept(test_scores, 0.1, test_classes).numpy()[rare]
    # 2000 rows against 2000: the standard error is 0.0095; four of them.
    assert refused.mean() == pytest.approx(0.1, abs=0.038)


def test_a_class_without_calibration_rows_refuses_nothing():
    detector = ConformalDetector(
        np.arange(99.0), calibration_classes=np.zeros(99, int), num_classes=2
    )
    scores, classes = tf.constant([1e9, 1e9]), tf.constant([0, 1])
    accepted = detector.accept(scores, tf.constant(0.1), classes)
    np.testing.assert_array_equal(accepted, [False, True])
    with pytest.raises(ValueError, match="n = 0 .* of predicted class 1"):
        detector.check_rate(0.1)


@pytest.mark.parametrize("by_class", [False, True])
def test_a_graph_gives_the_eager_decisions(by_class):
    scores, classes = class_rows(400)
    detector = ConformalDetector(
        scores, calibration_classes=classes if by_class else None
    )
    signature = [
        tf.TensorSpec([None]),
        tf.TensorSpec([None]),
        tf.TensorSpec([None], tf.int64),
    ]
    accept = tf.function(detector.accept, input_signature=signature, autograph=False)
    new, ids = class_rows(50, seed=1)
    accepted = accept(new, tf.fill([50], 0.1), ids)
    np.testing.assert_array_equal(accepted, detector.accept(new, 0.1, ids))


@pytest.mark.parametrize("by_class", [False, True])
def test_a_saved_state_decides_alike(by_class, tmp_path):
    scores, classes = class_rows(400)
    options = {"calibration_classes": classes, "num_classes": 4} if by_class else {}
    detector = ConformalDetector(scores, **options)
    np.savez(tmp_path / "detector.npz", **detector.state())
    with np.load(tmp_path / "detector.npz") as state:
        again = ConformalDetector.from_state(state)
    new, ids = class_rows(50, seed=1)
    assert again.num_classes == detector.num_classes
    np.testing.assert_array_equal(again.p_value(new, ids), detector.p_value(new, ids))


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_outside_the_unit_interval_raises(rate):
    detector = ConformalDetector(draw(99))
    for call in (detector.check_rate, detector.threshold):
        with pytest.raises(ValueError, match="`target_fpr` must be between 0 and 1"):
            call(rate)


@pytest.mark.parametrize("rate, needed", [(0.001, 999), (0.009, 111)])
def test_too_few_calibration_rows_for_a_rate_says_how_many_are_needed(rate, needed):
    detector = ConformalDetector(draw(99))
    match = f"n = 99 calibration rows. .*needs {needed} rows"
    with pytest.raises(ValueError, match=match):
        detector.accept(tf.zeros(1), rate)
    ConformalDetector(draw(needed)).check_rate(rate)
    with pytest.raises(ValueError, match="needs"):
        ConformalDetector(draw(needed - 1)).check_rate(rate)


@pytest.mark.parametrize(
    "scores, options, match",
    [
        (np.zeros(0), {}, "at least one row"),
        (np.zeros((3, 1)), {}, r"shape \(3, 1\)"),
        (np.array([0, np.nan, np.inf]), {}, "in 2 of 3 rows, .* row 1"),
        (np.zeros(3), {"calibration_classes": np.zeros(2, int)}, "one per score"),
        (np.zeros(3), {"calibration_classes": np.zeros(3)}, "must be integers"),
        (np.zeros(2), {"calibration_classes": np.array([0, -1])}, "from -1 to 0"),
        (
            np.zeros(2),
            {"calibration_classes": np.array([0, 2]), "num_classes": 2},
            r"\[0, 2\)",
        ),
    ],
)
def test_calibration_rows_that_break_a_rule_raise(scores, options, match):
    with pytest.raises(ValueError, match=match):
        ConformalDetector(scores, **options)


def test_calls_that_break_a_rule_raise():
    detector = ConformalDetector(draw(99), calibration_classes=np.zeros(99, int))
    with pytest.raises(ValueError, match="`classes` must be given"):
        detector.p_value(tf.zeros(2))
    with pytest.raises(ValueError, match=r"`scores` must have shape `\(batch,\)`"):
        detector.p_value(tf.zeros((2, 1)), tf.zeros(2, tf.int32))
    with pytest.raises(ValueError, match="`target_fpr` must be a float or a tensor"):
        detector.accept(tf.zeros(2), tf.fill((2, 1), 0.1), tf.zeros(2, tf.int32))
    with pytest.raises(ValueError, match="num_calibration=9"):
        conformal_band(0.05, 9, 100)
