"""Backs a run up again and again, so that it can be continued exactly."""

import shutil
from pathlib import Path

import keras

_PATTERN = "epoch-*.weights.h5"


class EpochBackup(keras.callbacks.Callback):
    """Saves weights and optimizer states at the end of each epoch.

    The number of the epoch is part of the file's name, and the file gets that
    name when it is complete: a run that is stopped while it saves goes on
    from the epoch before. (Keras's `BackupAndRestore` overwrites the weights
    in place and keeps the epoch in a second file.) The backup before the
    latest stays, in case the latest cannot be read.

    Args:
        folder: where the backup goes; `all_backups` finds it there.
    """

    KEEP = 2

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)

    def on_epoch_end(self, epoch, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / "unfinished.weights.h5"
        self.model.save_weights(unfinished, overwrite=True)
        unfinished.rename(self.folder / f"epoch-{epoch + 1:06d}.weights.h5")
        for path in sorted(self.folder.glob(_PATTERN))[: -self.KEEP]:
            path.unlink()


def all_backups(folder) -> list[tuple[Path, int]]:
    """The backups and how many epochs each has behind it, the newest first."""
    paths = sorted(Path(folder).glob(_PATTERN), reverse=True)
    return [
        (path, int(path.name.split(".")[0].removeprefix("epoch-"))) for path in paths
    ]


def clear(folder) -> None:
    """Removes what `EpochBackup` wrote."""
    shutil.rmtree(folder, ignore_errors=True)
