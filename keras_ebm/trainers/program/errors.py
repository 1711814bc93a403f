"""Errors of what the user gave, and of the system, in one line."""

from absl import app


def is_of_a_disk(error: Exception) -> bool:
    """Whether an error is one of reading or writing files, of Python or TensorFlow."""
    return isinstance(error, OSError) or "No space left on device" in str(error)


def disk_error(error: Exception) -> str:
    """An error of reading or writing files as text: the file, if known, and why."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


class usage_errors:
    """Turns an error in what the user gave, inside the block, into a usage error.

    These are `ValueError`, `ImportError` and `OSError`. Keep work that can
    only fail by a fault of the program out of the block.
    """

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, ValueError | ImportError | OSError):
            raise app.UsageError(str(error)) from error
        return False
