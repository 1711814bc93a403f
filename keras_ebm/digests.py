"""Content hashes, which bind data, splits, models and exports to each other."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def array_digest(arrays: Sequence[np.ndarray]) -> str:
    """A SHA-256 of arrays with their types and shapes, in hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, in hexadecimal, by its path there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, expected: dict[str, str]) -> None:
    """Raises ValueError unless the files of an export are those that were written.

    Args:
        folder: of one version. A file that was not written then is none of an export.
        expected: what `file_digests` gave; empty for exports of earlier versions.
    """
    found = file_digests(folder) if expected else {}
    for name, digest in expected.items():
        if found.get(name) != digest:
            state = "has other content" if name in found else "is absent"
            raise ValueError(
                f"`model` must be as it was exported. Received: {folder}, where "
                f"{name} {state}; copy the whole folder again, or export again."
            )
