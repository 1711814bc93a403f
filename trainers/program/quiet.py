"""Imports TensorFlow without its start-up chatter; errors still show."""

import contextlib
import os
import sys
import tempfile


@contextlib.contextmanager
def quiet_stderr():
    """Holds back what is written to file descriptor 2; replays it on an error."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def end_interrupts_in_one_line() -> None:
    """Lets Ctrl-C end a program without a traceback while it is still importing.

    Only where Python runs a module of the package as a program, which it says so.
    """
    if sys.argv[0] != "-m":
        return

    def write(kind, error, traceback):
        if issubclass(kind, KeyboardInterrupt):
            sys.stderr.write("\ninterrupted\n")
        else:
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = write


def import_tensorflow() -> None:
    """Imports TensorFlow and wakes its devices, in silence."""
    end_interrupts_in_one_line()
    if "tensorflow" in sys.modules:
        return
    # 3 also hides notes that TensorFlow files under errors, such as that oneDNN has
    # no int32 on this processor. What fails raises in Python all the same.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
