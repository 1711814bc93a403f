"""Tables in CSV files."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.csv_text import check_header, check_unnamed, read_text
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.label_rule import class_names, is_binary, missing_labels, plain
from keras_ebm.data.notation import check_no_dates, check_no_numbers
from keras_ebm.data.optional import require
from keras_ebm.data.schema import MISSING, Column, TableSchema
from keras_ebm.precision import float32_merges

MAX_CATEGORIES = 1000
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
#: No more different texts than this are taken as categories, or classes, even where
#: hardly any of them occurs twice.
FEW_TEXTS = 20
#: Words of boolean columns, false before true.
BOOLEANS = (("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"))


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
    if schema is None:
        check_header(frame, path)
        row_names = check_unnamed(frame, path)
    if schema is None and target is None:
        target = frame.columns[-1]
    if target and target not in frame.columns:
        raise ValueError(
            f"`target` must be a column of {path}. Received: target={target!r}. "
            f"The columns are: {listed(frame.columns)}."
        )
    if schema is None:
        words = TableSchema((), missing=MISSING if missing is None else missing).missing
        schema = _infer(frame, target, row_names, words, path)
    else:
        changed = {} if target is None else {"target": target or None}
        changed |= {} if missing is None else {"missing": tuple(missing)}
        schema = dataclasses.replace(schema, **changed)
    _check_columns(frame, [column.name for column in schema.columns], path)
    _tell_missing(frame, schema, path)
    cells = [
        _encode(frame[column.name], column, path, schema.missing)
        for column in schema.columns
    ]
    return Dataset(
        x=np.stack(cells, axis=1),
        y=_encode_target(frame, schema, path),
        kind="table",
        class_names=schema.class_names,
        schema=schema,
        name=f"csv:{path}",
    )


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
    frame = _with_columns(read_text(path), dtypes, optional, path)
    words = ("", *missing)
    return {
        name: frame[name].to_numpy(object)
        if dtype is None
        else _encode(
            frame[name],
            Column(name, "numeric", wide=dtype == np.float64),
            path,
            words,
        )
        for name, dtype in dtypes.items()
    }


def _check_columns(frame, names, path, remedy: str = "") -> None:
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise ValueError(
            f"{path}: every column of the schema must be in the file. Missing: "
            f"{listed(absent)}. The file has: {listed(frame.columns)}.{remedy}"
        )


def _with_columns(frame, names, optional, path):
    """The table with empty cells in the `optional` columns that it lacks."""
    unknown = sorted(set(optional) - set(names))
    if unknown:
        raise ValueError(
            "`optional_columns` must be columns of the model. Received: "
            f"{listed(unknown)}. The columns are: {listed(names)}."
        )
    absent = [name for name in optional if name not in frame.columns]
    if absent:
        warnings.warn(
            f"{path}: taken as missing in all rows: {listed(absent)}", stacklevel=3
        )
    frame = frame.assign(**dict.fromkeys(absent, ""))
    remedy = " Name those that may be missing by `optional_columns`."
    _check_columns(frame, names, path, remedy)
    return frame


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


def _tell_missing(frame, schema: TableSchema, path) -> None:
    """Warns of the words that are taken for missing values, by column."""
    words = {column.name: schema.missing for column in schema.columns}
    if schema.target in frame.columns:
        labels = set(missing_labels(schema.missing)) - set(schema.class_names)
        words[schema.target] = tuple(labels)
    told = []
    for name, missing in words.items():
        found = frame[name][frame[name].isin(missing) & (frame[name] != "")]
        if len(found):
            texts = listed(map(repr, sorted(found.unique())))
            told.append(f"{len(found)} in {name!r} ({texts})")
    if told:
        more = f" and in {len(told) - 20} more columns" if len(told) > 20 else ""
        warnings.warn(
            f"{path}: cells read as missing: {listed(told)}{more}. Where such "
            "a word is a value, name those that are none by `missing` "
            "(`--missing_words`)",
            stacklevel=3,
        )


def _infer(frame, target: str, row_names, missing, path) -> TableSchema:
    names = [name for name in frame.columns if name != target]
    if not names:
        raise ValueError(
            f"{path}: there must be a column besides the target {target!r}. "
            "If the file has no classes, pass target=''."
        )
    found = {
        name: None if name in row_names else _infer_column(frame[name], missing, path)
        for name in names
    }
    columns = tuple(column for column in found.values() if column is not None)
    row_names = [name for name, column in found.items() if column is None]
    if not columns:
        raise ValueError(
            f"{path}: there must be a column that does not name or number the rows. "
            f"Received: {listed(row_names)}."
        )
    if row_names:
        warnings.warn(
            f"{path}: left out, as a name or number of each row: {listed(row_names)}",
            stacklevel=3,
        )
    if frame[[column.name for column in columns]].isin(missing).all(axis=None):
        raise ValueError(
            f"{path}: there must be a cell with a value besides the target. Received: "
            f"{len(frame)} rows whose cells are all missing, in "
            f"{listed(repr(column.name) for column in columns)}. Correct `missing`, or "
            "give rows with values."
        )
    classes = _class_names(frame[target], missing, path) if target else ()
    return TableSchema(columns, target or None, classes, missing)


def _infer_column(cells, missing, path) -> Column | None:
    """A column's kind; None if it names or numbers the rows."""
    present = cells[~cells.isin(missing)]
    values = _to_number(present)
    numbers = values.notna()
    if numbers.all():
        counts_rows = len(cells) > FEW_TEXTS and len(present) == len(cells)
        if counts_rows and (np.diff(values) == 1.0).all():
            return None
        _tell_merged(present, path)
        return Column(cells.name, "numeric", wide=_is_wide(values.to_numpy()))
    for pair in BOOLEANS:
        if present.str.lower().isin(pair).all():
            return Column(cells.name, "boolean", pair)
    check_no_dates(present, path)
    vocabulary = tuple(sorted(present.unique()))
    names_rows = _nearly_all_differ(present)
    if len(vocabulary) > FEW_TEXTS:
        check_no_numbers(present, numbers, path, names_rows=names_rows)
    if names_rows:
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


def _tell_merged(present, path) -> None:
    """Warns where long whole numbers become equal to others."""
    long = present[present.str.fullmatch(r"[+-]?\d{16,}")].unique()
    exact = {int(text) for text in long}
    left = {float(number) for number in exact}
    if len(left) < len(exact):
        warnings.warn(
            f"{path}: different whole numbers that float64 cannot tell apart, in "
            f"column {present.name!r}: {len(exact)} become {len(left)}; leave it out "
            "by `ignore_columns` if it names the rows",
            stacklevel=5,
        )


def _is_wide(values) -> bool:
    """Whether numbers need float64; those that are not finite are refused later."""
    return float32_merges(values[np.isfinite(values)])


def _nearly_all_differ(values) -> bool:
    return values.nunique() > max(FEW_TEXTS, len(values) / 2)


def _class_names(cells, missing, path) -> tuple[str, ...]:
    cells = cells.where(~cells.isin(missing_labels(missing)), "")
    # Rows without a label count: there may be one label of each class.
    if _nearly_all_differ(cells):
        raise ValueError(
            f"{path}: a class must have more than a row or two. Received: "
            f"{cells.nunique()} different values in the {len(cells)} rows of the "
            f"target {cells.name!r}. Name another column as the target, or pass "
            "target='' if there is none."
        )
    names = class_names(cells, missing)
    if len(names) > MAX_CATEGORIES:
        raise ValueError(
            f"{path}: the target must have at most {MAX_CATEGORIES} classes. "
            f"Received: {len(names)} distinct values in column {cells.name!r}. "
            "Name another column as the target, or pass target='' if there is none."
        )
    if is_binary(names):
        warnings.warn(
            f"{path}: 1 and -1, the only labels of the target {cells.name!r}, are "
            "taken for its two classes; beside others -1 means unlabelled",
            stacklevel=4,
        )
    return tuple(names)


def _to_number(cells):
    numbers = require("pandas").to_numeric(cells, errors="coerce").astype(np.float64)
    if numbers.notna().all():
        return numbers
    # Pandas before 3 takes a number beyond float64, such as 1e400, for none.
    beyond = numbers.isna() & cells.str.fullmatch(_NUMBER).eq(True)
    return numbers.where(~beyond, cells[beyond].map(float))


def _encode(cells, column: Column, path, words=MISSING) -> np.ndarray:
    missing = cells.isin(words).to_numpy()
    if column.kind != "numeric":
        cells = cells.str.lower() if column.kind == "boolean" else cells
        codes = {value: code for code, value in enumerate(column.vocabulary)}
        known = cells.map(codes).fillna(-1).to_numpy(np.float32)
        return np.where(missing, np.float32(np.nan), known)
    values = _to_number(cells.where(~missing)).to_numpy()
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
            raise ValueError(
                f"{path}: a cell of the numeric column {column.name!r} must {rule}. "
                f"Received: {cells.iloc[row]!r} in row {row} (counted from 0). "
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
