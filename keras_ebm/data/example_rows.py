"""Serialised `tf.train.Example`s of TFRecord files, read a part at a time."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

#: How files are compressed, by the end of their name.
COMPRESSION = {".gz": "GZIP", ".zlib": "ZLIB"}


class ExampleRows:
    """The records of a TFRecord file, as they are.

    One pass counts them and checks the sums that they are stored with, so that a file
    that is cut off is told before the first record is answered.

    Args:
        path: a TFRecord file, also compressed (`.gz`, `.zlib`).

    Raises:
        ValueError: if it cannot be read, or has no records.
    """

    def __init__(self, path: str | os.PathLike):
        self.path, self._stream, self._next = os.fspath(path), None, 0
        if not pathlib.Path(path).is_file():
            raise ValueError(
                f"`path` must be a TFRecord file. There is no file {path}."
            )
        try:
            counts = self._records().batch(4096).map(tf.size)
            self.num_rows = int(counts.reduce(0, lambda total, one: total + one))
        except tf.errors.OpError as error:
            raise ValueError(
                f"{path}: it must be a whole TFRecord file, compressed as its name "
                f"says. Received: {error.message.splitlines()[0][:200]}"
            ) from error
        if not self.num_rows:
            raise ValueError(
                f"{path}: there must be a record at least. Received: none."
            )

    def __getstate__(self):
        return self.__dict__ | {"_stream": None}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Records `start` to `stop`, bytes of shape `(stop - start,)`."""
        if self._stream is None or self._next != start:
            self._stream: Iterator | None = iter(
                self._records().skip(start).as_numpy_iterator()
            )
        self._next = stop
        return np.array([next(self._stream) for _ in range(stop - start)], object)

    def _records(self) -> tf.data.Dataset:
        suffix = pathlib.Path(self.path).suffix.lower()
        return tf.data.TFRecordDataset(self.path, COMPRESSION.get(suffix, ""))
