"""The rows that `keras-ebm predict` answers, of each source, a part at a time."""

import hashlib
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_ebm import data
from keras_ebm.archives import read_arrays
from keras_ebm.arguments import listed
from keras_ebm.data.schema import EARLIER_MISSING
from keras_ebm.digests import file_digest
from keras_ebm.export.answering import BATCH, TABLE_BATCH
from keras_ebm.rows import as_rows, num_rows

#: Sources of files of many rows that `keras_ebm.data.SOURCES` has not, by name.
MORE_SOURCES = {
    "parquet": "parquet:PATH",
    "tfrecord": "tfrecord:PATH of tf.train.Examples",
}
#: Rows that are read, answered and kept together: of a table, and others.
TABLE_CHUNK, CHUNK = 32768, 512
EXAMPLES = "examples"


class Part(NamedTuple):
    """Some of the rows.

    Args:
        request: arrays `(rows, ...)` by the names of the signature's inputs.
        files: paths of the rows below a folder of images, else None.
        broken: paths of files of this part that were left out.
    """

    request: dict
    files: list[str] | None = None
    broken: list[str] = []


class Rows:
    """Rows of a source.

    Attributes:
        spec: str, the source.
        num_rows: int, the number of rows, or of files of which some may be left out.
        batch: int, rows that a signature is asked together.
        chunk: int, rows that are read together, a multiple of `batch`.
        signature: str, name of the only signature that takes them, or `""`.
        is_far: bool, whether another machine can read them by their path.
    """

    batch, chunk, signature, is_far = BATCH, CHUNK, "", True

    def __init__(self, spec: str):
        self.spec = spec

    def read(self, start: int, stop: int) -> Part:
        """The rows `start`, a multiple of `chunk`, to `stop`."""
        raise NotImplementedError

    def digest(self) -> str:
        """What tells the source from another one, or from the same with a change."""
        return file_digest(file_of(self.spec))

    def finish(self, broken: list[str], num_read: int) -> None:
        """Tells of what was passed over, once all is read."""


class TableRows(Rows):
    """Columns of a csv or Parquet file."""

    batch, chunk = TABLE_BATCH, TABLE_CHUNK

    def __init__(self, spec: str, settings, card: dict, specs: dict):
        super().__init__(spec)
        self.chunk = chunk_of(settings, self)
        self.names = card["columns"]
        types = {name: specs[served].dtype for name, served in self.names.items()}
        dtypes = {
            name: None if dtype == tf.string else np.dtype(dtype.as_numpy_dtype)
            for name, dtype in types.items()
        }
        # An export of an earlier version says nothing of them.
        missing = card.get("missing", EARLIER_MISSING)
        given = file_of(spec), dtypes, missing, settings.optional_columns
        if data.parse_spec(spec).source == "csv":
            self.table = data.CsvRows(*given, every=self.chunk)
        else:
            self.table = data.ParquetRows(*given)
        self.num_rows = self.table.num_rows

    def read(self, start, stop):
        columns = self.table.read(start, stop)
        return Part({self.names[name]: values for name, values in columns.items()})


class ExampleRows(Rows):
    """Records of a TFRecord file, for the signature that takes examples."""

    signature = EXAMPLES

    def __init__(self, spec: str, settings, card: dict):
        super().__init__(spec)
        if "columns" in card:
            self.batch, self.chunk = TABLE_BATCH, TABLE_CHUNK
        self.chunk = chunk_of(settings, self)
        self.records = data.ExampleRows(file_of(spec))
        self.num_rows = self.records.num_rows

    def read(self, start, stop):
        return Part({"inputs": self.records.read(start, stop)})


class FolderRows(Rows):
    """Images of a folder; those that are broken may be left out."""

    def __init__(self, spec: str, settings, name: str, expected: tf.TensorSpec):
        super().__init__(spec)
        self.chunk = chunk_of(settings, self)
        self.name, self.expected = name, expected
        folder = data.parse_spec(spec).name
        self.images = data.ImageRows(folder, settings.skip_broken_images)
        self.num_rows = self.images.num_rows

    def read(self, start, stop):
        x, files, broken = self.images.read(start, stop)
        if files:
            x = data.fit_folder(self.spec, x, tuple(self.expected.shape[1:]))
            x = fitting(self.spec, x, self.expected)
        return Part({self.name: x}, files, broken)

    def digest(self):
        return hashlib.sha256(repr(self.images.stamps()).encode()).hexdigest()

    def finish(self, broken, num_read):
        self.images.tell_skipped(broken, num_read)


class ArrayRows(Rows):
    """Rows that are in memory as a whole."""

    chunk, is_far = 8192, False

    def __init__(self, spec: str, settings, request: dict):
        super().__init__(spec)
        self.chunk = chunk_of(settings, self)
        self.request = request
        self.num_rows = len(next(iter(request.values())))

    def read(self, start, stop):
        return Part({name: part[start:stop] for name, part in self.request.items()})

    def digest(self):
        digest = hashlib.sha256()
        for name, part in sorted(self.request.items()):
            digest.update(f"{name}{part.dtype}{part.shape}".encode())
            # Of texts an array holds where they are.
            whole = repr(part.tolist()).encode() if part.dtype == object else part
            digest.update(whole if isinstance(whole, bytes) else whole.tobytes())
        return digest.hexdigest()


def forms() -> list[str]:
    """How a spec of each source is written."""
    return [*data.forms(with_options=True), *MORE_SOURCES.values()]


def file_of(spec: str) -> str | None:
    """The path of the file that a spec names; None where it names none."""
    source, path = data.parse_spec(spec)
    if source in MORE_SOURCES:
        return os.path.expanduser(path or "")
    return data.file_of(spec)


def absolute(spec: str) -> str:
    """The spec of a file or folder of images with a path from the root."""
    source, name = data.parse_spec(spec)
    if not name or (source != "images" and file_of(spec) is None):
        return spec
    return f"{source}:{os.path.abspath(os.path.expanduser(name))}"


def chunk_of(settings, rows: Rows) -> int:
    """Rows that are read together: those of the flag, or of the kind of rows.

    Raises:
        ValueError: if the flag is no multiple of the batch.
    """
    given = settings.chunk_rows or rows.chunk
    if given % rows.batch:
        raise ValueError(
            f"`chunk_rows` must be a multiple of {rows.batch}, the rows of a batch. "
            f"Received: {given}; choose {max(given // rows.batch, 1) * rows.batch}."
        )
    return given


def open_rows(settings, card: dict, specs: dict) -> Rows:
    """The rows of a source, ready to be read.

    Args:
        settings: `keras_ebm.export.predict.PredictSettings`.
        card: the export's, see `keras_ebm.serving`.
        specs: the signature's `TensorSpec`s by name.

    Raises:
        ValueError: if they cannot be read or are none of the model's.
    """
    spec = settings.dataset
    source, path = data.parse_spec(spec)
    if source == "tfrecord" and path:
        return ExampleRows(spec, settings, card)
    if "columns" in card:
        if source not in ("csv", "parquet") or not path:
            raise ValueError(
                "`dataset` must be csv:PATH, parquet:PATH or tfrecord:PATH, as the "
                f"model takes the columns of a table. Received: dataset={spec!r}."
            )
        return TableRows(spec, settings, card, specs)
    if source in MORE_SOURCES:
        rule = "have a path" if not path else "be of a table's columns"
        raise ValueError(
            f"`dataset` must {rule}, to be {source}:PATH. Received: dataset={spec!r}."
        )
    served = card.get("inputs", {"inputs": "inputs"})
    (name, *others) = served.values()
    expected = specs[name]
    if others or expected.dtype == tf.string:
        return ArrayRows(spec, settings, _arrays(spec, served, specs))
    if source == "images" and path:
        return FolderRows(spec, settings, name, expected)
    return ArrayRows(spec, settings, {name: _single(settings, expected)})


def _single(settings, expected: tf.TensorSpec) -> np.ndarray:
    """The array of a model with one input."""
    spec = settings.dataset
    dtype = expected.dtype.name if expected.dtype.is_floating else None
    x = data.read(spec, data_dir=settings.data_dir or None, dtype=dtype).x
    if data.parse_spec(spec).source == "python":
        # A cell a row may lack the axis that the model has.
        x = as_rows(x, "dataset", expected)
    return fitting(spec, x, expected)


def fitting(spec: str, x: np.ndarray, expected: tf.TensorSpec) -> np.ndarray:
    """Rows in the type of a model's input.

    Raises:
        ValueError: if they are of another shape, or the type cannot hold them.
    """
    x = _in_type(x, expected.dtype.as_numpy_dtype)
    if not expected.is_compatible_with(tf.TensorSpec(x.shape, x.dtype)):
        raise ValueError(
            f"`dataset` must hold rows of shape {tuple(expected.shape[1:])} and type "
            f"{expected.dtype.name}. Received: {spec}, of shape {x.shape[1:]} and type "
            f"{x.dtype}.{data.size_remedy(spec, tuple(expected.shape[1:]))}"
        )
    return x


def _in_type(x: np.ndarray, dtype) -> np.ndarray:
    """Rows in another type, where that holds all their numbers."""
    if x.dtype == dtype:
        return x
    cast = x.astype(dtype)
    return cast if np.array_equal(cast, x) else x


def _arrays(spec: str, served: dict, specs: dict) -> dict:
    """Arrays for each input of a model, of an npz file or of a function."""
    source, path = data.parse_spec(spec)
    if source == "python" and path:
        arrays = data.read(spec).x
        if not isinstance(arrays, dict):
            arrays = {next(iter(served)): arrays}
    elif source == "npz" and path:
        arrays = _named_arrays(path, served)
    else:
        raise ValueError(
            "`dataset` must be npz:PATH with an array for each input of the model, "
            f"{listed(served)}, or python:MODULE:FUNCTION, which returns a dict of "
            f"them. Received: dataset={spec!r}."
        )
    own_specs = {own: specs[name] for own, name in served.items()}
    rows = as_rows(arrays, "dataset", own_specs)
    if not num_rows(rows):
        raise ValueError(f"{spec}: it must hold one row at least. Received: none.")
    return {
        name: _as_input(rows[own], own, specs[name]) for own, name in served.items()
    }


def _named_arrays(path: str, served: dict) -> dict:
    """Arrays of an npz file, by the names of a model's inputs."""
    path = os.path.expanduser(path)
    try:
        arrays, names = read_arrays(path, tuple(served))
    except ValueError as error:
        raise ValueError(
            f"{path}: it must be a file of np.savez, of numbers and of strings as "
            f'.astype("U") makes them. Received: {error}.'
        ) from error
    absent = [own for own in served if own not in arrays]
    if absent:
        raise ValueError(
            f"{path}: it must hold an array for each input of the model, "
            f"{listed(served)}. Received: {listed(names) or 'no array'}."
        )
    return arrays


def _as_input(part: np.ndarray, own: str, spec: tf.TensorSpec) -> np.ndarray:
    """An array in the type of its input; integers must be the same numbers in it."""
    if spec.dtype == tf.string:
        return part
    with np.errstate(invalid="ignore"):  # Of NaN, which is told of below.
        cast = part.astype(spec.dtype.as_numpy_dtype)
    if spec.dtype.is_integer and not np.array_equal(cast, part):
        place = tuple(int(axis[0]) for axis in np.nonzero(cast != part))
        raise ValueError(
            f"`dataset[{own!r}]` must hold numbers of {spec.dtype.name}. Received: "
            f"{part[place]} at {place}."
        )
    return cast
