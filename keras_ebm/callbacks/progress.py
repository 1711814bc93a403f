"""One progress bar for a whole run."""

import sys

import keras

from keras_ebm.models.reporting import direction

#: What stands after a name whose values are better higher, or lower.
_ARROWS = {"up": "↑", "down": "↓"}
_WORDS = {"up": "(up)", "down": "(down)"}


class Progress(keras.callbacks.Callback):
    """A bar over epochs with the few numbers that matter, and where they should go.

    An arrow stands after the name of a log that says by itself how good a model is, as
    in `val_accuracy ↑`; energies have none (`keras_ebm.models.log_meanings`).

    Args:
        names: logs to show; those that a run does not have are left out.
    """

    NAMES = ("val_loss", "val_accuracy", "val_data_energy", "val_negative_energy")

    def __init__(self, names: tuple[str, ...] = NAMES):
        super().__init__()
        self.names = names
        self.bar = None

    def on_epoch_end(self, epoch, logs=None):
        titles = {name: titled(name) for name in self.names}
        # Made here, as only here a resumed run knows where it starts.
        if self.bar is None:
            self.bar = keras.utils.Progbar(
                self.params["epochs"],
                unit_name="epoch",
                stateful_metrics=list(titles.values()),
            )
        logs = logs or {}
        self.bar.update(
            epoch + 1, [(titles[name], logs[name]) for name in titles if name in logs]
        )


def titled(name: str) -> str:
    """A log's name and its direction, in what the terminal can write."""
    towards = direction(name)
    if towards is None:
        return name
    try:
        _ARROWS[towards].encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return f"{name} {_WORDS[towards]}"
    return f"{name} {_ARROWS[towards]}"
