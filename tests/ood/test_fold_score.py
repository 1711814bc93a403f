"""Cross-conformal prediction: ranks by known answers, and the promise by simulation."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.layers import TableEncoder
from keras_ebm.ood import ConformalDetector, CrossConformalDetector, FoldScore
from keras_ebm.ood.combined import load_score
from keras_ebm.ood.fold_score import deal, encoders_beside, fold_size, rank_among


def test_a_rank_lies_between_the_rows_that_a_margin_passes():
    # Of four rows the new one passes none, two, three by little and much, and all.
    margins = [
        [-3.0, -1.0, -2.0, -4.0],
        [1.0, -1.0, -2.0, 3.0],
        [1.0, -1e-6, 2.0, 3.0],
        [1.0, -9.0, 2.0, 3.0],
        [0.5, 1.0, 2.0, 3.0],
        [0.5, 1.0, np.nan, 3.0],
        [np.inf, np.inf, np.inf, np.inf],
    ]
    found = rank_among(tf.constant(margins, tf.float32)).numpy()
    expected = [0.5, 2.5, 4.0, 3.1, 4.5, np.nan, np.inf]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ranks_give_the_p_values_that_rows_at_least_as_foreign_count():
    margins = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    margins += np.linspace(-4, 4, 200, dtype=np.float32)[:, None]
    margins[:30, 0] = 0.0  # A row as foreign as the new one is at least as foreign.
    conformal = CrossConformalDetector(30, 3)
    p_values = conformal.p_value(rank_among(tf.constant(margins)))
    expected = (1 + (margins <= 0).sum(axis=1)) / 31
    np.testing.assert_allclose(p_values, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "num_rows, rate, size, folds", [(15, 0.1, 1, 15), (100, 0.05, 5, 20)]
)
def test_folds_are_of_one_size(num_rows, rate, size, folds):
    assert fold_size(num_rows, rate) == size
    counts = np.unique(deal(num_rows, size), return_counts=True)[1]
    assert counts.tolist() == [size] * folds


def test_low_rates_have_smaller_folds_for_their_promise():
    assert [fold_size(150, rate) for rate in (0.1, 0.02, 0.01)] == [7, 3, 2]
    # The last of 149 rows makes no fold of two.
    assert deal(149, 2)[-3:].tolist() == [73, 73, -1]
    with pytest.raises(ValueError, match="4 to 500 rows.*Received: 501.*'split'"):
        deal(501, 5)


def test_the_promise_is_stated_for_the_rank_that_a_rate_is():
    assert ConformalDetector(np.arange(59.0)).most_refused(0.07) == pytest.approx(
        4 / 60
    )
    # r = 3 of 60 rows in folds of 3: (2 (3 - 1) + 3) / 63.
    assert CrossConformalDetector(60, 3).most_refused(0.05) == pytest.approx(7 / 63)
    # A row each: twice the rate less one row of all.
    assert CrossConformalDetector(20, 1).most_refused(1 / 7) == pytest.approx(5 / 21)
    with pytest.raises(ValueError, match="must divide `num_rows`.*=7, fold_size=2"):
        CrossConformalDetector(7, 2)


def simulated(models, num_rows, size, rate, draws=20_000):
    """The share of new rows that are refused, one for each of `draws` tables."""
    rng = np.random.default_rng(0)
    rows, new = rng.normal(size=(draws, num_rows)), rng.normal(size=(draws, 1))
    margins = []
    for start in range(0, num_rows, size):
        part = slice(start, start + size)
        outside = np.delete(rows, part, axis=1)
        margins.append(models(outside, new) - models(outside, rows[:, part]))
    margins = tf.constant(np.concatenate(margins, axis=1), tf.float32)
    conformal = CrossConformalDetector(num_rows, size)
    refused = ~conformal.accept(rank_among(margins), rate).numpy()
    return refused.mean(), conformal.most_refused(rate)


def nearest(outside, x):
    return np.abs(x[..., None] - outside[:, None]).min(axis=-1)


def far_from_mean(outside, x):
    return np.abs(x - outside.mean(axis=1, keepdims=True))


def far_from_one(outside, x):
    """Rests on a row alone, the largest of all, and changes with it."""
    return -np.abs(x - outside.max(axis=1, keepdims=True))


@pytest.mark.parametrize("models", [nearest, far_from_mean, far_from_one])
@pytest.mark.parametrize("num_rows, size", [(12, 1), (24, 3)])
def test_normal_rows_are_refused_no_more_often_than_promised(models, num_rows, size):
    refused, bound = simulated(models, num_rows, size, 0.2)
    error = np.sqrt(0.25 / 20_000)
    assert refused <= bound + 3 * error
    if models is far_from_mean:
        # A stable model keeps the rate itself: floor(.2 (n + 1)) of n + 1.
        assert abs(refused - 0.2 * (num_rows + 1) // 1 / (num_rows + 1)) < 0.02


def table(count, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3)) * [1.0, 10.0, 1.0]
    x[:, 2] = np.exp(2.0 * x[:, 2])
    x[::7, 0] = np.nan
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    encoder = TableEncoder(transform="blend").get_config()
    return FoldScore(encoder=encoder, fold_size=3).fit({"raw": table(61)})


def test_encoders_beside_each_other_encode_as_each_alone():
    parts, rows = [table(40, seed) for seed in range(3)], table(5, seed=9)
    parts[1] = np.nan_to_num(parts[1])  # No indicator of a missing cell.
    encoders = [TableEncoder(transform="blend") for _ in parts]
    for encoder, part in zip(encoders, parts, strict=True):
        encoder.adapt(part)
    beside = encoders_beside([encoder.get_config() for encoder in encoders])
    entries = beside(np.tile(rows, [1, 3])).numpy()
    for place, encoder in enumerate(encoders):
        own = entries[:, beside.entry_columns // 3 == place]
        np.testing.assert_allclose(own, encoder(rows), rtol=1e-6)


def test_each_row_is_scored_by_models_that_did_not_see_it(fitted):
    assert fitted.arrays["folds"].tolist() == np.repeat(np.arange(20), 3).tolist()
    moved = table(61)
    moved[3:6] += 50.0  # Of fold 1: its own model stays, and finds them far.
    again = FoldScore(encoder=fitted.encoder, fold_size=3).fit({"raw": moved})
    np.testing.assert_array_equal(again.arrays["rows"][1], fitted.arrays["rows"][1])
    assert (again.arrays["known"][3:6] > fitted.arrays["known"][3:6] + 1).all()


def test_the_folds_scores_are_standard_deviations_of_nearest_and_mixture(fitted):
    rows = fitted.arrays["rows"][4]
    x = table(8, seed=5)
    entries = fitted._entries(tf.constant(x)).numpy()
    distance = np.linalg.norm(entries[:, 4, None] - rows, axis=-1).min(axis=1)
    means, stds = fitted.arrays["part_means"][:, 4], fitted.arrays["part_stds"][:, 4]
    mixture = fitted._in_mixture(entries).numpy()[:, 4]
    expected = (distance - means[0]) / stds[0] + (mixture - means[1]) / stds[1]
    found = fitted._by_fold(entries).numpy()[:, 4]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_fitted_score_comes_back_from_its_state(fitted):
    x = table(20, seed=3)
    expected = fitted({"raw": tf.constant(x)}).numpy()
    # Missing cells have a score; an infinite one has none that passes.
    assert np.isfinite(expected).all()
    again = load_score(fitted.state())
    np.testing.assert_array_equal(again({"raw": tf.constant(x)}), expected)
    x[0, 1] = np.inf
    assert not np.isfinite(again({"raw": tf.constant(x)}).numpy()[0])


def test_equal_rows_leave_the_part_that_does_not_vary_out():
    x = np.repeat(np.random.default_rng(0).normal(size=(6, 2)), 5, axis=0)
    x = x[np.random.default_rng(1).permutation(30)].astype(np.float32)
    score = FoldScore().fit({"raw": x})
    # All nearest distances are 0, in every fold: four equal rows are outside of it.
    assert np.isinf(score.arrays["part_stds"][0]).all()
    assert np.isfinite(score({"raw": tf.constant(x + 1.0)}).numpy()).all()
