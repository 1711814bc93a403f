import pytest

from keras_ebm.arguments import check_choice, check_positive, check_size


def test_good_values_come_back():
    assert check_positive("a", 0.5) == 0.5
    assert check_positive("a", 0, zero_allowed=True) == 0
    assert check_size("a", 3) == 3
    assert check_choice("a", "x", ["x", "y"]) == "x"


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "2"])
def test_what_is_not_a_positive_number_is_named(value):
    with pytest.raises(ValueError, match=r"`width` must be .* above 0.*width="):
        check_positive("width", value)


@pytest.mark.parametrize("value", [-1e-9, float("nan"), None])
def test_zero_allowed_allows_nothing_below_it(value):
    with pytest.raises(ValueError, match="at least 0"):
        check_positive("width", value, zero_allowed=True)


@pytest.mark.parametrize("value", [0, -2, 1.5, True, "3", None])
def test_what_is_not_a_count_is_named(value):
    with pytest.raises(ValueError, match="`steps` must be an integer of at least 1"):
        check_size("steps", value)


def test_an_unknown_choice_is_told_the_known_ones():
    with pytest.raises(ValueError, match="one of 'x', 'y'. Received: kind='z'"):
        check_choice("kind", "z", ["x", "y"])
