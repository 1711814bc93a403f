"""The cells of a csv file as text, under the names of its header line."""

from __future__ import annotations

import bz2
import csv
import gzip
import itertools
import lzma
import os
import pathlib
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.optional import require
from keras_ebm.data.origin import Origin

#: How files are opened, by the end of their name; others are plain text.
OPENERS: dict[str, Callable[..., IO]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
#: What pandas writes in the place of a name that is empty.
UNNAMED = re.compile(r"Unnamed: \d+(\.\d+)*")
#: What goes wrong in a file that is no csv, or is cut off.
UNREADABLE = (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, csv.Error)


def read_text(path: str | os.PathLike):
    """Reads every cell as text, so that "01" stays "01" and "None" "None".

    Columns without a name at the end of the header are left out where all their cells
    are empty, as a separator at the end of each line makes them. Another column
    without a name is called `Unnamed: ` and its position, as by pandas.

    Args:
        path: a `.csv` file, also compressed (`.csv.gz`), in UTF-8.

    Returns:
        `pandas.DataFrame` of texts without spaces around them.

    Raises:
        ValueError: if the file is absent, unreadable or without rows, two columns
            have one name, or a row has more or fewer cells than the header names.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(f"`path` must be a CSV file. There is no file {path}.")
    try:
        header, sizes = _scan(path)
        cells = _read_cells(path, header, sizes)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    check_names_above(header, len(cells), path)
    names = [name.strip() for name in header]
    cells = cells.apply(lambda column: column.str.strip())
    names = _without_trailing(names, cells, sizes, path)
    frame = cells.iloc[:, : len(names)]
    frame.columns = full_names(names, path)
    return frame


def unreadable(path: str | os.PathLike, error: Exception) -> ValueError:
    """The error of a file that is no csv, or is cut off."""
    return ValueError(
        f"{path}: it could not be read as comma-separated UTF-8 text: {error}"
    )


def check_names_above(
    header: list[str], num_rows: int, path: str | os.PathLike
) -> None:
    """Raises ValueError unless there are rows below a line of names."""
    if num_rows == 0:
        raise ValueError(
            f"{path}: there must be a header line and at least one row below it. "
            f"Received: {len(header)} columns and no rows."
        )
    if not any(name.strip() for name in header):
        raise ValueError(
            f"{path}: the header must name the columns. Received: {len(header)} empty "
            "names. Write a line of names above the rows."
        )
    _check_separator(header, path)


def full_names(names: list[str], path: str | os.PathLike) -> list[str]:
    """The columns' names, all different, with one for each that has none."""
    _check_names(names, path)
    return [name or _free_name(i, names) for i, name in enumerate(names)]


def _scan(path) -> tuple[list[str], list[int]]:
    """The header's cells, and how many cells each row has; not of blank lines."""
    opener = OPENERS.get(pathlib.Path(path).suffix.lower(), open)
    with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
        rows = (row for row in csv.reader(text_lines(stream)) if not is_blank(row))
        header = next(rows, [])
        return header, [len(row) for row in rows]


def text_lines(stream: IO[str]) -> Iterator[str]:
    """The lines of a file of text; of another, such as one in UTF-16, an error."""
    for number, line in enumerate(stream, 1):
        if "\0" in line:
            raise ValueError(
                f"line {number} holds a NUL character, which no text has; remove it, "
                "or save the file again as UTF-8"
            )
        yield line


def is_blank(row: list[str]) -> bool:
    """Whether a row is that of a line with nothing in it, which counts for none."""
    return not row or (len(row) == 1 and row[0].isspace())


def _read_cells(path, header, sizes):
    """The rows below the header, with empty cells where a row has fewer."""
    pandas = require("pandas")
    if not sizes:
        return pandas.DataFrame()
    frame = parse_cells(path, max(len(header), *sizes), len(sizes) + 1)
    return frame.iloc[1:].reset_index(drop=True).fillna("")


def parse_cells(
    source: Any, width: int, num_rows: int, places: Sequence[int] | None = None
) -> Any:
    """Rows of cells as texts, the header being one of them if it is there.

    Args:
        source: path or binary file of UTF-8.
        width: int, the length of the longest row.
        num_rows: int, how many rows there are.
        places: positions of the columns to keep, ascending; all by default.

    Returns:
        `pandas.DataFrame` whose columns are positions; NaN where a row has no cell.

    Raises:
        ValueError: if that is no csv, or of another number of rows.
    """
    pandas = require("pandas")
    try:
        # Pandas would rename columns of one name, and take the first one for an index
        # where rows are longer than the header. So the header is a row to it.
        frame = pandas.read_csv(
            source,
            header=None,
            names=range(width),
            usecols=places,
            index_col=False,
            dtype=object,
            na_filter=False,
            encoding="utf-8-sig",
        )
    except pandas.errors.ParserError as error:
        raise ValueError(str(error)) from error
    if len(frame) != num_rows:
        raise ValueError("its quotes do not tell where a row ends")
    return frame


def _check_separator(header, path) -> None:
    only = header[0] if len(header) == 1 else ""
    separators = [mark for mark in ";\t|" if mark in only]
    if separators:
        raise ValueError(
            f"{path}: cells must be separated by commas. Received: the header "
            f"{only!r}; write commas in the place of {separators[0]!r}."
        )


def _without_trailing(names, cells, sizes, path) -> list[str]:
    """The names but for those of empty columns at the end; checks the rows' lengths."""
    filled = [column for column in cells if (cells[column] != "").any()]
    last_filled = max(filled, default=-1) + 1
    last_named = count_named(names)
    width = max(last_named, min(last_filled, len(names)))
    too_long = (cells.iloc[:, len(names) :] != "").any(axis=1).to_numpy()
    _check_lengths(too_long, np.array(sizes) < last_named, sizes, last_named, path)
    if max(len(names), *sizes) > width:
        warn_of_trailing(path)
    return names[:width]


def count_named(names: list[str]) -> int:
    """How many columns there are up to the last one that has a name."""
    return max((i + 1 for i, name in enumerate(names) if _is_named(name)), default=0)


def warn_of_trailing(path: str | os.PathLike) -> None:
    """Tells of empty columns without a name at the end of the lines."""
    warnings.warn(
        f"{path}: left out, as empty and without a name: what follows the last "
        "separator of its lines",
        stacklevel=5,
    )


def _check_lengths(too_long, too_short, sizes, num_names, path) -> None:
    bad = too_long | too_short
    if bad.any():
        row = int(np.argmax(bad))
        refuse_length(row, sizes[row], num_names, bool(too_long[row]), path)


def refuse_length(
    row: int, size: int, num_names: int, too_long: bool, path: str | os.PathLike
) -> None:
    """Raises the ValueError of a row of the wrong length.

    Args:
        row: counted from 0 without the header.
        size: how many cells it has.
        num_names: how many columns have names.
        too_long: whether it has more than the header.
        path: of the file.
    """
    received = f"{size} in row {row} (counted from 0) for {num_names} names"
    if too_long:
        raise ValueError(
            f"{path}: a row must not have more cells than its header has names. "
            f"Received: {received}. Name every column, and put cells that hold a "
            "comma in quotes."
        )
    raise ValueError(
        f"{path}: a row must have a cell for each name of the header. Received: "
        f"{received}. Write its empty cells out, or drop it if it is cut off."
    )


def _check_names(names, path) -> None:
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{path}: column names must differ in more than spaces. Received twice: "
            f"{listed(map(repr, twice))}. Rename one of each, or write a "
            "header if the first line is a row like the others."
        )


def _is_named(name: str) -> bool:
    return bool(name) and not UNNAMED.fullmatch(name)


def _free_name(position: int, names) -> str:
    name = f"Unnamed: {position}"
    while name in names:
        name += ".1"
    return name


def check_header(frame: Any, path: Origin) -> None:
    """Refuses a file whose first line is a row like the others, and no header.

    It is one where the name of each column of numbers is a number about as large as
    those below it, or, without such columns, each name a word that stands below it
    too. Names that count up from 0 or 1 are a header, as pandas writes it for columns
    without names.

    Args:
        frame: as `read_text` returns it, or with columns of numbers.
        path: of the table, for the error.

    Raises:
        ValueError: if the first line is such a row.
    """
    names = [name for name in frame.columns if _is_named(name)]
    numeric = [name for name in names if _numbers(frame[name]) is not None]
    if len(names) < 2 or _counts_up(names):
        return
    if numeric:
        is_row = all(_is_among(name, _numbers(frame[name])) for name in numeric)
    else:
        is_row = all((frame[name] == name).any() for name in names)
    if is_row:
        raise ValueError(
            f"{path}: its first line must name the columns. Received: "
            f"{listed(names)}, which are values such as those below. Write "
            "a line of names above it."
        )


def _numbers(cells):
    """The numbers of a column; None if most of it is none."""
    numbers = require("pandas").to_numeric(cells, errors="coerce").dropna()
    return numbers if len(numbers) > len(cells) / 2 else None


def _is_among(name: str, numbers) -> bool:
    """Whether a name is a number, no further from the others than they spread."""
    number = require("pandas").to_numeric(name, errors="coerce")
    low, high = numbers.min(), numbers.max()
    room = high - low
    return bool(low - room <= number <= high + room)


def _counts_up(names) -> bool:
    numbers = require("pandas").to_numeric(list(names), errors="coerce")
    numbers = numbers[~np.isnan(numbers)]
    starts = len(numbers) > 1 and numbers[0] in (0, 1)
    return bool(starts and (np.diff(numbers) == 1).all())


def check_unnamed(frame: Any, path: Origin) -> tuple[str, ...]:
    """Refuses columns without a name but for those that name the rows.

    These are the first ones, as R and pandas write them: whole numbers or words, all
    of them different.

    Args:
        frame: columns of what `read_text` returns.
        path: of the table, for the error.

    Returns:
        The names of those that name the rows.

    Raises:
        ValueError: if there is another one.
    """
    nameless = [name for name in frame.columns if not _is_named(name)]
    leading = itertools.takewhile(lambda name: not _is_named(name), frame.columns)
    row_names = tuple(name for name in leading if _names_rows(frame[name]))
    nameless = [name for name in nameless if name not in row_names]
    if nameless:
        raise ValueError(
            f"{path}: every column with cells must have a name. Received: none for "
            f"{listed(map(repr, nameless))} (by position, counted from 0). "
            f"Name it in the header, or leave it out {path.leave_out}."
        )
    return row_names


def _names_rows(cells) -> bool:
    numbers = _numbers(cells)
    whole = numbers is None or bool((numbers % 1 == 0).all())
    return whole and cells.is_unique
