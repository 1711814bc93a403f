"""One progress bar for a whole run."""

import keras


class Progress(keras.callbacks.Callback):
    """A bar over epochs with the few numbers that matter.

    Args:
        names: logs to show; those that a run does not have are left out.
    """

    NAMES = ("val_loss", "val_accuracy", "val_data_energy", "val_negative_energy")

    def __init__(self, names: tuple[str, ...] = NAMES):
        super().__init__()
        self.names = names
        self.bar = None

    def on_epoch_end(self, epoch, logs=None):
        # Made here, as only here a resumed run knows where it starts.
        if self.bar is None:
            self.bar = keras.utils.Progbar(
                self.params["epochs"], unit_name="epoch", stateful_metrics=self.names
            )
        shown = [(name, logs[name]) for name in self.names if name in (logs or {})]
        self.bar.update(epoch + 1, shown)
