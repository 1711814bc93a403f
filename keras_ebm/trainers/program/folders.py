"""Folders and files of the programs: what may be written, and where."""

import os
import tempfile
from pathlib import Path

from absl import app

from keras_ebm import data, files
from keras_ebm.trainers.program.errors import disk_error, usage_errors
from keras_ebm.trainers.program.options import FLAGS, own_flags, require

MODEL_FILE = "model.keras"
RUN_FILE = "run.json"
SPLIT_FILE = "split.npz"
#: The score that `keras-ebm evaluate --choose_score` chose.
SCORE_FILE = "score.json"
#: Folder of a run that is under way: its backups, and its record until it has a model.
BACKUP_FOLDER = "backup"
FLAGS_FILE = "flags.txt"
#: Tables and arrays that a run or a search writes into its folder.
RUN_TABLES = ("history.csv", "trials.csv", SPLIT_FILE)


def require_folder(name: str) -> Path:
    """Returns the path in a flag, which must be a folder or be free to become one.

    Nothing is created yet.
    """
    folder = Path(require(name))
    try:
        if folder.exists() and not folder.is_dir():
            raise app.UsageError(
                f"--{name} must be a folder. Received: {folder}, which is a file."
            )
        _try_to_write(folder)
    except OSError as error:
        raise _not_writable(name, folder, error) from error
    return folder


def require_file(name: str) -> Path:
    """Returns the path of a file that can be written, before the work for it.

    Nothing is created yet: `make_parent` makes its folder.
    """
    path = Path(require(name))
    try:
        if path.is_dir():
            raise app.UsageError(
                f"--{name} must be a file. Received: {path}, which is a folder."
            )
        # A device, such as /dev/stdout, is written to where it is.
        if not path.exists() or path.is_file():
            _try_to_write(path.parent)
    except OSError as error:
        raise _not_writable(name, path, error) from error
    return path


def beside_model(model: str, name: str) -> Path:
    """The path of a file in a model's folder, which must take it."""
    path = Path(model).parent / name
    try:
        _try_to_write(path.parent)
    except OSError as error:
        raise _not_writable("model", path, error) from error
    return path


def make_parent(path: Path) -> None:
    """Creates the folder of a file that is about to be written."""
    files.make_folder(Path(path).parent)


def _try_to_write(folder: Path) -> None:
    """Raises OSError unless a file can be created in a folder, or where it would be.

    What the rights say is not enough: a disk may be read-only, and root has them all.
    """
    folder = folder.absolute()
    while not os.path.lexists(folder):
        folder = folder.parent
    with tempfile.TemporaryFile(dir=os.path.realpath(folder)):
        pass


def _not_writable(name: str, path: Path, error: OSError) -> app.UsageError:
    return app.UsageError(
        f"--{name} must be a path that can be written. Received: {path} "
        f"({disk_error(error)}); choose another folder or its rights."
    )


def check_apart(written: dict, read: dict | None = None) -> None:
    """Refuses outputs that would overwrite one another, or what is read.

    Args:
        written: path by the name of its flag; empty where there is none.
        read: likewise of inputs.

    Raises:
        app.UsageError: if two flags name one file, and at least one is written.
    """
    seen = {os.path.realpath(path): name for name, path in (read or {}).items() if path}
    for name, path in written.items():
        other = seen.setdefault(os.path.realpath(path), name) if path else name
        if other != name:
            # A flag, or what is read without one.
            other = f"--{other}" if other in FLAGS else other
            raise app.UsageError(
                f"--{name} must be another file than {other}, which it would "
                f"overwrite. Received: {path} for both; choose another path."
            )


def files_of_run(model: str) -> dict[str, str]:
    """What a model is read from, by name for `check_apart`: its file and its record."""
    folder = Path(model).parent
    beside = {str(folder / name): str(folder / name) for name in (RUN_FILE, SPLIT_FILE)}
    return {"model": model, **beside}


def files_of_spec(name: str, spec: str) -> dict[str, str]:
    """The file that a dataset's spec names, by `name`; empty where it names none."""
    path = data.file_of(spec)
    return {} if path is None else {name: path}


def check_workdir(dataset: str) -> None:
    """Refuses a dataset that is a file of `--workdir` which a run writes anew."""
    for path in files_of_spec("dataset", dataset).values():
        written = (os.path.join(FLAGS.workdir, name) for name in RUN_TABLES)
        if os.path.realpath(path) in map(os.path.realpath, written):
            raise app.UsageError(
                "--dataset must be no file that a run writes into --workdir, as it "
                f"would be overwritten. Received: {path}; choose another folder, or "
                "rename the file."
            )


def start_run(folder: Path) -> None:
    """Creates the run folder and writes `flags.txt`, usable as `--flagfile`."""
    with usage_errors():
        files.make_folder(folder)
    lines = [
        flag.serialize()
        for flag in own_flags()
        if flag.value is not None and flag.name != "resume"
    ]
    text = "\n".join(line for line in lines if line)
    files.write_text(folder / FLAGS_FILE, text + "\n")


def own_folder(workdir, is_chief: bool) -> Path:
    """Where a worker writes: the run's folder, or one aside if it is not the first."""
    if is_chief:
        return Path(workdir)
    return Path(tempfile.gettempdir()) / f"keras_ebm-worker-{os.getpid()}"
