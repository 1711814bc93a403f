"""Files that are whole or not there: written beside, synced, then renamed.

What is kept goes through this module. A process that is killed, a disk that is full
and a power cut all leave the former file as it was. Two kinds of files are exempt, as
they grow while a run lasts: TensorBoard's logs, and the history that Keras's
`CSVLogger` appends to. Its rows are synced before the backup that counts them, and
those beyond it are dropped on resuming.
"""

import contextlib
import errno
import fcntl
import io
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import keras

#: How the names of what is not finished begin.
UNFINISHED = ".keras_ebm-unfinished-"


@contextlib.contextmanager
def written_beside(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a file that replaces `path` when the block ends without an error.

    The bytes are on the disk before the name changes, and the name before this
    returns. The permissions are those of the file that was there, or a new file's. A
    link stays one, and a device or a pipe is written to as it is.

    Args:
        path: the file to write, in a folder that exists.

    Yields:
        The binary file to write to.

    Raises:
        OSError: if it cannot be written; it names `path`, which is as before.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with naming(path), open(path, "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    with naming(path), _claimed(target.parent, _create_file) as claim:
        unfinished, descriptor = claim
        with open(descriptor, "wb", closefd=False) as file:
            if target.is_file():
                os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(descriptor)
            # Before it is closed, which frees it for `remove_unfinished`.
            os.replace(unfinished, target)
    with naming(path):
        sync(target.parent)


def write_bytes(path: str | os.PathLike, content: bytes | memoryview) -> None:
    """Writes bytes to a file; see `written_beside`."""
    with written_beside(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text as UTF-8, its line ends as they are; see `written_beside`."""
    write_bytes(path, text.encode("utf-8"))


def copy(source: str | os.PathLike, path: str | os.PathLike) -> None:
    """Copies a file, as `shutil.copytree` wants it; see `written_beside`."""
    with open(source, "rb") as original, written_beside(path) as file:
        shutil.copyfileobj(original, file)


class _Memory(io.BytesIO):
    """A file in memory, with the name by which Keras chooses a format."""

    def __init__(self, name: str):
        super().__init__()
        self.label = name

    def __str__(self) -> str:
        return self.label


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a Keras model as a `.keras` file; see `written_beside`.

    It is put together in memory: HDF5, which holds the weights, ends the process where
    a disk is full.
    """
    memory = _Memory("model.keras")
    model.save(memory)
    write_bytes(path, memory.getbuffer())


def save_weights(model: keras.Model, path: str | os.PathLike, **notes) -> None:
    """Writes a Keras model's weights, put together in memory as by `save_model`.

    Args:
        model: Keras model.
        path: of the HDF5 file.
        **notes: numbers and strings that are kept as the file's attributes.

    Raises:
        OSError: see `written_beside`.
    """
    memory = _Memory("model.weights.h5")
    model.save_weights(memory)
    with h5py.File(memory, "a") as file:
        file.attrs.update(notes)
    write_bytes(path, memory.getbuffer())


def make_folder(path: str | os.PathLike) -> None:
    """Creates a folder and those above it where they are absent, and syncs the names.

    Raises:
        OSError: if there is a file of that name, or the folder cannot be created.
    """
    path = Path(path)
    absent = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in absent:
        sync(folder.parent)


def sync(path: str | os.PathLike) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Of file systems that cannot sync a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: str | os.PathLike) -> None:
    """Waits until a folder and all that is below it are on the disk."""
    for parent, _, names in os.walk(Path(folder)):
        for name in names:
            sync(os.path.join(parent, name))
        sync(parent)


@contextlib.contextmanager
def staging_folder(parent: str | os.PathLike) -> Iterator[Path]:
    """A new folder in `parent` for the time of the block, then removed with all in it.

    Such folders of processes that were killed are removed first.
    """
    with _claimed(Path(parent), _create_folder) as (folder, _):
        yield folder


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Removes what processes that were killed left unfinished in a folder.

    A process that lives holds a lock on what it writes, which is left alone.
    """
    for path in Path(folder).glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if _lock(descriptor, wait=False):
                    _remove(path)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def _claimed(folder: Path, create) -> Iterator[tuple[Path, int]]:
    """Creates something under a locked name of its own, and removes it in the end.

    The name is known before anything has it, so that a signal at any moment leaves
    nothing behind.
    """
    with naming(folder):
        remove_unfinished(folder)
    path, descriptor = _new_name(folder), None
    try:
        with naming(folder):
            while descriptor is None:
                descriptor = create(path)
                _lock(descriptor, wait=True)
                # Between the two lines above another process may have taken it for a
                # dead one's, and have removed it.
                if not path.exists():
                    os.close(descriptor)
                    path, descriptor = _new_name(folder), None
        yield path, descriptor
    finally:
        try:
            _remove(path)
        except BaseException:  # A signal while this removes it.
            _remove(path)
            raise
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _new_name(folder: Path) -> Path:
    return folder / f"{UNFINISHED}{uuid.uuid4().hex[:12]}"


def _remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _create_file(path: Path) -> int:
    # The mode of any new file: what the user's mask leaves of it.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _create_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY)


def _lock(descriptor: int, wait: bool) -> bool:
    """Locks what is open until it is closed; whether that was possible."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # Another process has it, or the file system knows no locks.
        return False
    return True


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Gives an OSError inside the block the name of the file that it is about.

    One that names another file is left as it is, but for what is unfinished.
    """
    try:
        yield
    except OSError as error:
        another = error.filename and UNFINISHED not in str(error.filename)
        if error.errno is None or another:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
