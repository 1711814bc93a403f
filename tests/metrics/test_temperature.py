"""The temperature against the one that made the labels, closed forms and scipy."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from keras_ebm.metrics import fit_temperature


def drawn(rows, temperature, lapse_rate=0.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 4)) * 3
    p = softmax(logits / temperature, axis=1)
    q = (1 - lapse_rate) * p + lapse_rate / 4
    labels = np.array([rng.choice(4, p=row) for row in q])
    return logits, labels, p, q


@pytest.mark.parametrize(
    "temperature, lapse_rate", [(0.5, 0.1), (1.0, 0.02), (4.0, 0.4), (0.5, 0.0)]
)
def test_it_finds_what_labels_were_drawn_at(temperature, lapse_rate):
    logits, labels, p, q = drawn(20_000, temperature, lapse_rate)
    means = np.sum(p * logits, axis=1, keepdims=True)
    slopes = np.stack(
        [(1 - lapse_rate) * p * (means - logits) / temperature**2, 0.25 - p]
    )
    # Standard errors by Fisher's information about both.
    information = np.einsum("ank,bnk,nk->ab", slopes, slopes, 1 / q)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    found = fit_temperature(logits, labels)
    assert abs(found[0] - temperature) < 5 * errors[0] + 1e-3 * temperature
    assert abs(found[1] - lapse_rate) < 5 * errors[1]


def loss(logits, labels, temperature, rate):
    log_p = log_softmax(logits / temperature, axis=1)
    of_label = np.exp(log_p[np.arange(len(labels)), labels])
    q = (1 - rate) * of_label + rate / logits.shape[1]
    return -np.log(q).sum() - 0.1 * log_p.mean()


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_it_minimises_the_likelihood_of_the_rows_and_a_tenth_drawn_evenly(rate):
    logits, labels, _, _ = drawn(60, 2.0, rate)
    found = fit_temperature(logits, labels)
    grid = [
        loss(logits, labels, t, r)
        for t in np.geomspace(0.1, 50, 100)
        for r in np.linspace(0, 0.9, 91)
    ]
    # Flat at its least: a thousandth of the temperature changes it by a millionth.
    assert loss(logits, labels, *found) <= min(grid) + 1e-4


def test_a_few_rows_that_are_surely_wrong_do_not_unsettle_the_others():
    # Of each margin as many are right as at temperature 1, but for a lapse in ten.
    logits, labels = [], []
    for margin in (0.5, 1.0, 2.0, 100.0):
        wrong = round(1000 * (1 - (0.9 / (1 + np.exp(-margin)) + 0.05)))
        logits += [[margin, 0.0]] * 1000
        labels += [0] * (1000 - wrong) + [1] * wrong
    temperature, rate = fit_temperature(np.array(logits), np.array(labels))
    # Counts are rounded by half a row, and a tenth of a row is drawn evenly.
    assert temperature == pytest.approx(1.0, abs=0.02)
    assert rate == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize("rows", [1, 20, 1000])
def test_logits_that_are_always_right_do_not_ask_for_certainty(rows):
    logits = np.tile([3.0, 0.0], (rows, 1))
    # p = (rows + 1/20) / (rows + 1/10), by hand.
    expected = 3.0 / np.log(20 * rows + 1)
    labels = np.zeros(rows, int)
    assert fit_temperature(logits, labels) == (pytest.approx(expected, rel=1e-3), 0.0)


def test_logits_that_tell_nothing_end_at_the_largest_temperature():
    logits = np.tile([3.0, 0.0], (10, 1))
    temperature, rate = fit_temperature(logits, np.ones(10, int))
    assert temperature == pytest.approx(100) and rate == pytest.approx(0.99)


def test_a_constant_and_unlabelled_rows_change_nothing():
    logits, labels, _, _ = drawn(200, 2.0)
    more = np.concatenate([logits + 1e4, np.full((5, 4), 7.0)])
    marked = np.concatenate([labels, np.full(5, -1)])
    found = fit_temperature(more.astype(np.float64), marked)
    assert found == pytest.approx(fit_temperature(logits, labels), rel=1e-6)


@pytest.mark.parametrize(
    "logits, labels, match",
    [
        ([[1.0, 2.0]], [-1], "at least one row"),
        ([[1.0, np.nan]], [0], "`logits` must be finite"),
        ([[1.0, 2.0]], [2], r"lie in \[0, 2\)"),
        ([1.0, 2.0], [0, 1], "must have shape"),
    ],
)
def test_bad_rows_raise(logits, labels, match):
    with pytest.raises(ValueError, match=match):
        fit_temperature(np.array(logits), np.array(labels))
