"""Serialised `tf.train.Example`s of TFRecord files, read a part at a time."""

import gzip
import itertools
import os
import pathlib
import re
import zlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

#: How files are compressed, by the end of their name.
COMPRESSION = {".gz": "GZIP", ".zlib": "ZLIB"}
#: Bytes of a record beside its own: its length, and two sums.
FRAME = 16
BLOCK = 1 << 20


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
        self.path, self._next = os.fspath(path), 0
        self._stream: Iterator | None = None
        if not pathlib.Path(path).is_file():
            raise ValueError(
                f"`path` must be a TFRecord file. There is no file {path}."
            )
        try:
            sizes = self._records().batch(4096).map(_sizes).as_numpy_iterator()
            total = sum(sizes, np.zeros(2, np.int64))
            self.num_rows, size = int(total[0]), int(total[1])
            if size != self._size():
                raise tf.errors.DataLossError(None, None, "it ends within a record")
        except (tf.errors.OpError, EOFError, OSError, zlib.error) as error:
            message = plain_message(error)
            raise ValueError(
                f"{path}: it must be a whole TFRecord file, compressed as its name "
                f"says. Received: {message}"
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
            self._stream = iter(self._records().skip(start).as_numpy_iterator())
        self._next = stop
        return np.array(list(itertools.islice(self._stream, stop - start)), object)

    def _size(self) -> int:
        """How many bytes the file has, or had before it was compressed.

        TensorFlow takes a header that is cut off for the end of the file.
        """
        compression = self._compression()
        if not compression:
            return os.path.getsize(self.path)
        if compression == "GZIP":
            with gzip.open(self.path) as file:
                return sum(map(len, iter(lambda: file.read(BLOCK), b"")))
        inflate, total = zlib.decompressobj(), 0
        with open(self.path, "rb") as file:
            for block in iter(lambda: file.read(BLOCK), b""):
                total += len(inflate.decompress(block))
        return total + len(inflate.flush())

    def _compression(self) -> str:
        return COMPRESSION.get(pathlib.Path(self.path).suffix.lower(), "")

    def _records(self) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(self.path, self._compression())


def plain_message(error: Exception) -> str:
    """The first line of an error without TensorFlow's names of its operations."""
    text = getattr(error, "message", str(error)) or type(error).__name__
    return re.sub(r"\{\{[^}]*\}\} ?| \[Op:[^]]*\]", "", text.splitlines()[0])[:300]


def _sizes(records: tf.Tensor) -> tf.Tensor:
    """How many records there are, and how many bytes they take in a file."""
    lengths = tf.strings.length(records)
    count = tf.size(records, tf.int64)
    return tf.stack([count, FRAME * count + tf.reduce_sum(tf.cast(lengths, tf.int64))])
