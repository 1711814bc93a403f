"""Checks of arguments, and of packages, that many constructors share."""

import importlib
import math
import numbers
import re
from collections.abc import Collection, Iterable
from typing import Any

import keras


def check_positive(name: str, value: Any, *, zero_allowed: bool = False):
    """Returns `value`, or raises if it is not a finite number above zero."""
    rule = "at least 0" if zero_allowed else "above 0"
    good = isinstance(value, int | float) and math.isfinite(value)
    if not good or value < 0 or (value == 0 and not zero_allowed):
        raise ValueError(
            f"`{name}` must be a finite number {rule}. Received: {name}={value!r}."
        )
    return value


def check_share(name: str, value: Any, *, zero_allowed: bool = False):
    """Returns `value`, or raises if it is not above 0 (or 0) and below 1."""
    if check_positive(name, value, zero_allowed=zero_allowed) >= 1:
        raise ValueError(f"`{name}` must be below 1. Received: {name}={value!r}.")
    return value


def check_choice(name: str, value: Any, choices: Collection):
    """Returns `value`, or raises if it is none of `choices`."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {name}={value!r}."
        )
    return value


def check_integer(name: str, value: Any):
    """Returns `value`, or raises if it is not an integer of 64 bits."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not good or not -(2**63) <= value < 2**63:
        raise ValueError(
            f"`{name}` must be an integer of 64 bits. Received: {name}={value!r}."
        )
    return int(value)


def check_names(name: str, values: Iterable | None) -> list[str] | None:
    """Strings from a sequence, all different, or None where it is empty or None.

    Raises:
        ValueError: if `values` is one string, or holds a name twice.
    """
    if isinstance(values, str | bytes):
        raise ValueError(
            f"`{name}` must be a sequence of names. Received: {name}={values!r}; "
            f"write [{values!r}]."
        )
    names = [] if values is None else [str(value) for value in values]
    twice = sorted({value for value in names if names.count(value) > 1})
    if twice:
        raise ValueError(
            f"`{name}` must differ. Received more than once: "
            f"{listed(map(repr, twice))}. Rename all but one of each."
        )
    return names or None


def listed(values: Iterable, limit: int = 20) -> str:
    """Values with commas between them, the first `limit` and how many more.

    Of a value of more than 200 characters the first are there, and three dots.
    """
    texts = [str(value) for value in values]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    cut = [text if len(text) <= 200 else f"{text[:200]}..." for text in texts[:limit]]
    return ", ".join(cut) + more


def check_size(name: str, value: Any):
    """Returns `value`, or raises if it is not an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be an integer of at least 1. Received: {name}={value!r}."
        )
    return value


def why_not_imported(package: str, cause: ImportError, needs: str = "") -> str:
    """Why a part of an optional package cannot be had, to follow "which".

    Args:
        package: str, the module that is imported, such as `"sklearn"`.
        cause: the error of that import.
        needs: str, the lowest version that serves; empty if any does.

    Returns:
        str: not installed, too old (found what, needs what), or broken and how.
    """
    try:
        found = getattr(importlib.import_module(package), "__version__", "")
    except ModuleNotFoundError as error:
        if error.name == package:
            return "is not installed"
        return f"cannot be imported ({error})"
    except ImportError as error:
        return f"cannot be imported ({error})"
    if needs and found and _release(found) < _release(needs):
        return f"is too old: found {found}, needs >= {needs}"
    return f"cannot be imported ({cause})"


def _release(version: str) -> tuple[int, ...]:
    """`(1, 6, 0)` of `"1.6"` or `"1.6.0rc1"`."""
    parts = [int(number) for number in re.findall(r"\d+", version)[:3]]
    return (*parts, 0, 0, 0)[:3]


def check_floatx() -> None:
    """Raises `ValueError` unless Keras makes weights in float32.

    Energies, noise and the inputs of networks are float32 throughout; of weights in
    another type some parts fail and others round.
    """
    if keras.config.floatx() != "float32":
        raise ValueError(
            "`keras.config.floatx()` must be 'float32', the one type of weights that "
            f"is served. Received: {keras.config.floatx()!r}; call "
            "keras.config.set_floatx('float32') before networks are built. For half "
            "precision give the network's layers the policy 'mixed_bfloat16'."
        )
