"""Weights of a run's epochs in files that are never half written."""

import os
from pathlib import Path

import h5py
import keras

from keras_ebm import files

PATTERN = "epoch-*.weights.h5"


def save_epoch(
    model: keras.Model, folder: str | os.PathLike, epochs: int, **notes
) -> Path:
    """Saves weights and optimizer states as `epoch-NNNNNN.weights.h5`.

    The file gets that name when it is complete, so a process that is killed
    while it saves leaves the files that were there before.

    Args:
        model: Keras model.
        folder: where the file goes; created if absent.
        epochs: int, how many epochs the weights have behind them.
        **notes: numbers and strings that are kept in the same file; see
            `read_notes`.

    Returns:
        The path of the file.

    Raises:
        OSError: if it cannot be written, as where the disk is full.
    """
    files.make_folder(folder)
    path = Path(folder) / f"epoch-{epochs:06d}.weights.h5"
    files.save_weights(model, path, **notes)
    return path


def epoch_files(folder: str | os.PathLike) -> list[tuple[Path, int]]:
    """The files and how many epochs each has behind it, the newest first."""
    paths = sorted(Path(folder).glob(PATTERN), reverse=True)
    return [
        (path, int(path.name.split(".")[0].removeprefix("epoch-"))) for path in paths
    ]


def read_notes(path: str | os.PathLike) -> dict:
    """What `save_epoch` was given as `notes`.

    Raises:
        OSError: if the file is cut off.
    """
    with h5py.File(path, "r") as file:
        return dict(file.attrs)
