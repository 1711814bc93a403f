"""Names of a table's columns, what may be said of them, and their ranges."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.layers import TableEncoder

Bounds = dict[str, tuple[float, float]]


def movable_names(encoder: TableEncoder) -> list[str]:
    """Names of the numeric columns that there are entries of, in their order."""
    names = encoder.column_names
    return [names[column] for column in _numeric(encoder)]


def ranges(encoder: TableEncoder, rows: np.ndarray) -> Bounds:
    """The range of each numeric column's cells; without those of none."""
    names, found = encoder.column_names, {}
    for column in _numeric(encoder):
        cells = rows[np.isfinite(rows[:, column]), column]
        if len(cells):
            found[names[column]] = (float(cells.min()), float(cells.max()))
    return found


def check_bounds(encoder: TableEncoder, bounds: Mapping) -> Bounds:
    """Returns bounds in float, or raises ValueError if one breaks its rule."""
    if not isinstance(bounds, Mapping):
        raise ValueError(
            "`bounds` must be a dict from names of columns to (low, high). Received: "
            f"bounds={bounds!r}."
        )
    known, checked = movable_names(encoder), {}
    for name, pair in bounds.items():
        if name not in known:
            raise ValueError(
                "`bounds` must be of numeric columns that the model has a feature "
                f"of: {listed(known)}. Received: bounds of {name!r}."
            )
        try:
            low, high = (float(end) for end in pair)
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(
                "`bounds` must be two finite numbers for each column, the lower "
                f"first. Received: {pair!r} for {name!r}."
            )
        checked[name] = (low, high)
    return checked


def check_fixed(encoder: TableEncoder, fixed: Iterable, bounds: Mapping) -> set[str]:
    """Returns the names as a set, or raises ValueError if one breaks its rule."""
    if not isinstance(fixed, Iterable):
        raise ValueError(
            "`fixed` must be a sequence of names of columns. Received: "
            f"fixed={fixed!r}; write [{str(fixed)!r}]."
        )
    fixed = [fixed] if isinstance(fixed, str) else list(fixed)
    names = encoder.column_names
    for name in fixed:
        if name not in names:
            raise ValueError(
                f"`fixed` must name columns: {listed(names)}. Received: {name!r}."
            )
        if name in bounds:
            raise ValueError(
                "`fixed` must not name a column that `bounds` gives room to. "
                f"Received: {name!r} in both."
            )
    return set(fixed)


def check_rows(encoder: TableEncoder, name: str, rows: np.ndarray) -> np.ndarray:
    """Returns rows of the encoder's type, or raises ValueError if of another shape."""
    try:
        rows = np.asarray(rows, encoder.input_dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be raw rows as the encoder takes them, numbers with words "
            f"as their codes. Received: what is no array of numbers ({error}); read "
            "them by keras_ebm.data.read with the model's schema."
        ) from error
    count = len(encoder.mean)
    if rows.ndim != 2 or rows.shape[1] != count:
        raise ValueError(
            f"`{name}` must be raw rows of shape (n, {count}). Received: shape "
            f"{rows.shape}."
        )
    return rows


def _numeric(encoder: TableEncoder) -> np.ndarray:
    return encoder.entry_columns[: encoder.num_numeric]
