"""Zip files, such as `.npz` and `.keras`, looked at before they are unpacked."""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection

import numpy as np

#: How often the size of a file its contents may be, beyond `FREE_BYTES`. Rows of
#: ordinary data are compressed to a tenth, and a file of zeros to a thousandth.
MOST_EXPANSION = 100
#: Unpacked bytes up to which any file is read, however much smaller it is.
FREE_BYTES = 2**28
#: What goes wrong in reading an archive that is damaged or made up.
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def check_archive(path: str | os.PathLike) -> None:
    """Refuses a zip file that is cut off, or that holds far more than its size.

    Args:
        path: the file. What its directory says is looked at; nothing is unpacked.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is none of its kind, or unpacked would have more than 100
            times its size and 256 MiB, or than the machine has memory.
    """
    with open(path, "rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise ValueError("it is cut off or no file of its kind")
        try:
            with zipfile.ZipFile(stream) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
        except UNREADABLE as error:
            raise ValueError(f"its directory cannot be read: {error}") from error
    packed = os.path.getsize(path)
    limit = min(max(MOST_EXPANSION * packed, FREE_BYTES), _memory())
    if unpacked > limit:
        raise ValueError(
            f"unpacked it would have {unpacked} bytes, more than the {limit} that a "
            f"file of {packed} bytes may have"
        )


def read_arrays(
    path: str | os.PathLike, wanted: Collection[str]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads arrays of a `.npz` file without pickle.

    Args:
        path: the file.
        wanted: names of arrays; those that the file lacks are left out.

    Returns:
        `(arrays, names)`: the arrays by name, and the names of all in the file.

    Raises:
        ValueError: if the file is none of plain arrays, is refused by `check_archive`,
            or an array's header promises more than the file holds; with the reason.
    """
    try:
        check_archive(path)
        # numpy leaves a broken file open when it opens it itself.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            names = list(file.files)
            found = [name for name in wanted if name in names]
            for name in found:
                _check_header(file.zip, name)
            return {name: file[name] for name in found}, names
    except UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _check_header(archive: zipfile.ZipFile, name: str) -> None:
    """Refuses an array whose header promises more numbers than there are bytes."""
    member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
    formats = np.lib.format
    with archive.open(member) as stream:
        first = formats.read_magic(stream) == (1, 0)
        read = formats.read_array_header_1_0 if first else formats.read_array_header_2_0
        shape, _, dtype = read(stream)
        held = archive.getinfo(member).file_size - stream.tell()
    promised = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or (promised > held and not dtype.hasobject):
        raise ValueError(
            f"the array {name!r} says that it is {dtype} of shape {shape}, "
            f"{promised} bytes, but the file holds {held} of them"
        )


def _memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
