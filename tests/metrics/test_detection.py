"""Detection functions against scikit-learn and against counting by hand."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from keras_ebm.metrics import (
    aupr,
    auroc,
    bootstrap_interval,
    detection_report,
    fpr_at_recall,
)

FUNCTIONS = [auroc, aupr, fpr_at_recall]


def draw(seed, num_known=300, num_foreign=200, shift=1.0, decimals=8):
    """Scores of two Gaussians; few decimals make ties."""
    rng = np.random.default_rng(seed)
    known = rng.normal(size=num_known).round(decimals)
    return known, rng.normal(shift, size=num_foreign).round(decimals)


@pytest.mark.parametrize("decimals", [8, 1, 0], ids=["no_ties", "ties", "many"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auroc_and_aupr_agree_with_scikit_learn(seed, decimals):
    known, foreign = draw(seed, decimals=decimals)
    labels = np.repeat([0, 1], [len(known), len(foreign)])
    scores = np.concatenate([known, foreign])
    assert auroc(known, foreign) == pytest.approx(roc_auc_score(labels, scores))
    expected = average_precision_score(labels, scores)
    assert aupr(known, foreign) == pytest.approx(expected)


def test_auroc_of_two_gaussians_is_the_normal_integral():
    known, foreign = draw(0, 20_000, 20_000, shift=1.0)
    # Standard error sqrt(1 / 12 * 2 / 20000) = 0.003 at most; four of them.
    expected = stats.norm.cdf(1.0 / np.sqrt(2.0))
    assert auroc(known, foreign) == pytest.approx(expected, abs=0.012)


def test_fpr95_of_two_gaussians_is_the_normal_integral():
    known, foreign = draw(0, 20_000, 20_000, shift=3.0)
    # The threshold is 1.645 +- 0.015, where the foreign density is 0.16.
    expected = stats.norm.cdf(stats.norm.ppf(0.95) - 3.0)
    assert fpr_at_recall(known, foreign) == pytest.approx(expected, abs=0.012)


def test_fpr_counts_a_foreign_score_at_the_threshold_as_accepted():
    known = np.arange(1.0, 21.0)  # 19 of the 20 make 95 %
    assert fpr_at_recall(known, np.array([19.0, 19.5])) == 0.5


def test_fpr_accepts_at_least_the_recall_when_known_scores_tie():
    known = np.array([0.0, 1.0, 1.0, 1.0])
    assert fpr_at_recall(known, np.array([0.5, 2.0]), recall=0.5) == 0.5
    assert fpr_at_recall(known, np.array([0.5, 2.0]), recall=0.25) == 0.0


@pytest.mark.parametrize("recall", [0.07, 0.29, 0.55, 0.57, 0.95])
def test_a_whole_number_of_known_rows_is_not_rounded_up(recall):
    known = np.arange(1.0, 101.0)
    at_rank = np.array([100 * recall])
    assert fpr_at_recall(known, at_rank - 0.5, recall) == 1.0
    assert fpr_at_recall(known, at_rank + 0.5, recall) == 0.0


def test_a_perfect_score_is_perfect_and_its_reverse_is_not():
    low, high = np.array([-2.0, -1.0]), np.array([1.0, 2.0])
    assert [f(low, high) for f in FUNCTIONS] == [1.0, 1.0, 0.0]
    assert auroc(high, low) == 0.0
    assert fpr_at_recall(high, low) == 1.0


def test_infinity_is_ranked_as_it_compares():
    assert auroc(np.array([-np.inf, 0.0]), np.array([1.0, np.inf])) == 1.0


@pytest.mark.parametrize("function", [*FUNCTIONS, detection_report])
@pytest.mark.parametrize("kind", ["known", "foreign"])
def test_nan_raises_and_the_message_says_where(function, kind):
    scores = {"known": np.zeros(3), "foreign": np.ones(3)}
    scores[kind][1] = np.nan
    with pytest.raises(ValueError, match=rf"`{kind}` must not .* first in row 1"):
        function(**scores)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((3, 1))])
def test_empty_or_two_dimensional_scores_raise(function, bad):
    with pytest.raises(ValueError, match="`foreign` must hold one score per row"):
        function(np.zeros(3), bad)


def test_arguments_out_of_range_raise():
    known, foreign = draw(0, 5, 5)
    with pytest.raises(ValueError, match="`recall`.*recall=1.5"):
        fpr_at_recall(known, foreign, recall=1.5)
    with pytest.raises(ValueError, match="`level`.*level=95"):
        bootstrap_interval(auroc, known, foreign, level=95)
    with pytest.raises(ValueError, match="`num_resamples`.*num_resamples=1"):
        detection_report(known, foreign, num_resamples=1)


def test_ranking_once_gives_the_intervals_of_resampled_rows():
    known, foreign = draw(3, decimals=1)
    report = detection_report(known, foreign, num_resamples=50, seed=7)
    for name, function in zip(["auroc", "aupr", "fpr95"], FUNCTIONS, strict=True):
        interval = bootstrap_interval(
            function, known, foreign, num_resamples=50, seed=7
        )
        expected = (function(known, foreign), *interval)
        assert tuple(report[name].values()) == pytest.approx(expected, abs=1e-12)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one():
    known, foreign = draw(0, 2000, 2000, shift=1.0)
    low, high = bootstrap_interval(
        lambda a, b: b.mean() - a.mean(), known, foreign, num_resamples=1000
    )
    # Half-width 1.96 * sqrt(2 / 2000) = 0.062; 1000 resamples place an end
    # to 0.0025, and the sample's own spread adds 2 %.
    difference = foreign.mean() - known.mean()
    assert high - difference == pytest.approx(0.062, abs=0.01)
    assert difference - low == pytest.approx(0.062, abs=0.01)
