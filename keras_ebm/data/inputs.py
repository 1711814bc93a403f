"""Rows of any inputs: their shapes and types, and how they are compared and hashed."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_ebm.precision import float32_merges
from keras_ebm.rows import as_array, is_text


def parts_of(x: Any) -> dict[str, np.ndarray]:
    """Arrays of rows by name, in the order of the names; of one array by `""`."""
    return {name: x[name] for name in sorted(x)} if isinstance(x, dict) else {"": x}


def shapes_of(x: Any) -> Any:
    """Shape of a row, or of a row of each input by name."""
    if isinstance(x, dict):
        return {name: tuple(part.shape[1:]) for name, part in x.items()}
    return tuple(x.shape[1:])


def types_of(x: Any) -> Any:
    """Name of an array's type, or of each input's by name."""
    if isinstance(x, dict):
        return {name: str(part.dtype) for name, part in x.items()}
    return str(x.dtype)


def in_types(x: Any, types: Any) -> Any:
    """Rows in other types of numbers, where these hold all of their numbers.

    Args:
        x: array, or dict of arrays.
        types: as `types_of` gives them, of rows with the same names.
    """
    if isinstance(x, dict):
        return {name: in_types(part, types[name]) for name, part in x.items()}
    if str(x.dtype) == types or x.dtype == object or types == "object":
        return x
    cast = x.astype(types)
    widened = cast.dtype.kind == "f"
    return cast if widened or np.array_equal(cast, x) else x


def as_inputs(rows: Any, name: str) -> Any:
    """Rows of one input or of several by name, in types that do not depend on chance.

    Whole numbers are int64 but for uint8, fractions float32 or, where that would merge
    the numbers of a column, float64; strings are objects.

    Args:
        rows: array `(n, ...)`, or dict of arrays.
        name: where they came from, for errors.

    Raises:
        ValueError: if they are no such rows: ragged, nested, of different numbers or of
            neither numbers nor strings.
    """
    if not isinstance(rows, dict):
        return _as_input(rows, f"{name}: its inputs")
    if not rows or not all(isinstance(key, str) and key for key in rows):
        raise ValueError(
            f"{name}: several inputs must be a dict of arrays by name. Received: a "
            f"dict of the keys {list(rows)}."
        )
    x = {key: _as_input(rows[key], f"{name}: input {key!r}") for key in sorted(rows)}
    sizes = {key: len(part) for key, part in x.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"{name}: it must have as many rows for each input. Received: {sizes}."
        )
    return x if len(x) > 1 else next(iter(x.values()))


def _as_input(rows, where: str) -> np.ndarray:
    if isinstance(rows, list | tuple | dict) and any(isinstance(r, dict) for r in rows):
        raise ValueError(
            f"{where} must be an array. Received: a {type(rows).__name__} of dicts; "
            "give a dict of one array for each input."
        )
    try:
        array = as_array(rows)
    except ValueError as error:
        raise ValueError(
            f"{where} must have rows of one shape. Received: a {type(rows).__name__} "
            f"that is no array ({error}); pad its rows to one length."
        ) from error
    if array.ndim == 0:
        raise ValueError(
            f"{where} must be an array of rows. Received: {str(rows)[:100]!r}."
        )
    return _in_usual_type(array, where)


def as_vectors(x: np.ndarray, dtype: str | None = None) -> np.ndarray:
    """Numbers `(n, d)` in `dtype`; None: float64 where float32 would merge some."""
    if dtype is None:
        wide = any(float32_merges(column) for column in _finite_columns(x))
        dtype = "float64" if wide else "float32"
    # A number too large for float32 becomes inf, which `validate` refuses.
    with np.errstate(over="ignore", under="ignore"):
        return x.astype(dtype, copy=False)


def _finite_columns(x: np.ndarray):
    """Columns without what `validate` refuses by its place; of float32 none."""
    if x.dtype.itemsize <= 4 and x.dtype.kind == "f" or x.dtype.itemsize <= 2:
        return []
    return [column[np.isfinite(column)] for column in x.T]


def _in_usual_type(array: np.ndarray, where: str) -> np.ndarray:
    kind = array.dtype.kind
    if kind == "f":
        # Columns; what has further axes, as sequences and pictures, is float32.
        wide = array.ndim > 2 or not array.size
        flat = array if wide else array.reshape(len(array), -1)
        return as_vectors(flat, "float32" if wide else None).reshape(array.shape)
    if kind in "iu" and array.dtype != np.uint8:
        if kind == "u" and array.size and array.max() >= 2**63:
            raise ValueError(
                f"{where} must be whole numbers of 64 bits. Received: {array.max()}."
            )
        return array.astype(np.int64, copy=False)
    if kind == "O":
        _check_texts(array, where)
    elif kind not in "bu":
        raise ValueError(
            f"{where} must hold numbers or strings. Received: {array.dtype} of shape "
            f"{array.shape}; convert it."
        )
    return array


def _check_texts(array: np.ndarray, where: str) -> None:
    for place, cell in enumerate(array.reshape(-1)):
        if not isinstance(cell, str | bytes):
            row = place * len(array) // array.size
            raise ValueError(
                f"{where} must hold numbers, or strings in every cell, in rows of one "
                f"length. Received: {str(cell)[:100]!r} ({type(cell).__name__}) in row "
                f"{row} (counted from 0); convert or pad it, or fill missing cells."
            )


def check_inputs(x: Any, name: str) -> None:
    """Raises ValueError where a number is not finite."""
    for key, part in parts_of(x).items():
        if part.dtype.kind != "f":
            continue
        bad = ~np.isfinite(part)
        if bad.any():
            place = tuple(int(axis[0]) for axis in np.nonzero(bad))
            named = f" of input {key!r}" if key else ""
            raise ValueError(
                f"{name}: every number must be finite. Received: {part[place]}{named}, "
                f"first in row {place[0]} (counted from 0). Correct or drop such rows."
            )


def digested(x: Any) -> list[np.ndarray]:
    """Arrays that tell all of some rows, for `keras_ebm.digests.array_digest`."""
    found: list[np.ndarray] = []
    for name, part in parts_of(x).items():
        found += [np.array(name)] if name else []
        if is_text(part):
            cells = [_bytes_of(cell) for cell in part.reshape(-1)]
            lengths = np.array([len(cell) for cell in cells], np.int64)
            found.append(lengths.reshape(part.shape))
            part = np.frombuffer(b"".join(cells), np.uint8)
        found.append(part)
    return found


def row_bytes(row: Any) -> bytes:
    """What a row of one input holds, a number or text, or an array of them."""
    if isinstance(row, str | bytes):
        cell = _bytes_of(row)
        return len(cell).to_bytes(8, "little") + cell
    if row.dtype == object:
        return b"".join(row_bytes(cell) for cell in row.reshape(-1))
    return row.tobytes()


def _bytes_of(cell: str | bytes) -> bytes:
    return cell.encode("utf-8") if isinstance(cell, str) else cell
