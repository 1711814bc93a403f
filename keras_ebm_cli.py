"""The command `keras-ebm NAME --flag=value ...`, which runs a program of the package.

    keras-ebm                          lists the programs
    keras-ebm train-vera --help        explains one
    python -m keras_ebm_cli NAME ...   is the same, where the command is not on the path

It stands beside the package, as importing anything of that imports TensorFlow, which
takes seconds and writes notes that the user of a program has no use for.
"""

import ast
import contextlib
import difflib
import importlib.util
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

#: Module of each program by its name, in the order in which one meets them.
PROGRAMS = {
    "train-vera": "keras_ebm.trainers.vera",
    "train-langevin": "keras_ebm.trainers.langevin",
    "train-likelihood": "keras_ebm.trainers.likelihood",
    "adopt": "keras_ebm.trainers.adopt",
    "tune": "keras_ebm.trainers.tune",
    "evaluate": "keras_ebm.trainers.evaluate",
    "sample": "keras_ebm.trainers.sample",
    "bounds": "keras_ebm.trainers.bounds",
    "compose": "keras_ebm.trainers.compose",
    "restore": "keras_ebm.trainers.restore",
    "continual": "keras_ebm.trainers.continual",
    "attack": "keras_ebm.trainers.attack",
    "rollout": "keras_ebm.trainers.rollout",
    "export-classifier": "keras_ebm.export.classifier",
    "export-ood-scorer": "keras_ebm.export.ood_scorer",
    "predict": "keras_ebm.export.predict",
    "recalibrate": "keras_ebm.export.recalibrate",
    "monitor": "keras_ebm.export.monitor",
}


def description(name: str) -> str:
    """The first line of a program's docstring, read without importing it."""
    package, *rest = PROGRAMS[name].split(".")
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None
    file = Path(found.origin).parent.joinpath(*rest).with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    return (text or "").partition("\n")[0]


def listing() -> str:
    """All programs, a line each."""
    lines = [f"  {name:18s} {description(name)}" for name in PROGRAMS]
    return "\n".join(
        [
            "keras_ebm: energy-based models for Keras 3.",
            "",
            "keras-ebm NAME --flag=value ...; keras-ebm NAME --help explains one.",
            "",
            *lines,
            "",
        ]
    )


def run(name: str) -> None:
    """Runs a program with the arguments of this process after the first.

    Args:
        name: a key of `PROGRAMS`.
    """
    end_interrupts_in_one_line()
    import_tensorflow()
    runpy.run_module(PROGRAMS[name], run_name="__main__", alter_sys=True)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
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
    """Lets Ctrl-C end a program without a traceback while it is still importing."""

    def write(kind, error, traceback):
        if issubclass(kind, KeyboardInterrupt):
            sys.stderr.write("\ninterrupted\n")
        else:
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = write


def import_tensorflow() -> None:
    """Imports TensorFlow and wakes its devices, in silence."""
    if sys.argv[0] == "-m":
        # Python is importing a module that it will run as a program.
        end_interrupts_in_one_line()
    if "tensorflow" in sys.modules:
        return
    # 3 also hides notes that TensorFlow files under errors, such as that oneDNN has
    # no int32 on this processor. What fails raises in Python all the same.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


def main() -> None:
    """The command `keras-ebm`; the exit status is 2 where no program has the name."""
    name = sys.argv[1] if len(sys.argv) > 1 else "help"
    if name in ("help", "-h", "--help"):
        print(listing(), end="")
    elif name in ("version", "--version"):
        print(f"keras_ebm {version('keras_ebm')}")
    elif name in PROGRAMS:
        del sys.argv[1]
        run(name)
    else:
        near = difflib.get_close_matches(name, PROGRAMS, n=1)
        remedy = f"did you mean {near[0]}?" if near else "keras-ebm lists them."
        sys.stderr.write(
            "keras-ebm: error: the first argument must be the name of a program. "
            f"Received: {name!r}; {remedy}\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
