"""Files of numbers, a row a line, and errors that name file and row."""

from __future__ import annotations

import gzip
import os
import warnings
import zlib

import numpy as np

UNREADABLE = (ValueError, OSError, EOFError, zlib.error)
#: What models compute in.
LARGEST = np.finfo(np.float32).max


def read_numbers(
    path: str | os.PathLike, widths: tuple[int, ...], delimiter: str | None = None
) -> np.ndarray:
    """Reads a file of numbers into memory, 8 bytes a number.

    A first line without a number is a header, and is left out.

    Args:
        path: a text file, in gzip if it ends in `.gz`.
        widths: how many numbers a row may have; all rows have the same.
        delimiter: str between numbers. Defaults to any white space.

    Returns:
        float64 array of shape `(n, width)`, n >= 1. In float64, for numbers that
        differ in the file stay different.

    Raises:
        ValueError: if the file cannot be read, has no rows, or a row has another
            width or a number that is none or not finite in float32. Rows are
            counted from 0, without the header and empty lines.
    """
    try:
        values = _load(path, delimiter)
    except UNREADABLE as error:
        _refuse_faulty_row(path, widths, delimiter)
        raise ValueError(f"{path}: it could not be read: {error}") from error
    if not len(values):
        raise ValueError(f"{path}: there must be at least one row. Received: none.")
    if values.shape[1] not in widths:
        _refuse_width(path, widths, values.shape[1], 0)
    # The ends of the range tell without an array of as many truth values.
    if not -LARGEST <= values.min() <= values.max() <= LARGEST:
        bad = ~(np.abs(values) <= LARGEST)
        row, column = (int(place[0]) for place in np.nonzero(bad))
        _refuse_cell(path, values[row, column], row, column)
    return values


def class_labels(
    path: str | os.PathLike, labels: np.ndarray, first: int, num_classes: int
) -> np.ndarray:
    """Shifts labels so that classes are counted from 0.

    Args:
        path: where they were read, for the error.
        labels: float array of shape `(n,)`.
        first: int, the label of class 0.
        num_classes: int; labels end at `first + num_classes - 1`.

    Returns:
        int64 array of shape `(n,)`, from 0 to `num_classes - 1`.

    Raises:
        ValueError: if a label is no whole number of that range.
    """
    shifted = labels - first
    bad = (shifted != np.floor(shifted)) | (shifted < 0) | (shifted >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{path}: a label must be a whole number from {first} to "
            f"{first + num_classes - 1}. Received: {labels[row]:g} in row {row} "
            "(counted from 0, without a header). Check that the file is the right one."
        )
    return shifted.astype(np.int64)


def _open(path):
    opener = gzip.open if str(path).endswith(".gz") else open
    return opener(path, "rt", encoding="utf-8-sig")


def _load(path, delimiter):
    with _open(path) as file:
        has_header = _is_header(file.readline(), delimiter)
    with warnings.catch_warnings():
        # An empty file, which the caller refuses.
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        return np.loadtxt(
            path,
            delimiter=delimiter,
            comments=None,
            skiprows=int(has_header),
            ndmin=2,
            encoding="utf-8-sig",
        )


def _is_header(line, delimiter) -> bool:
    cells = line.split(delimiter)
    return bool(line.strip()) and not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_faulty_row(path, widths, delimiter):
    """Raises for the first row at fault; slow, and so for bad files alone."""
    width = None
    try:
        for row, line in enumerate(_rows(path, delimiter)):
            cells = line.split(delimiter)
            if len(cells) not in widths or width not in (None, len(cells)):
                _refuse_width(path, (width,) if width else widths, len(cells), row)
            width = len(cells)
            for column, cell in enumerate(cells):
                if not _is_number(cell):
                    _refuse_cell(path, repr(cell.strip()), row, column)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return  # The caller says that it could not be read.


def _rows(path, delimiter):
    with _open(path) as file:
        lines = (line for line in file if line.strip())
        for number, line in enumerate(lines):
            if number or not _is_header(line, delimiter):
                yield line


def _refuse_width(path, widths, received, row):
    raise ValueError(
        f"{path}: a row must have {' or '.join(map(str, widths))} numbers. Received: "
        f"{received} in row {row} (counted from 0, without a header). Check that the "
        "file is the right one and complete."
    )


def _refuse_cell(path, received, row, column):
    raise ValueError(
        f"{path}: every cell must be a number that is finite in float32. Received: "
        f"{received} in row {row}, column {column} (both counted from 0, without a "
        "header). Correct or drop such rows."
    )
