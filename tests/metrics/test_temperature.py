"""The temperature against the one that made the labels, closed forms and scipy."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from keras_ebm.metrics import fit_temperature


def drawn(rows, temperature, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 4)) * 3
    p = softmax(logits / temperature, axis=1)
    labels = np.array([rng.choice(4, p=row) for row in p])
    return logits, labels, p


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_it_finds_the_temperature_that_labels_were_drawn_at(temperature):
    logits, labels, p = drawn(20_000, temperature)
    # Fisher's information about 1 / T is the variance of the logits under p.
    means = np.sum(p * logits, axis=1)
    information = np.sum(np.sum(p * logits**2, axis=1) - means**2)
    error = temperature**2 / np.sqrt(information)
    assert abs(fit_temperature(logits, labels) - temperature) < 5 * error


def test_it_minimises_the_likelihood_of_the_rows_and_a_tenth_drawn_evenly():
    logits, labels, _ = drawn(30, 2.0)

    def loss(inverse):
        log_p = log_softmax(inverse * logits, axis=1)
        return -log_p[np.arange(30), labels].sum() - 0.1 * log_p.mean()

    best = minimize_scalar(loss, bounds=(0.01, 10), options={"xatol": 1e-10})
    assert fit_temperature(logits, labels) == pytest.approx(1 / best.x, rel=1e-5)


@pytest.mark.parametrize("rows", [1, 20, 1000])
def test_logits_that_are_always_right_do_not_ask_for_certainty(rows):
    logits = np.tile([3.0, 0.0], (rows, 1))
    # p = (rows + 1/20) / (rows + 1/10), by hand.
    expected = 3.0 / np.log(20 * rows + 1)
    labels = np.zeros(rows, int)
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-9)


def test_logits_that_tell_nothing_end_at_the_largest_temperature():
    logits = np.tile([3.0, 0.0], (10, 1))
    assert fit_temperature(logits, np.ones(10, int)) == pytest.approx(100, rel=1e-9)


def test_a_constant_and_unlabelled_rows_change_nothing():
    logits, labels, _ = drawn(200, 2.0)
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
