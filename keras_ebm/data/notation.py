"""Numbers among the texts of a csv file, and dates and numbers written otherwise."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np

from keras_ebm.data.optional import require
from keras_ebm.data.origin import Origin

#: What numbers are written with, besides digits: currencies, separators, percents,
#: the signs and brackets of bookkeeping.
MARKS = re.compile(r"[$€£¥₹₽¢%‰,'’()−\s]|\b(?:USD|EUR|GBP|CHF|JPY)\b")
#: A number and its unit or its thousands.
WITH_UNIT = re.compile(r"([+-]?\d[\d.,]*)\s*([^\W\d_]{1,5}(?:/[^\W\d_]{1,3})?[²³]?)")
THOUSANDS = {"k", "K", "m", "M", "b", "B", "bn", "Mio"}

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_DAY, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:1\d|20|21)\d\d"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_TIME = r"(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?:\s*[ap]\.?m\.?)?"
_ZONE = r"(?:\s*(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?"
_DATE = "|".join(
    [
        rf"{_YEAR}-(?:0?[1-9]|1[0-2])(?:-{_DAY})?",
        rf"{_YEAR}([/.])(?:0?[1-9]|1[0-2])\1{_DAY}",
        rf"{_YEAR}-W[0-5]\d(?:-[1-7])?",
        rf"{_DAY}([/.-]){_DAY}\2(?:{_YEAR}|\d\d)",
        rf"(?:[a-z]{{3,9}},?\s)?{_DAY}\.?[\s-]{_MONTH}[\s,-]+(?:{_YEAR}|\d\d)",
        rf"(?:[a-z]{{3,9}},?\s)?{_MONTH}\s{_DAY},?\s{_YEAR}",
        rf"{_MONTH}[\s-]{_YEAR}",
    ]
)
#: Dates, times of day, or both, in words.
DATES = re.compile(
    rf"(?:(?:{_DATE})(?:(?:,?\s+|T){_TIME}{_ZONE})?|{_YEAR}\d{{4}}T\d{{4,6}}Z?"
    rf"|{_TIME}{_ZONE})",
    re.IGNORECASE,
)


def check_no_dates(cells: Any, path: Origin) -> None:
    """Refuses a column in which most texts are dates or times of day.

    As categories, or names of the rows, they would lose their order, and a date after
    the last one of training would be an unknown word. What a model can use of
    them depends on the question: the year, the day of the year, the seconds of the day.

    Args:
        cells: `pandas.Series` of texts, none of them missing.
        path: of the table, for the error.

    Raises:
        ValueError: if it is such a column.
    """
    dates = _matches(DATES, cells)
    if dates.sum() <= len(cells) / 2:
        return
    name, row = cells.name, dates.idxmax()
    parts = _parts(cells[row])
    columns = " and ".join(f"{name}.{part}" for part in parts)
    code = ", ".join(f"t.dt.{part}" for part in parts.values())
    raise ValueError(
        f"{path}: dates and times must be numbers. Received: {cells[row]!r} in column "
        f"{name!r}, row {row} (counted from 0). Write {columns} in its place: with "
        f"pandas, t = pandas.to_datetime(table[{name!r}]) (with `dayfirst` or `format` "
        f"where the order is not that of ISO 8601) and {code}; or leave it out "
        f"{path.leave_out}."
    )


def _parts(text: str) -> dict[str, str]:
    """Columns to write a date as, and how pandas finds them."""
    day = {"year": "year", "day": "dayofyear"}
    time = {"hour": "hour", "minute": "minute"}
    if ":" not in text:
        return day
    return time if re.match(r"\d{1,2}:", text) else {**day, **time}


def check_no_numbers(
    cells: Any, numbers: Any, path: Origin, *, names_rows: bool
) -> None:
    """Refuses a column of texts of which most are numbers, in another notation.

    Such are `12,5`, `1.234,50`, `45%`, `$12.50`, `(3)`, `12 kg` and `1.2M`. Texts that
    are no more than a few different ones, such as the steps `5%` and `10%`, are
    categories whatever they are written with; so are codes: `1-2`, `A5`.

    Args:
        cells: `pandas.Series` of more than a few different texts, none missing.
        numbers: which of them are plain numbers, bool of the same shape.
        path: of the table, for the error.
        names_rows: bool, whether nearly all texts differ. Then plain numbers count
            too, with something else between them, such as a mark for missing cells.

    Raises:
        ValueError: if it is such a column.
    """
    other = cells[~numbers]
    bare = other.str.replace(MARKS, "", regex=True)
    written = _is_number(bare) | _have_unit(bare)
    if numbers.sum() + written.sum() <= len(cells) / 2:
        return
    # A few numbers written otherwise among categories say nothing of the column.
    if not names_rows and other[written].nunique() <= 1:
        return
    row = other[written if written.mean() > 0.5 else ~written].index[0]
    raise ValueError(
        f"{path}: a column of numbers must hold nothing else, written like 1234.5. "
        f"Received: {cells[row]!r} in column {cells.name!r}, row {row} (counted "
        "from 0). Rewrite such cells, empty them if they stand for missing values, "
        f"or leave the column out {path.leave_out}."
    )


def _have_unit(cells):
    """Which texts are numbers with a unit, one for all of them, or with thousands."""
    found = cells.str.extract(f"^{WITH_UNIT.pattern}$")
    units = set(found[1].dropna())
    one_scale = len(units) == 1 or units <= THOUSANDS
    return found[1].notna() & one_scale


def _matches(pattern, cells):
    found = {cell: pattern.fullmatch(cell) is not None for cell in cells.unique()}
    return cells.map(found).astype(bool)


def _is_number(cells):
    return require("pandas").to_numeric(cells, errors="coerce").notna()


def to_number(cells: Any):
    """A column of texts, or of numbers, as float64; NaN where a text is no number."""
    if is_number_column(cells):
        return cells.astype(np.float64)
    numbers = require("pandas").to_numeric(cells, errors="coerce").astype(np.float64)
    if numbers.notna().all():
        return numbers
    # Pandas before 3 takes a number beyond float64, such as 1e400, for none.
    beyond = numbers.isna() & cells.str.fullmatch(_NUMBER).eq(True)
    return numbers.where(~beyond, cells[beyond].map(float))


def is_number_column(cells: Any) -> bool:
    """Whether a column is one of numbers as numpy has them, and not of texts."""
    return isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "iuf"


def is_missing(cells: Any, words: Collection[str]) -> Any:
    """Which cells have no value: NaN among numbers, and `words` among texts."""
    return cells.isna() if is_number_column(cells) else cells.isin(words)
