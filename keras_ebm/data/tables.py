"""Tables in CSV files."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.csv_text import check_header, check_unnamed, read_text
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.inferred_schema import infer_schema
from keras_ebm.data.label_rule import missing_labels, plain
from keras_ebm.data.notation import is_missing, is_number_column, to_number
from keras_ebm.data.origin import Origin
from keras_ebm.data.schema import MISSING, Column, TableSchema


def read_csv(
    path: str | os.PathLike,
    target: str | None = None,
    schema: TableSchema | None = None,
    ignore_columns: Sequence[str] = (),
    missing: Sequence[str] | None = None,
) -> Dataset:
    """Reads a table with a header line, and finds out or applies its schema.

    Without a schema a column is numeric when each of its values is a number,
    boolean when all are words of one pair of `BOOLEANS`, in whatever letters, and
    else categorical with the sorted values as its vocabulary. Empty cells and the
    words in `missing` are missing, and a `UserWarning` counts these words by column.
    Classes are the sorted texts of the target by the rule of
    `keras_ebm.data.label_rule`: in the order of the numbers when all of them are whole
    numbers, and with a row unlabelled where the target is missing, `?`, or -1 beside
    others than 1.

    A text column in which more than half of the values are different, and more than
    20, names the rows, and numbers that count them up by one do: nothing can be learned
    of them, and they are left out with a `UserWarning`. A text column is refused if
    most of it is dates or times, or if it has more than 20 different values and most
    are numbers in another notation, such as `12,5`, `45%` or `$12.50`. A target whose
    values nearly all differ is no class.

    Args:
        path: a `.csv` or `.csv.gz` file, comma-separated, in UTF-8.
        target: str, the column with the classes. Defaults to the last one, or
            to the schema's. `""` says that the file has no classes.
        schema: `TableSchema` of the table that a model was trained on. Columns
            that it does not know are left out, a category it does not know
            becomes -1, and the target may be absent.
        ignore_columns: names of columns to leave out.
        missing: texts that stand for "no value", beside empty cells. Defaults to those
            of the schema, or to `keras_ebm.data.schema.MISSING`: `NA`, `NaN`, `null`,
            `None`, `#N/A` and the like; `()` where such words are values.

    Returns:
        `Dataset` of kind `"table"`. Its rows are float64 where float32 would merge
        the numbers of a column (`Column.wide`), else float32.

    Raises:
        ValueError: if the file is absent, unreadable or without rows, or if
            its cells do not fit the rules above; the message names the column
            and, counted from 0 without the header, the row.
    """
    frame = _leave_out(read_text(path), ignore_columns, path)
    origin = Origin(str(path))
    if schema is None:
        check_header(frame, origin)
        row_names = check_unnamed(frame, origin)
    if schema is None and target is None:
        target = frame.columns[-1]
    if target and target not in frame.columns:
        raise ValueError(
            f"`target` must be a column of {path}. Received: target={target!r}. "
            f"The columns are: {listed(frame.columns)}."
        )
    if schema is None:
        words = MISSING if missing is None else tuple(missing)
        words = TableSchema((), missing=words).missing
        schema = infer_schema(frame, target or "", row_names, words, origin)
    else:
        changed: dict[str, Any] = {} if target is None else {"target": target or None}
        changed |= {} if missing is None else {"missing": tuple(missing)}
        schema = dataclasses.replace(schema, **changed)
    _check_columns(frame.columns, [column.name for column in schema.columns], path)
    return Dataset(
        x=encode_cells(frame, schema, origin),
        y=_encode_target(frame, schema, path),
        kind="table",
        class_names=schema.class_names,
        schema=schema,
        name=f"csv:{path}",
    )


def encode_cells(frame: Any, schema: TableSchema, origin: Origin) -> np.ndarray:
    """The columns of a schema as the float rows that a `TableEncoder` takes.

    Args:
        frame: pandas `DataFrame` with these columns, of texts or of numbers.
        schema: `TableSchema`.
        origin: of the frame, for messages.

    Returns:
        Array `(rows, columns)` of numbers and of positions in vocabularies: -1 for a
        word that is none of them, NaN for a missing cell. float64 where a column is
        `wide`, else float32.

    Raises:
        ValueError: if a cell of a numeric column is no finite number.
    """
    _tell_missing(frame, schema, origin)
    cells = [
        _encode(frame[column.name], column, origin, schema.missing)
        for column in schema.columns
    ]
    return np.stack(cells, axis=1)


def read_columns(
    path: str | os.PathLike,
    dtypes: Mapping[str, np.dtype | None],
    missing: Sequence[str] = MISSING,
    optional: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Reads some columns as a table that is served takes them.

    Args:
        path: as of `read_csv`.
        dtypes: by the name of a column, the type of its numbers, float32 or float64,
            or None where it holds texts.
        missing: texts that stand for "no value", the empty one always among them.
        optional: names of columns that the file may lack; their cells are then missing.

    Returns:
        Array of shape `(rows,)` by column: numbers, NaN where a cell is missing, or
        the texts as they are.

    Raises:
        ValueError: if the file cannot be read, lacks a column, or a cell that should
            be a number is none.
    """
    frame = read_text(path)
    absent = absent_columns(frame.columns, dtypes, optional, path)
    return served_columns(
        frame.assign(**dict.fromkeys(absent, "")), dtypes, path, missing
    )


def served_columns(
    frame: Any,
    dtypes: Mapping[str, np.dtype | None],
    path: str | os.PathLike,
    missing: Sequence[str] = MISSING,
    first: int = 0,
) -> dict[str, np.ndarray]:
    """Columns of a frame as a table that is served takes them; see `read_columns`.

    Args:
        frame: pandas `DataFrame` of texts or numbers, with these columns.
        dtypes: see `read_columns`.
        path: of the table, for errors.
        missing: see `read_columns`.
        first: int, the number of the frame's first row in the table, for errors.
    """
    words = ("", *missing)
    return {
        name: frame[name].to_numpy(object)
        if dtype is None
        else _encode(
            frame[name],
            Column(name, "numeric", wide=dtype == np.float64),
            path,
            words,
            first,
        )
        for name, dtype in dtypes.items()
    }


def _check_columns(found, names, path, remedy: str = "") -> None:
    absent = [name for name in names if name not in found]
    if absent:
        raise ValueError(
            f"{path}: every column of the schema must be in the file. Missing: "
            f"{listed(absent)}. The file has: {listed(found)}.{remedy}"
        )


def absent_columns(
    found: Sequence[str],
    names: Mapping[str, Any],
    optional: Sequence[str],
    path: str | os.PathLike,
) -> list[str]:
    """The `optional` columns that a table lacks, which a `UserWarning` says.

    Args:
        found: names of the table's columns.
        names: those that are asked for.
        optional: those of them that may be absent.
        path: of the table, for messages.

    Raises:
        ValueError: if another one is absent, or an optional one is not asked for.
    """
    unknown = sorted(set(optional) - set(names))
    if unknown:
        raise ValueError(
            "`optional_columns` must be columns of the model. Received: "
            f"{listed(unknown)}. The columns are: {listed(names)}."
        )
    absent = [name for name in optional if name not in found]
    if absent:
        warnings.warn(
            f"{path}: taken as missing in all rows: {listed(absent)}", stacklevel=3
        )
    remedy = " Name those that may be missing by `optional_columns`."
    _check_columns([*found, *absent], names, path, remedy)
    return absent


def _leave_out(frame, ignore_columns, path):
    absent = sorted(set(ignore_columns) - set(frame.columns))
    if absent:
        raise ValueError(
            f"`ignore_columns` must be columns of {path}. Received: "
            f"{listed(absent)}. The columns are: {listed(frame.columns)}."
        )
    frame = frame.drop(columns=list(ignore_columns))
    if frame.columns.empty:
        raise ValueError(
            f"`ignore_columns` must leave a column of {path}. Received: all of them."
        )
    return frame


def _tell_missing(frame, schema: TableSchema, path: Origin) -> None:
    """Warns of the words that are taken for missing values, by column."""
    words = {column.name: schema.missing for column in schema.columns}
    if schema.target is not None and schema.target in frame.columns:
        labels = set(missing_labels(schema.missing)) - set(schema.class_names)
        words[schema.target] = tuple(labels)
    told = []
    for name, missing in words.items():
        if is_number_column(frame[name]):
            continue
        found = frame[name][frame[name].isin(missing) & (frame[name] != "")]
        if len(found):
            texts = listed(map(repr, sorted(found.unique())))
            told.append(f"{len(found)} in {name!r} ({texts})")
    if told:
        more = f" and in {len(told) - 20} more columns" if len(told) > 20 else ""
        warnings.warn(
            f"{path}: cells read as missing: {listed(told)}{more}. Where such "
            f"a word is a value, {path.keep_words}",
            stacklevel=4,
        )


def _encode(cells, column: Column, path, words=MISSING, first: int = 0) -> np.ndarray:
    missing = is_missing(cells, words).to_numpy()
    if column.kind != "numeric":
        cells = cells.str.lower() if column.kind == "boolean" else cells
        codes = {value: code for code, value in enumerate(column.vocabulary)}
        known = cells.map(codes).fillna(-1).to_numpy(np.float32)
        return np.where(missing, np.float32(np.nan), known)
    values = to_number(cells.where(~missing)).to_numpy()
    not_a_number = np.isnan(values) & ~missing
    if not column.wide:
        with np.errstate(over="ignore", under="ignore"):
            values = values.astype(np.float32)
    for bad, rule in (
        (not_a_number, "be a number, or empty"),
        (np.isinf(values), f"be finite in {values.dtype}"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            received = cells.iloc[row : row + 1].tolist()[0]
            raise ValueError(
                f"{path}: a cell of the numeric column {column.name!r} must {rule}. "
                f"Received: {received!r} in row {first + row} (counted from 0). "
                "Correct or empty the cell."
            )
    return values


def _encode_target(frame, schema: TableSchema, path) -> np.ndarray:
    if schema.target not in frame.columns:
        return np.full(len(frame), -1, np.int64)
    codes = _label_codes(schema)
    cells = frame[schema.target]
    labels = {cell: codes.get(cell, codes.get(plain(cell))) for cell in set(cells)}
    unknown = sorted(cell for cell, code in labels.items() if code is None)
    if unknown:
        raise ValueError(
            f"{path}: a label in column {schema.target!r} must be one of "
            f"{listed(schema.class_names)}, or empty. Received: "
            f"{listed(unknown)}."
        )
    return cells.map(labels).to_numpy(np.int64)


def _label_codes(schema: TableSchema) -> dict[str, int]:
    """What a label counts as; the classes' own names come before any rule."""
    codes = dict.fromkeys([*missing_labels(schema.missing), "-1"], -1)
    names = list(enumerate(schema.class_names))
    codes |= {plain(name): code for code, name in names}
    return codes | {name: code for code, name in names}
