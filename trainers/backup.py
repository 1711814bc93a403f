"""Backs a run up after each epoch, so that it can be continued exactly."""

import shutil
from pathlib import Path

import keras

_PATTERN = "epoch-*.weights.h5"


class EpochBackup(keras.callbacks.Callback):
    """Saves weights and optimizer states at the end of each epoch.

    The number of the epoch is part of the file's name, and the file gets that
    name when it is complete: a run that is stopped while it saves goes on
    from the epoch before. (Keras's `BackupAndRestore` overwrites the weights
    in place and keeps the epoch in a second file.)

    Args:
        folder: where the backup goes; `latest` finds it there.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)

    def on_epoch_end(self, epoch, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        old = list(self.folder.glob(_PATTERN))
        unfinished = self.folder / "unfinished.weights.h5"
        self.model.save_weights(unfinished, overwrite=True)
        unfinished.rename(self.folder / f"epoch-{epoch + 1:06d}.weights.h5")
        for path in old:
            path.unlink()


def latest(folder) -> tuple[Path | None, int]:
    """Returns the newest backup and how many epochs it has behind it."""
    paths = sorted(Path(folder).glob(_PATTERN))
    if not paths:
        return None, 0
    return paths[-1], int(paths[-1].name.split(".")[0].removeprefix("epoch-"))


def clear(folder) -> None:
    """Removes what `EpochBackup` wrote."""
    shutil.rmtree(folder, ignore_errors=True)
