import pytest

from benchmarks import full_size

SMALL = {"batch": 2, "depth": 10, "width": 1}


@pytest.mark.parametrize("case", full_size.CASES)
def test_a_case_is_timed_and_counted(case):
    # What belongs to the generator is no setting of chains, and left out there.
    found = full_size.measure(case, 1, 2, False, generator_filters=8, **SMALL)
    assert found["batch"] == 2 and found["parameters"] == 77_706
    assert found["milliseconds"] > 0 and found["flops_step"] > 0
    rate = 1e3 * found["flops_step"] / found["milliseconds"]
    assert found["flops_second"] == pytest.approx(rate)
    # 40,000 images by 2 and 200 epochs.
    assert found["steps_of_the_run"] == 4_000_000
    hours = 4e6 * found["milliseconds"] / 3.6e6
    assert found["hours_of_the_run"] == pytest.approx(hours)


def test_a_loss_that_is_not_finite_ends_it():
    with pytest.raises(ValueError, match="loss of plain is not finite"):
        full_size.measure("plain", 1, 2, False, **SMALL, learning_rate=1e30)
