import numpy as np
import pytest

from keras_ebm.serving import share_interval


def test_an_interval_ends_where_the_averaged_likelihood_is_twenty_times_as_large():
    # Of no success in 9 the average of (1 - q)^9 is 1/10: (1 - q)^9 = 1/200.
    low, high = share_interval(0, 9, 0.95)
    assert low == 0.0 and high == pytest.approx(1.0 - 200.0 ** (-1 / 9))
    mirrored = share_interval(9, 9, 0.95)
    assert mirrored == pytest.approx((1.0 - high, 1.0))


def test_an_interval_holds_at_all_times_at_once():
    random = np.random.default_rng(0)
    missed = 0
    for row in random.random((50, 60)) < 0.3:
        bounds = [share_interval(int(n), t, 0.8) for t, n in enumerate(row.cumsum(), 1)]
        missed += any(not low <= 0.3 <= high for low, high in bounds)
    # At most 10 of 50 in expectation, and at most 17 in 99 % of tries.
    assert missed <= 17


@pytest.mark.parametrize("count, total", [(1, 0), (-1, 5), (6, 5)])
def test_a_count_outside_of_its_rows_is_refused(count, total):
    with pytest.raises(ValueError, match=f"count={count}, total={total}"):
        share_interval(count, total, 0.95)
