"""Backs a run up again and again, so that it can be continued exactly."""

import contextlib
import shutil
import sys
import warnings
from pathlib import Path

import keras

from keras_ebm import files
from keras_ebm.callbacks.epoch_files import epoch_files, save_epoch
from keras_ebm.trainers.program import folders, json_files, keras_files
from keras_ebm.trainers.run.record import same_data

METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.csv"
#: What `keras_ebm.callbacks.Doctor` found.
DOCTOR_FILE = "doctor.json"
#: Folder of the best weights so far.
BEST = "best"


class EpochBackup(keras.callbacks.Callback):
    """Saves weights and optimizer states at the end of each epoch.

    The number of the epoch is part of the file's name, and the file gets that
    name when it is complete: a run that is stopped while it saves goes on
    from the epoch before. (Keras's `BackupAndRestore` overwrites the weights
    in place and keeps the epoch in a second file.) The backup before the
    latest stays, in case the latest cannot be read.

    An epoch after which training stops is not backed up: it may have stopped
    in the middle, and a run that goes on from the epoch before stops there
    again.

    Args:
        folder: where the backup goes; `all_backups` finds it there.
        history: file that other callbacks, called before this one, add a row to each
            epoch. A power cut leaves the rows of the epochs that are backed up.
    """

    KEEP = 2

    def __init__(self, folder, history=None):
        super().__init__()
        self.folder = Path(folder)
        self.history = history

    def on_epoch_end(self, epoch, logs=None):
        # Keras gives a model this attribute when it is compiled.
        if getattr(self.model, "stop_training", False):
            return
        if self.history is not None:
            files.sync(self.history)
            files.sync(Path(self.history).parent)
        save_epoch(self.model, self.folder, epoch + 1)
        for path, _ in all_backups(self.folder)[self.KEEP :]:
            path.unlink()


def all_backups(folder) -> list[tuple[Path, int]]:
    """The backups and how many epochs each has behind it, the newest first."""
    return epoch_files(folder)


def clear(folder) -> None:
    """Removes a folder of backups, at once: a kill leaves all of it or nothing.

    Nor does it come back by a power cut after this returns.
    """
    folder = Path(folder)
    removed = folder.with_name(f"{folder.name}-removed")
    shutil.rmtree(removed, ignore_errors=True)
    if not folder.is_dir():
        return
    # Another worker may remove it at the same time.
    with contextlib.suppress(FileNotFoundError):
        folder.rename(removed)
        files.sync(folder.parent)
        shutil.rmtree(removed, ignore_errors=True)


def clear_all(workdir: Path) -> None:
    """Removes from a run folder what a run that is finished no longer needs."""
    # The backups first: without them there is nothing to need the best for.
    clear(backup_folder(workdir))
    clear(workdir / BEST)


def begin(workdir: Path) -> None:
    """Makes the folder of backups anew: as long as it is there, a run is under way."""
    clear(backup_folder(workdir))
    files.make_folder(backup_folder(workdir))


def is_finished(workdir: Path) -> bool:
    """Whether the run in a folder came to its end, with a model and its measures.

    It did not where the measures are cut off, as a kill once left them.

    Raises:
        ValueError: if the measures are of another shape than any run writes.
    """
    if backup_folder(workdir).exists() or not (workdir / folders.MODEL_FILE).is_file():
        return False
    if not (workdir / METRICS_FILE).is_file():
        return False
    try:
        read_metrics(workdir)
    except ValueError as error:
        if json_files.is_cut_off(error):
            return False
        raise
    return True


def read_metrics(workdir: Path) -> dict:
    """The measures of a run that is finished, as `metrics.json` holds them."""
    return json_files.read_shaped(
        workdir / METRICS_FILE,
        {},
        "restore the file, or train anew without --resume and --auto_resume",
    )


def backup_folder(workdir: Path) -> Path:
    return workdir / folders.BACKUP_FOLDER


def is_done(fit) -> bool:
    """Whether `auto_resume` asks for a run that is finished."""
    return fit.auto_resume and is_finished(Path(fit.workdir))


def finished(fit) -> tuple[keras.Model, dict]:
    """The model and the measures of a run that is finished."""
    workdir = Path(fit.workdir)
    # A kill in the midst of that leaves some.
    clear_all(workdir)
    model = keras_files.load_model(workdir / folders.MODEL_FILE)
    return model, read_metrics(workdir)


def to_resume(run, fit) -> list:
    """Backups to go on from, the newest first; none for a new run."""
    if not (fit.resume or fit.auto_resume):
        return []
    workdir = Path(fit.workdir)
    backups = all_backups(backup_folder(workdir))
    if not backups and fit.auto_resume and not is_finished(workdir):
        return []
    if not backups and not fit.auto_resume:
        raise ValueError(
            "`resume` needs an interrupted run in `workdir`. Received: "
            f"workdir={workdir}, where none is to be continued; leave --resume out."
        )
    if not same_data(run, workdir):
        state = "interrupted" if backups else "finished"
        raise ValueError(
            f"`resume` needs the data, the split and the seed of the {state} run. "
            f"Received: others than those in {workdir / folders.RUN_FILE}."
        )
    _history_lines(workdir / HISTORY_FILE)  # Before any work, as it may be no text.
    return backups


def restore(model, backups) -> int:
    """Loads the newest backup that can be read; returns the epochs behind it."""
    for path, epoch in backups:
        try:
            with warnings.catch_warnings():
                # Keras warns about parts that it leaves as they were.
                warnings.simplefilter("error", UserWarning)
                model.load_weights(path)
        except OSError:
            sys.stderr.write(f"{path.name} is cut off: going on from the one before\n")
        except (ValueError, KeyError, UserWarning) as error:
            raise ValueError(
                "`resume` needs the networks and optimizers of the interrupted run. "
                f"Received: settings to which {path} does not fit; see flags.txt there."
            ) from error
        else:
            return epoch
    if backups:
        raise ValueError(
            "`resume` needs a backup that can be read. Received: "
            f"{backups[0][0].parent}, whose files are all cut off; remove it."
        )
    return 0


def keep_history(path: Path, epochs: int) -> None:
    """Leaves the header and the first `epochs` rows of a history, for appending."""
    if path.is_file():
        lines = _history_lines(path)
        files.write_text(path, "".join(lines[: epochs + 1] if epochs else []))


def _history_lines(path: Path) -> list[str]:
    """The lines of a history; none where there is no file.

    Raises:
        ValueError: if the file is no text.
    """
    try:
        text = path.read_text("utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be the text that a run wrote, a line an epoch. Received: a "
            f"file that is no text ({error}); restore or remove it."
        ) from error
    return text.splitlines(keepends=True)
