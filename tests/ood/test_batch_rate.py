import numpy as np
import pytest
from scipy.stats import false_discovery_control

from benchmarks.batch_rate import BATCH, measure
from keras_ebm.ood import benjamini_hochberg


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_the_refused_are_those_whose_adjusted_p_values_are_at_most_the_rate(rate):
    for seed in range(20):
        p = np.random.default_rng(seed).random(60) ** 3
        expected = false_discovery_control(p, method="bh") <= rate
        assert benjamini_hochberg(p, rate).tolist() == expected.tolist()


def test_a_bound_that_float32_alone_misses_is_kept():
    # Above .05 in float32.
    assert benjamini_hochberg(np.array([0.05, 1.0], np.float32), 0.1)[0]


def test_the_false_share_of_mixed_batches_keeps_the_rate():
    found = measure(rows=1_000, foreign=20, batches=300)["benjamini_hochberg"]
    bound = 0.1 * (1.0 - 20 / BATCH)
    assert found["false_share"] <= bound + 3 * found["standard_error"]
    assert found["foreign_refused"] > 0.6


def test_nothing_is_refused_of_rows_that_are_all_likely_and_of_none():
    assert not benjamini_hochberg(np.array([0.2, 0.9]), 0.1).any()
    assert benjamini_hochberg(np.array([]), 0.1).shape == (0,)


@pytest.mark.parametrize("p_values", [[np.nan, 0.1], [1.1], [-0.1], [[0.1]]])
def test_what_is_no_p_value_is_refused(p_values):
    with pytest.raises(ValueError, match="`p_values` must be from 0 to 1"):
        benjamini_hochberg(np.array(p_values), 0.1)


@pytest.mark.parametrize("rate", [0.0, 1.0, np.nan])
def test_a_rate_outside_of_the_unit_interval_is_refused(rate):
    with pytest.raises(ValueError, match="`rate` must be between 0 and 1"):
        benjamini_hochberg(np.array([0.1]), rate)
