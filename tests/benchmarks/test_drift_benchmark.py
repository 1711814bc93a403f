import numpy as np
import pytest

from benchmarks.drift import (
    AFTER,
    FACTORS,
    KINDS,
    NORMAL,
    RATE,
    changed,
    delay_table,
    log_ratio,
    told,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", FACTORS)
def test_a_change_refuses_so_many_times_more(kind, factor):
    scores = changed(kind, factor)(np.random.default_rng(0), (1, 20_000))
    refused = np.mean(scores > NORMAL.inv_cdf(1.0 - RATE))
    assert refused == pytest.approx(factor * RATE, rel=0.1)


@pytest.mark.parametrize("kind", ["moved", "near", "flat"])
def test_the_best_bets_are_fair_before_the_change(kind):
    # The quadrature of a Gaussian of scores; those far off have too heavy a tail.
    scores = np.linspace(-8.0, 12.0, 200_001)
    density = np.exp(-0.5 * scores**2) / np.sqrt(2.0 * np.pi)
    paid = np.exp(log_ratio(kind, 2.0, scores)) * density
    assert paid.sum() * 1e-4 == pytest.approx(1.0, abs=1e-3)


def test_delays_are_of_streams_without_an_alarm_before_the_change():
    found = told(np.array([50, 101, 400, 0]), quiet=100)
    assert found["streams"] == 3 and found["false_alarms"] == 1
    assert found["found_within"] == pytest.approx(2 / 3)
    assert found["median"] == 300 and found["most_of_95"] == AFTER + 1
    table = delay_table({"far x2 200 after 0": {"monitor": found}})
    assert "66.7 (300)" in table
