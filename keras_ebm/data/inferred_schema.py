"""Which columns and classes a table has, out of the texts of its cells."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.label_rule import class_names, is_binary, missing_labels
from keras_ebm.data.notation import (
    check_no_dates,
    check_no_numbers,
    is_missing,
    is_number_column,
    to_number,
)
from keras_ebm.data.origin import Origin
from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.precision import float32_merges

MAX_CATEGORIES = 1000
#: No more different texts than this are taken as categories, or classes, even where
#: hardly any of them occurs twice.
FEW_TEXTS = 20
#: Words of boolean columns, false before true.
BOOLEANS = (("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"))


def infer_schema(
    frame: Any,
    target: str,
    row_names: Collection[str],
    missing: tuple[str, ...],
    path: Origin,
    categories: Collection[str] = (),
) -> TableSchema:
    """The schema of a table without one; see `read_csv` for the rules.

    Args:
        frame: pandas `DataFrame` of texts, and of columns of numbers.
        target: name of the column with the classes; `""`: there are none.
        row_names: names of columns that are known to name the rows.
        missing: texts that stand for "no value", the empty one among them.
        path: of the table, for messages.
        categories: names of columns that hold no numbers, whatever their texts are.

    Raises:
        ValueError: if the cells do not fit the rules.
    """
    names = [name for name in frame.columns if name != target]
    if not names:
        raise ValueError(
            f"{path}: there must be a column besides the target {target!r}. "
            "If the file has no classes, pass target=''."
        )
    found = {
        name: None
        if name in row_names
        else _infer_column(frame[name], missing, path, name in categories)
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
    if all(is_missing(frame[column.name], missing).all() for column in columns):
        raise ValueError(
            f"{path}: there must be a cell with a value besides the target. Received: "
            f"{len(frame)} rows whose cells are all missing, in "
            f"{listed(repr(column.name) for column in columns)}. Give rows with "
            f"values; where a word is one, {path.keep_words}."
        )
    classes = _class_names(frame[target], missing, path) if target else ()
    return TableSchema(columns, target or None, classes, missing)


def _infer_column(cells, missing, path, is_category=False) -> Column | None:
    """A column's kind; None if it names or numbers the rows."""
    present = cells[~is_missing(cells, missing)]
    if is_category and len(present):
        return _as_categories(present, path)
    values = to_number(present)
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
    column = _as_categories(present, path)
    if present[numbers].nunique() > FEW_TEXTS:
        warnings.warn(
            f"{path}: column {cells.name!r} is read as categories, as not all of it "
            f"is numbers: {present[~numbers].iloc[0]!r} in row "
            f"{present[~numbers].index[0]} (counted from 0). Empty such cells if they "
            "stand for missing values",
            stacklevel=4,
        )
    return column


def _as_categories(present, path) -> Column | None:
    """A categorical column; None if it names the rows."""
    if _nearly_all_differ(present):
        return None
    vocabulary = tuple(sorted(present.unique()))
    if len(vocabulary) > MAX_CATEGORIES:
        raise ValueError(
            f"{path}: a categorical column must have at most {MAX_CATEGORIES} "
            f"distinct values. Received: {len(vocabulary)} in column "
            f"{present.name!r}. Bin it, or leave it out {path.leave_out}."
        )
    return Column(present.name, "categorical", vocabulary)


def _tell_merged(present, path) -> None:
    """Warns where long whole numbers become equal to others."""
    if is_number_column(present):
        if present.dtype.kind == "f":
            return
        # As text only those that may be merged.
        present = present[(present <= -(10**15)) | (present >= 10**15)].astype(str)
    long = present[present.str.fullmatch(r"[+-]?\d{16,}")].unique()
    exact = {int(text) for text in long}
    left = {float(number) for number in exact}
    if len(left) < len(exact):
        warnings.warn(
            f"{path}: different whole numbers that float64 cannot tell apart, in "
            f"column {present.name!r}: {len(exact)} become {len(left)}; leave it out "
            f"{path.leave_out} if it names the rows",
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
