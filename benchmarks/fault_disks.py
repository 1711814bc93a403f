"""Disks that fill up, and disks whose power is cut."""

import contextlib
import filecmp
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

#: Bytes of a disk whose power is cut.
IMAGE_SIZE = 64 << 20
#: Nothing is written out before it is synced: neither by the clock nor, as ext4 does
#: else, since a file is renamed over another.
LAZY = "loop,commit=300,noauto_da_alloc"
ROOMY = "256m"


class CannotMount(Exception):
    """Disks cannot be mounted here, and why."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mounts an empty disk in memory, with room, at a folder, which is created.

    Raises:
        CannotMount: if that is not allowed.
    """
    folder.mkdir()
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs"):
        yield folder


def resize(folder: Path, size: int | str) -> None:
    """Gives a disk in memory another size: bytes, or text such as `64m`."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def used(folder: Path) -> int:
    """Bytes of a disk that are taken."""
    usage = shutil.disk_usage(folder)
    return usage.total - usage.free


def make_image(path: Path) -> None:
    """Makes a file with an empty ext4 in it.

    Raises:
        CannotMount: if there is no program for that.
    """
    with open(path, "wb") as file:
        file.truncate(IMAGE_SIZE)
    # Nothing is left to a thread of the kernel, which would write at any time.
    lazily = "lazy_itable_init=0,lazy_journal_init=0"
    _command("mkfs.ext4", "-q", "-F", "-E", lazily, path)


@contextlib.contextmanager
def image_disk(image: Path, folder: Path) -> Iterator[Path]:
    """Mounts a file with an ext4 in it at a folder.

    Its journal is replayed if it was not unmounted, as after a power cut.

    Raises:
        CannotMount: if that is not allowed.
    """
    folder.mkdir(exist_ok=True)
    with _mounted(folder, "-o", LAZY, image):
        yield folder


def sync(folder: Path) -> None:
    """Writes out what a disk's file system keeps in memory."""
    subprocess.run(["sync", "--file-system", folder], check=True)


def copy_as_it_is(image: Path, copy: Path) -> None:
    """Copies the file of a mounted disk: what a power cut would leave of the disk.

    What the disk's file system keeps in memory is not in the file, and is lost. Nobody
    may write to the disk meanwhile; it is copied until two copies in a row are equal,
    as the kernel may be about to end what it has begun.
    """
    shutil.copyfile(image, copy)
    while not filecmp.cmp(image, copy, shallow=False):
        shutil.copyfile(image, copy)


@contextlib.contextmanager
def _mounted(folder, *arguments):
    _command("mount", *arguments, folder)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def _command(*arguments):
    try:
        subprocess.run(arguments, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise CannotMount(error.stderr.strip()) from error
    except OSError as error:
        raise CannotMount(str(error)) from error
