"""Checkpoints of a run's past, which samplers can cycle through."""

import os
from pathlib import Path

import keras

from keras_ebm import files
from keras_ebm.arguments import check_size

PATTERN = "step-*.keras"


class KeepCheckpoints(keras.callbacks.Callback):
    """Saves the model every so many steps and keeps the latest of them.

    Each is `step-NNNNNNNN.keras`, complete when it gets that name.

    Args:
        folder: where they go.
        every: int >= 1, steps between two; 300 in IGEBM's ensembles.
        keep: int >= 1, how many.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689: sampling with
          an ensemble of ten.
    """

    def __init__(self, folder: str | os.PathLike, every: int = 300, keep: int = 10):
        super().__init__()
        self.folder = Path(folder)
        self.every = check_size("every", every)
        self.keep = check_size("keep", keep)

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.optimizer.iterations.numpy())
        if step % self.every:
            return
        files.make_folder(self.folder)
        files.save_model(self.model, self.folder / f"step-{step:08d}.keras")
        for path in sorted(self.folder.glob(PATTERN))[: -self.keep]:
            path.unlink()
