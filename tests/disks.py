"""Small disks, which tests fill."""

import contextlib
import subprocess

import pytest


@contextlib.contextmanager
def disk(folder, size):
    """Mounts an empty disk of a size such as `100k` at a folder, which is created."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def grow(folder, size):
    """Gives a disk that is mounted another size."""
    _mount("-o", f"remount,size={size}", folder)


def _mount(*arguments):
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"A small disk cannot be mounted here: {error}")
