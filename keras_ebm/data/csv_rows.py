"""Rows of csv files of any length, read a part at a time."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import numpy as np

from keras_ebm.data import csv_text
from keras_ebm.data.optional import require
from keras_ebm.data.schema import MISSING
from keras_ebm.data.tables import absent_columns, served_columns

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Refusal(ValueError):
    """A file that is a csv, and breaks a rule."""


@contextlib.contextmanager
def _refusals():
    """Tells errors of rules inside the block from those of reading the file."""
    try:
        yield
    except ValueError as error:
        raise _Refusal(str(error)) from error


@dataclasses.dataclass
class _Scan:
    """What one pass over a csv finds: where its rows are, and how long."""

    header: list[str]
    places: list[int]
    num_rows: int = 0
    widest: int = 0
    last_filled: int = 0
    bad_row: int | None = None


class CsvRows:
    """The columns of a csv that a served table takes, by the rules of `read_columns`.

    One pass finds where the rows are, refuses rows of a wrong length and cells that
    are no numbers, and keeps nothing but positions. So a mistake in the last row is
    told before the first one is answered.

    Args:
        path: a `.csv` file, also compressed, in UTF-8.
        dtypes: see `read_columns`.
        missing: texts that stand for "no value", the empty one always among them.
        optional: names of columns that the file may lack.
        every: int >= 1. Rows that are read together begin at a multiple of it.

    Raises:
        ValueError: see `read_columns`.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        dtypes: Mapping[str, np.dtype | None],
        missing: Sequence[str] = MISSING,
        optional: Sequence[str] = (),
        every: int = 32768,
    ):
        self.path, self.every = os.fspath(path), every
        self.dtypes, self.missing = dict(dtypes), tuple(missing)
        self.optional = tuple(optional)
        if not pathlib.Path(path).is_file():
            raise ValueError(f"`path` must be a CSV file. There is no file {path}.")
        # How the other modules open it, by the end of its name.
        suffix = pathlib.Path(path).suffix.lower()
        self._opener: Callable[..., IO] = csv_text.OPENERS.get(suffix, open)
        self._file: IO | None = None
        try:
            scan = self._scan()
        except _Refusal as error:
            raise ValueError(str(error)) from error
        except csv_text.UNREADABLE as error:
            raise csv_text.unreadable(path, error) from error
        self._places, self._width = scan.places, scan.widest
        self.num_rows = scan.num_rows
        self._check_parts(scan)

    def _check_parts(self, scan: _Scan) -> None:
        """Reads the part of a cell that is no number, for the error, and the last one.

        The last one holds the quote that is never closed.
        """
        rows = [self.num_rows - 1]
        if scan.bad_row is not None:
            rows.append(scan.bad_row)
        for first in sorted({row // self.every * self.every for row in rows}):
            # What fits into one part is checked when that is read.
            if first or scan.bad_row is not None:
                self.read(first, min(first + self.every, self.num_rows))

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None}

    def __del__(self):
        if self.__dict__.get("_file") is not None:
            self._file.close()

    def read(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Rows `start` to `stop` as `read_columns` gives them.

        Args:
            start: int, a multiple of `every`.
            stop: int, one too, or the number of rows.

        Raises:
            ValueError: if a cell that should be a number is none.
        """
        if start % self.every or (stop % self.every and stop != self.num_rows):
            raise ValueError(
                f"`start` and `stop` must be multiples of {self.every}, or the end. "
                f"Received: {start}, {stop}."
            )
        columns = {name: i for i, name in enumerate(self._names)}
        places = {columns[name]: name for name in self.dtypes if name in columns}
        content = io.BytesIO(self._content(start, stop))
        # Where rows are of several lengths pandas wants to know of all columns.
        own = (sorted(places) or [0]) if self._width == len(columns) else None
        try:
            frame = csv_text.parse_cells(content, self._width, stop - start, own)
        except csv_text.UNREADABLE as error:
            # It counts the header as a row, and begins with the part.
            text = re.sub(
                r"(?<=at row )\d+", lambda m: f"{start + 1 + int(m[0])}", f"{error}"
            )
            raise csv_text.unreadable(self.path, ValueError(text)) from error
        if own is None:
            frame = frame.fillna("")
        frame = frame.apply(lambda column: column.str.strip())
        frame = frame.rename(columns=places).assign(**dict.fromkeys(self._absent, ""))
        return served_columns(frame, self.dtypes, self.path, self.missing, start)

    def _content(self, start: int, stop: int) -> bytes:
        begin = self._places[start // self.every]
        end = self._places[-(-stop // self.every)]
        if self._file is None:
            self._file = self._opener(self.path, "rb")
        # Of compressed files each step back is a pass from the beginning.
        if self._file.tell() != begin:
            self._file.seek(begin)
        return self._file.read(end - begin)

    def _scan(self) -> _Scan:
        position = self._first_position()

        def counted(stream):
            nonlocal position
            for line in csv_text.text_lines(stream):
                position += len(line if line.isascii() else line.encode("utf-8"))
                yield line

        with self._opener(self.path, "rt", encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(counted(stream))
            header = next((row for row in rows if not csv_text.is_blank(row)), [])
            scan = _Scan(header, [position], widest=len(header))
            check = self._row_check(scan)
            for row in rows:
                if len(row) < 2 and csv_text.is_blank(row):
                    continue
                check(row)
                scan.num_rows += 1
                if scan.num_rows % self.every == 0:
                    scan.places.append(position)
        if scan.num_rows % self.every:
            scan.places.append(position)
        scan.places[-1] = position
        self._settle_names(scan)
        return scan

    def _first_position(self) -> int:
        """How many bytes stand before the first line."""
        with self._opener(self.path, "rb") as file:
            return len(BYTE_ORDER_MARK) if file.read(3) == BYTE_ORDER_MARK else 0

    def _row_check(self, scan: _Scan) -> Callable[[list[str]], None]:
        """Refuses rows of a wrong length, and notes the first cell that is no number.

        What Python takes for a number and this package does not is refused when the
        row is read.
        """
        header = [name.strip() for name in scan.header]
        width, named = len(header), csv_text.count_named(header)
        numeric = [
            (place, name, float(np.finfo(self.dtypes[name]).max))
            for place, name in enumerate(header)
            if self.dtypes.get(name) is not None
        ]
        missing = {"", *self.missing}

        def check(row):
            if len(row) != named:
                self._check_size(scan, row, named, width)
            for place, name, largest in numeric:
                cell = row[place]
                try:
                    if -largest <= float(cell) <= largest:
                        continue
                except ValueError:
                    pass
                if cell.strip() not in missing and scan.bad_row is None:
                    if self._is_no_number(cell.strip(), name):
                        scan.bad_row = scan.num_rows

        return check

    def _check_size(self, scan: _Scan, row: list[str], named: int, width: int) -> None:
        size = len(row)
        scan.widest = max(scan.widest, size)
        filled = [i + 1 for i in range(named, size) if row[i].strip()]
        too_long = bool(filled) and filled[-1] > width
        if size < named or too_long:
            with _refusals():
                # A header without names is the fault that comes first.
                csv_text.check_names_above(scan.header, 1, self.path)
                csv_text.refuse_length(scan.num_rows, size, named, too_long, self.path)
        scan.last_filled = max([scan.last_filled, *filled])

    def _is_no_number(self, cell: str, name: str) -> bool:
        frame = require("pandas").DataFrame({name: [cell]}, dtype=object)
        try:
            served_columns(frame, {name: self.dtypes[name]}, self.path, self.missing)
        except ValueError:
            return True
        return False

    @_refusals()
    def _settle_names(self, scan: _Scan) -> None:
        csv_text.check_names_above(scan.header, scan.num_rows, self.path)
        names = [name.strip() for name in scan.header]
        named = csv_text.count_named(names)
        width = max(named, min(scan.last_filled, len(names)))
        if scan.widest > width:
            csv_text.warn_of_trailing(self.path)
        self._names = csv_text.full_names(names[:width], self.path)
        self._absent = absent_columns(
            self._names, self.dtypes, self.optional, self.path
        )
