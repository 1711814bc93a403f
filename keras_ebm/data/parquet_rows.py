"""Rows of Parquet files, read a part at a time."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.frames import plain_column
from keras_ebm.data.optional import require
from keras_ebm.data.schema import MISSING
from keras_ebm.data.tables import absent_columns, served_columns

#: Rows that are decoded together at most.
BATCH = 32768


class ParquetRows:
    """The columns of a Parquet file that a served table takes.

    A null and NaN are missing. Numbers in a column of words count as their text, and
    words in a column of numbers as the numbers that they write, as in a csv file.

    Args:
        path: a Parquet file.
        dtypes: see `read_columns`.
        missing: texts that stand for "no value", the empty one always among them.
        optional: names of columns that the file may lack.

    Raises:
        ValueError: if the file cannot be read, has no rows, lacks a column, or one has
            cells that are no text, number, boolean or time.
        ImportError: if `pyarrow` is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        dtypes: Mapping[str, np.dtype | None],
        missing: Sequence[str] = MISSING,
        optional: Sequence[str] = (),
    ):
        self.path, self.dtypes, self.missing = os.fspath(path), dict(dtypes), missing
        if not pathlib.Path(path).is_file():
            raise ValueError(f"`path` must be a Parquet file. There is no file {path}.")
        with self._open() as file:
            schema, self.num_rows = file.schema_arrow, file.metadata.num_rows
            self._groups = [
                file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)
            ]
        if not self.num_rows:
            raise ValueError(f"{path}: there must be a row at least. Received: none.")
        found = self._names(schema)
        self._absent = absent_columns(list(found), dtypes, optional, path)
        self._own = {found[name]: name for name in dtypes if name in found}
        self._check_types(schema)
        self._stream: Iterator | None = None
        self._left, self._next = None, 0

    def __getstate__(self):
        return self.__dict__ | {"_stream": None, "_left": None}

    def read(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Rows `start` to `stop` as `read_columns` gives them.

        Raises:
            ValueError: if a cell that should be a number is none.
        """
        frame = self._frame(start, stop) if self._own else {}
        columns = {
            name: self._cells(frame[own], name) for own, name in self._own.items()
        }
        empty = require("pandas").Series([""] * (stop - start), dtype=object)
        columns |= dict.fromkeys(self._absent, empty)
        return served_columns(columns, self.dtypes, self.path, self.missing, start)

    def _frame(self, start: int, stop: int) -> Any:
        """Rows as a pandas `DataFrame`; those that follow each other are read on."""
        if self._stream is None or self._next != start:
            self._stream, self._left = self._batches(start), None
        parts, wanted = [], stop - start
        while wanted:
            batch = next(self._stream) if self._left is None else self._left
            part = batch.slice(0, wanted)
            self._left = batch.slice(wanted) if batch.num_rows > wanted else None
            parts.append(part)
            wanted -= part.num_rows
        self._next = stop
        return require("pyarrow").Table.from_batches(parts).to_pandas()

    def _batches(self, start: int) -> Iterator:
        """Batches of rows from one on."""
        first, group = 0, 0
        while first + self._groups[group] <= start:
            first, group = first + self._groups[group], group + 1
        with self._open() as file:
            groups = range(group, len(self._groups))
            for batch in file.iter_batches(BATCH, groups, list(self._own)):
                skipped = min(start - first, batch.num_rows)
                first += skipped
                if batch.num_rows > skipped:
                    yield batch.slice(skipped)

    def _open(self):
        try:
            return require("pyarrow.parquet").ParquetFile(self.path)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{self.path}: it could not be read as Parquet: {error}"
            ) from error

    def _names(self, schema) -> dict[str, str]:
        """Names in the file by themselves without spaces around them."""
        names = [name.strip() for name in schema.names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"{self.path}: column names must differ in more than spaces. Received "
                f"twice: {listed(map(repr, twice))}. Rename one of each."
            )
        return dict(zip(names, schema.names, strict=True))

    def _check_types(self, schema) -> None:
        types = require("pyarrow").types
        for own in self._own:
            kind = schema.field(own).type
            inner = kind.value_type if types.is_dictionary(kind) else kind
            if types.is_nested(inner) or types.is_duration(inner) or _is_bytes(inner):
                raise ValueError(
                    f"{self.path}: a column must hold texts, numbers, booleans or "
                    f"times. Received: {kind} in column {own!r}. Write it otherwise."
                )

    def _cells(self, cells, name):
        """A column as texts or numbers, as `served_columns` takes it."""
        if require("pandas").api.types.infer_dtype(cells, skipna=True) == "string":
            cells = cells.astype(object)
            return cells.where(cells.notna(), "").str.strip()
        return plain_column(cells, name, words=self.dtypes[name] is None)


def _is_bytes(kind) -> bool:
    types = require("pyarrow").types
    return any(
        is_one(kind)
        for is_one in (
            types.is_binary,
            types.is_large_binary,
            types.is_fixed_size_binary,
        )
    )
