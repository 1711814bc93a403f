"""Tables in CSV files."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from keras_ebm.data.csv_text import check_header, check_unnamed, read_text
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.optional import require
from keras_ebm.data.schema import Column, TableSchema

# What stands for "no value" in a feature. The target is compared with the
# empty text alone, since "None" is a fair name for a class.
MISSING = ("", "NA", "N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")

MAX_CATEGORIES = 1000
#: No more different texts than this are taken as categories, or classes, even where
#: hardly any of them occurs twice.
FEW_TEXTS = 20
#: What numbers are written with, besides digits: currencies, separators, a percent.
NOTATION = re.compile(r"[$€£¥%,'\s]")
#: Words of boolean columns, false before true.
BOOLEANS = (("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"))


def read_csv(
    path: str | os.PathLike,
    target: str | None = None,
    schema: TableSchema | None = None,
    ignore_columns: Sequence[str] = (),
) -> Dataset:
    """Reads a table with a header line, and finds out or applies its schema.

    Without a schema a column is numeric when each of its values is a number,
    boolean when all are words of one pair of `BOOLEANS`, in whatever letters, and
    else categorical with the sorted values as its vocabulary. Classes are the
    sorted texts of the target, in the order of the numbers when all of them
    are whole numbers. Empty cells and `NA`, `N/A`, `<NA>`, `NaN`, `nan`,
    `NULL`, `null`, `None` are missing; a row with an empty target is unlabelled.

    A text column in which more than half of the values are different, and more than
    20, names the rows, and numbers that count them up by one do: nothing can be learned
    of them, and they are left out with a `UserWarning`. If the texts are numbers after
    all, some of them or in another notation, the column is refused. A target whose
    values differ as much is no class.

    Args:
        path: a `.csv` or `.csv.gz` file, comma-separated, in UTF-8.
        target: str, the column with the classes. Defaults to the last one, or
            to the schema's. `""` says that the file has no classes.
        schema: `TableSchema` of the table that a model was trained on. Columns
            that it does not know are left out, a category it does not know
            becomes -1, and the target may be absent.
        ignore_columns: names of columns to leave out.

    Returns:
        `Dataset` of kind `"table"`.

    Raises:
        ValueError: if the file is absent, unreadable or without rows, or if
            its cells do not fit the rules above; the message names the column
            and, counted from 0 without the header, the row.
    """
    frame = _leave_out(read_text(path), ignore_columns, path)
    if schema is None:
        check_header(frame, path)
        row_names = check_unnamed(frame, path)
    if schema is None and target is None:
        target = frame.columns[-1]
    if target and target not in frame.columns:
        raise ValueError(
            f"`target` must be a column of {path}. Received: target={target!r}. "
            f"The columns are: {', '.join(frame.columns)}."
        )
    if schema is None:
        schema = _infer(frame, target, row_names, path)
    elif target is not None:
        schema = dataclasses.replace(schema, target=target or None)
    _check_columns(frame, [column.name for column in schema.columns], path)
    cells = [_encode(frame[column.name], column, path) for column in schema.columns]
    return Dataset(
        x=np.stack(cells, axis=1).astype(np.float32),
        y=_encode_target(frame, schema, path),
        kind="table",
        class_names=schema.class_names,
        schema=schema,
        name=f"csv:{path}",
    )


def read_columns(
    path: str | os.PathLike, is_numeric: Mapping[str, bool]
) -> dict[str, np.ndarray]:
    """Reads some columns as a table that is served takes them.

    Args:
        path: as of `read_csv`.
        is_numeric: by the name of a column, whether it holds numbers.

    Returns:
        Array of shape `(rows,)` by column: float32, NaN where a cell is missing, or
        the texts as they are.

    Raises:
        ValueError: if the file cannot be read, lacks a column, or a cell that should
            be a number is none.
    """
    frame = read_text(path)
    _check_columns(frame, is_numeric, path)
    return {
        name: _encode(frame[name], Column(name, "numeric"), path).astype(np.float32)
        if numeric
        else frame[name].to_numpy(object)
        for name, numeric in is_numeric.items()
    }


def _check_columns(frame, names, path) -> None:
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise ValueError(
            f"{path}: every column of the schema must be in the file. Missing: "
            f"{', '.join(absent)}. The file has: {', '.join(frame.columns)}."
        )


def _leave_out(frame, ignore_columns, path):
    absent = sorted(set(ignore_columns) - set(frame.columns))
    if absent:
        raise ValueError(
            f"`ignore_columns` must be columns of {path}. Received: "
            f"{', '.join(absent)}. The columns are: {', '.join(frame.columns)}."
        )
    frame = frame.drop(columns=list(ignore_columns))
    if frame.columns.empty:
        raise ValueError(
            f"`ignore_columns` must leave a column of {path}. Received: all of them."
        )
    return frame


def _infer(frame, target: str, row_names, path) -> TableSchema:
    names = [name for name in frame.columns if name != target]
    if not names:
        raise ValueError(
            f"{path}: there must be a column besides the target {target!r}. "
            "If the file has no classes, pass target=''."
        )
    found = {
        name: None if name in row_names else _infer_column(frame[name], path)
        for name in names
    }
    columns = tuple(column for column in found.values() if column is not None)
    row_names = [name for name, column in found.items() if column is None]
    if not columns:
        raise ValueError(
            f"{path}: there must be a column that does not name or number the rows. "
            f"Received: {', '.join(row_names)}."
        )
    if row_names:
        warnings.warn(
            f"{path}: left out, as a name or number of each row: "
            f"{', '.join(row_names)}",
            stacklevel=3,
        )
    classes = _class_names(frame[target], path) if target else ()
    return TableSchema(columns, target or None, classes)


def _infer_column(cells, path) -> Column | None:
    """A column's kind; None if it names or numbers the rows."""
    present = cells[~cells.isin(MISSING)]
    values = _to_number(present)
    numbers = values.notna()
    if numbers.all():
        counts_rows = len(cells) > FEW_TEXTS and len(present) == len(cells)
        if counts_rows and (np.diff(values) == 1.0).all():
            return None
        return Column(cells.name, "numeric")
    for pair in BOOLEANS:
        if present.str.lower().isin(pair).all():
            return Column(cells.name, "boolean", pair)
    vocabulary = tuple(sorted(present.unique()))
    if _nearly_all_differ(present):
        _check_no_numbers(present, numbers, path)
        return None
    if len(vocabulary) > MAX_CATEGORIES:
        raise ValueError(
            f"{path}: a categorical column must have at most {MAX_CATEGORIES} "
            f"distinct values. Received: {len(vocabulary)} in column "
            f"{cells.name!r}. Bin it, or leave it out by `ignore_columns`."
        )
    if present[numbers].nunique() > FEW_TEXTS:
        warnings.warn(
            f"{path}: column {cells.name!r} is read as categories, as not all of it "
            f"is numbers: {present[~numbers].iloc[0]!r} in row "
            f"{present[~numbers].index[0]} (counted from 0). Empty such cells if they "
            "stand for missing values",
            stacklevel=4,
        )
    return Column(cells.name, "categorical", vocabulary)


def _nearly_all_differ(values) -> bool:
    return values.nunique() > max(FEW_TEXTS, len(values) / 2)


def _check_no_numbers(present, numbers, path) -> None:
    """Raises if texts that nearly all differ are numbers for the most part."""
    other = present[~numbers]
    written = _to_number(other.str.replace(NOTATION, "", regex=True)).notna()
    if numbers.sum() + written.sum() <= len(present) / 2:
        return
    row = other[written if written.mean() > 0.5 else ~written].index[0]
    raise ValueError(
        f"{path}: a column of numbers must hold nothing else, written like 1234.5. "
        f"Received: {present[row]!r} in column {present.name!r}, row {row} (counted "
        "from 0). Rewrite such cells, empty them if they stand for missing values, "
        "or leave the column out by `ignore_columns`."
    )


def _class_names(cells, path) -> tuple[str, ...]:
    # Rows without a label count: there may be one label of each class.
    if _nearly_all_differ(cells):
        raise ValueError(
            f"{path}: a class must have more than a row or two. Received: "
            f"{cells.nunique()} different values in the {len(cells)} rows of the "
            f"target {cells.name!r}. Name another column as the target, or pass "
            "target='' if there is none."
        )
    names = sorted(set(cells) - {""})
    if len(names) > MAX_CATEGORIES:
        raise ValueError(
            f"{path}: the target must have at most {MAX_CATEGORIES} classes. "
            f"Received: {len(names)} distinct values in column {cells.name!r}. "
            "Name another column as the target, or pass target='' if there is none."
        )
    try:
        return tuple(sorted(names, key=int))
    except ValueError:
        return tuple(names)


def _to_number(cells):
    return require("pandas").to_numeric(cells, errors="coerce").astype(np.float64)


def _encode(cells, column: Column, path) -> np.ndarray:
    missing = cells.isin(MISSING).to_numpy()
    if column.kind != "numeric":
        cells = cells.str.lower() if column.kind == "boolean" else cells
        codes = {value: code for code, value in enumerate(column.vocabulary)}
        known = cells.map(codes).fillna(-1).to_numpy(np.float64)
        return np.where(missing, np.nan, known)
    values = _to_number(cells.where(~missing)).to_numpy()
    with np.errstate(over="ignore"):
        infinite = np.isinf(values.astype(np.float32))
    for bad, rule in (
        (np.isnan(values) & ~missing, "be a number, or empty"),
        (infinite, "be finite, in float32 too"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{path}: a cell of the numeric column {column.name!r} must {rule}. "
                f"Received: {cells.iloc[row]!r} in row {row} (counted from 0). "
                "Correct or empty the cell."
            )
    return values


def _encode_target(frame, schema: TableSchema, path) -> np.ndarray:
    if schema.target not in frame.columns:
        return np.full(len(frame), -1, np.int64)
    codes = {name: code for code, name in enumerate(schema.class_names)}
    codes[""] = -1
    cells = frame[schema.target]
    unknown = sorted(set(cells) - set(codes))
    if unknown:
        raise ValueError(
            f"{path}: a label in column {schema.target!r} must be one of "
            f"{', '.join(schema.class_names)}, or empty. Received: "
            f"{', '.join(unknown[:20])}."
        )
    return cells.map(codes).to_numpy(np.int64)
