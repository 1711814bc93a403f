"""Checks of arguments that many constructors share."""

import math


def check_positive(name: str, value, *, zero_allowed: bool = False):
    """Returns `value`, or raises if it is not a finite number above zero."""
    rule = "at least 0" if zero_allowed else "above 0"
    good = isinstance(value, int | float) and math.isfinite(value)
    if not good or value < 0 or (value == 0 and not zero_allowed):
        raise ValueError(
            f"`{name}` must be a finite number {rule}. Received: {name}={value!r}."
        )
    return value


def check_share(name: str, value, *, zero_allowed: bool = False):
    """Returns `value`, or raises if it is not above 0 (or 0) and below 1."""
    if check_positive(name, value, zero_allowed=zero_allowed) >= 1:
        raise ValueError(f"`{name}` must be below 1. Received: {name}={value!r}.")
    return value


def check_choice(name: str, value, choices):
    """Returns `value`, or raises if it is none of `choices`."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {name}={value!r}."
        )
    return value


def check_size(name: str, value):
    """Returns `value`, or raises if it is not an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be an integer of at least 1. Received: {name}={value!r}."
        )
    return value
