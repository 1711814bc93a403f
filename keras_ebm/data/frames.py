"""Frames of pandas as tables: the same rules as for csv files."""

from __future__ import annotations

import datetime
import numbers
from typing import Any

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.csv_text import check_header, check_unnamed
from keras_ebm.data.inferred_schema import infer_schema
from keras_ebm.data.label_rule import plain
from keras_ebm.data.notation import is_number_column
from keras_ebm.data.optional import require
from keras_ebm.data.origin import FRAME
from keras_ebm.data.schema import TableSchema
from keras_ebm.data.tables import encode_cells

#: What a cell may be besides a text; pandas's own times are among the last three.
VALUES = (numbers.Number, np.bool_, datetime.date, datetime.time, datetime.datetime)


def is_frame(rows: Any) -> bool:
    """Whether rows are a pandas `DataFrame`; imports nothing."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"
        for kind in type(rows).__mro__
    )


def has_words(frame: Any) -> bool:
    """Whether a frame has other columns than of numbers, missing ones among them.

    Columns of the type `object` are of numbers where all their cells are; booleans,
    categories and numbers that are written as texts are not.
    """
    return not all(
        _holds_numbers(frame.iloc[:, place]) for place in range(frame.shape[1])
    )


def without_na(frame: Any) -> Any:
    """A frame of numbers with NaN for each missing cell of its `object` columns."""
    changed = frame.copy(deep=False)
    for place in range(frame.shape[1]):
        cells = frame.iloc[:, place]
        if cells.dtype == object and cells.isna().any():
            changed.isetitem(place, cells.where(cells.notna(), np.nan))
    return changed


def infer_frame(frame: Any) -> TableSchema:
    """Finds out the columns of a frame, by the rules of `read_csv`.

    A cell counts as its text: `True` as a boolean, `None`, NaN and NA as missing. Only
    a column of the type `category` is of categories though they are numbers.

    Args:
        frame: pandas `DataFrame` of one row or more.

    Returns:
        `TableSchema` without a target. Columns that name or number the rows are not
        in it, which a `UserWarning` says.

    Raises:
        TypeError: if a cell is no text, number, boolean or time.
        ValueError: if two columns have one name, or the cells break a rule; the message
            names the column.
    """
    cells = _cells(frame)
    if all(isinstance(name, str) for name in frame.columns):
        check_header(cells, FRAME)
    row_names = check_unnamed(cells, FRAME)
    places = range(frame.shape[1])
    categories = [
        name
        for name, place in zip(cells.columns, places, strict=True)
        if _declares_categories(frame.iloc[:, place])
    ]
    missing = TableSchema(()).missing
    return infer_schema(cells, "", row_names, missing, FRAME, categories)


def encode_frame(frame: Any, schema: TableSchema) -> np.ndarray:
    """The rows of a frame as a `TableEncoder` takes them; see `encode_cells`.

    Args:
        frame: pandas `DataFrame` with the columns of the schema, others beside them.
        schema: as `infer_frame` gave it for the training rows.

    Raises:
        TypeError: if a cell is no text, number, boolean or time.
        ValueError: if a cell of a numeric column is no finite number.
    """
    cells = _cells(frame)
    absent = [c.name for c in schema.columns if c.name not in cells.columns]
    if absent:
        raise ValueError(
            f"`X` must have the columns of `fit`. Missing: {listed(absent)}. It has: "
            f"{listed(cells.columns)}."
        )
    for column in schema.columns:
        if column.kind != "numeric" and is_number_column(cells[column.name]):
            cells[column.name] = _texts(cells[column.name])
    return encode_cells(cells, schema, FRAME)


def _cells(frame):
    """Columns of texts, "" where a cell is missing, and of numbers in numpy's types."""
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            "`X` must have columns of different names. Received twice: "
            f"{listed(map(repr, twice))}. Rename one of each."
        )
    columns = {
        name: plain_column(frame.iloc[:, place], name)
        for place, name in enumerate(names)
    }
    return require("pandas").DataFrame(columns)


def plain_column(cells: Any, name: str, words: bool = False) -> Any:
    """One column of texts, "" where a cell is missing, or of numbers in numpy's types.

    Args:
        cells: pandas `Series`.
        name: str, what it is called from now on.
        words: bool, whether numbers become texts too.
    """
    cells = cells.reset_index(drop=True).rename(name)
    if words and is_number_column(cells):
        return _texts(cells)
    if _is_numeric_type(cells.dtype) and cells.dtype.kind != "c":
        return _numbers(cells)
    return _texts(cells)


def _numbers(cells):
    """Numbers of any of pandas's types in one of numpy's."""
    kind = getattr(cells.dtype, "kind", "f")
    if kind in "iu" and not cells.isna().any():
        return cells.astype("uint64" if kind == "u" else "int64")
    if isinstance(cells.dtype, np.dtype):
        return cells
    values = cells.to_numpy(np.float64, na_value=np.nan)
    return require("pandas").Series(values, name=cells.name)


def _texts(cells):
    """Each cell as a csv file has it, without spaces around it."""
    missing = cells.isna().to_numpy()
    # A float here is a whole number that stands in one column with missing cells.
    bare = _is_numeric_type(getattr(cells.dtype, "categories", cells).dtype)
    texts = [
        "" if absent else _text(cell, bare, cells.name, row)
        for row, (cell, absent) in enumerate(zip(cells, missing, strict=True))
    ]
    return require("pandas").Series(texts, name=cells.name, dtype=object)


def _text(cell, bare, name, row) -> str:
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, datetime.timedelta | np.timedelta64):
        raise ValueError(
            "`X` must have durations as numbers. Received: "
            f"{cell} in column {name!r}, row {row} (counted from 0). Write "
            f"X[{name!r}].dt.total_seconds() in its place."
        )
    if isinstance(cell, complex) or not isinstance(cell, VALUES):
        if type(cell).__name__ not in ("Period", "Interval"):
            raise TypeError(
                "`X` must have cells that are a str, number, bool, time or missing. "
                f"Received: {cell!r} (of type {type(cell).__name__}) in column "
                f"{name!r}, row {row} (counted from 0)."
            )
    return plain(str(cell)) if bare else str(cell)


def _holds_numbers(cells) -> bool:
    if cells.dtype != object:
        return _is_numeric_type(cells.dtype)
    return all(
        isinstance(cell, numbers.Real) and not isinstance(cell, bool | np.bool_)
        for cell in cells[cells.notna()]
    )


def _is_numeric_type(dtype) -> bool:
    types = require("pandas").api.types
    return types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype)


def _declares_categories(cells) -> bool:
    """Whether a column is of the type `category`, and its categories no booleans."""
    categories = getattr(cells.dtype, "categories", None)
    return categories is not None and categories.dtype.kind in "iuf"
