"""The best weights of a run by one of its logs, in a file."""

import math
import os
from pathlib import Path

import keras

from keras_ebm.arguments import check_choice, check_positive, listed
from keras_ebm.callbacks.epoch_files import epoch_files, read_notes, save_epoch
from keras_ebm.models.reporting import direction


class KeepBest(keras.callbacks.Callback):
    """Saves the model when a log is better than ever, and ends with the best.

    Keras's `EarlyStopping(restore_best_weights=True)` keeps the best weights in
    memory, where a run that is killed loses them. Here they are a file, with
    the log's value in it and the number of the epoch in its name, and a run
    that is continued goes on from the best that the interrupted one had. All
    of the model's state is kept, as the optimizers' averages of weights belong
    to the best epoch as much as its weights do.

    Put it before the callback that backs the run up. A process that is killed
    between the two then finds, when it goes on from the backup before, a best
    file of an epoch that it has yet to run; such files do not count and are
    removed, and the run will write them again. As the best of an earlier epoch
    is needed then, the best of each of the last `BACK` epochs stays.

    Args:
        folder: where the files go; it belongs to this callback alone.
        monitor: name of the log, such as `"val_data_energy"`.
        mode: `"min"` or `"max"`, what the best value is. Defaults to `"max"` of an
            accuracy and to `"min"` of any other log.
        initial_epoch: int, as it is passed to `fit`: epochs that the run has
            behind it when it is continued. 0: files in `folder` are of another
            run, and are removed when training begins.
        tolerance: float >= 0, in units of the log. Above 0 the weights that are kept
            are the last ones whose value is no further than this from the best.

    Attributes:
        epoch: how many epochs the best weights have behind them; None as long
            as no value was a number.
        value: the log's value then; infinite as long as there is none.
        best: the best value so far, which without `tolerance` is that.

    Raises:
        ValueError: if `mode` breaks its rule, or the file to continue from is
            cut off or of another `monitor` or `mode`; in training, if there is
            no such log.

    Example:

    >>> best = KeepBest("runs/best", "val_accuracy")
    >>> model.fit(x, y, validation_data=held_out, callbacks=[best])
    """

    #: How many epochs before the last one a run may be continued from: a backup
    #: may be yet to be written, and the latest may be cut off.
    BACK = 2

    def __init__(
        self,
        folder: str | os.PathLike,
        monitor: str,
        mode: str | None = None,
        initial_epoch: int = 0,
        tolerance: float = 0.0,
    ):
        super().__init__()
        self.folder = Path(folder)
        self.monitor = monitor
        if mode is None:
            mode = "max" if direction(monitor) == "up" else "min"
        self.mode = check_choice("mode", mode, ("min", "max"))
        self.initial_epoch = initial_epoch
        self.tolerance = check_positive("tolerance", tolerance, zero_allowed=True)
        self._recall()

    def _recall(self):
        """Takes up the best of the epochs before the first."""
        self.path, self.epoch = None, None
        self.value = math.inf if self.mode == "min" else -math.inf
        self.best = self.value
        for path, epoch in epoch_files(self.folder):
            if epoch <= self.initial_epoch:
                self.value, self.best = self._values_in(path)
                self.path, self.epoch = path, epoch
                return

    def _values_in(self, path) -> tuple[float, float]:
        try:
            notes = read_notes(path)
        except OSError as error:
            raise ValueError(
                "`folder` must hold files that can be read. Received: "
                f"{path}, which is cut off; start the run anew."
            ) from error
        kept = notes.get("monitor"), notes.get("mode")
        if kept != (self.monitor, self.mode):
            raise ValueError(
                f"`monitor` and `mode` must be those of {path}: {kept}. "
                f"Received: monitor={self.monitor!r}, mode={self.mode!r}."
            )
        value = float(notes["value"])
        return value, float(notes.get("best", value))

    def on_train_begin(self, logs=None):
        self._recall()
        for path, epoch in epoch_files(self.folder):
            if epoch > self.initial_epoch:
                path.unlink()

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                "`monitor` must name a log. Received: "
                f"monitor={self.monitor!r}; the logs are {listed(sorted(logs))}."
            )
        value = float(logs[self.monitor])
        if self._is_kept(value):
            self.value, self.epoch = value, epoch + 1
            notes = {"monitor": self.monitor, "mode": self.mode, "value": value}
            self.best = (min if self.mode == "min" else max)(self.best, value)
            if self.tolerance:
                notes["best"] = self.best
            self.path = save_epoch(self.model, self.folder, self.epoch, **notes)
            self._remove_old()

    def _is_kept(self, value: float) -> bool:
        # What is not a number is no better than anything.
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > 0.0 or (self.tolerance > 0.0 and gain >= -self.tolerance)

    def _remove_old(self):
        earlier = [
            path
            for path, epoch in epoch_files(self.folder)
            if epoch <= self.epoch - self.BACK
        ]
        for path in earlier[1:]:
            path.unlink()

    def on_train_end(self, logs=None):
        self.restore(self.model)

    def restore(self, model: keras.Model) -> None:
        """Gives a model the best weights; leaves it as it is if there are none.

        Args:
            model: the trained one, or one like it.
        """
        if self.path is None:
            return
        model.load_weights(self.path)
        # As `fit` has done by now with the last weights: where an optimizer
        # averages weights, the averages are the model's.
        model.optimizer.finalize_variable_values(model.trainable_weights)
