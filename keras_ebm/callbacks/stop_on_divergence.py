"""Stops a run whose logs are no longer numbers."""

import math

import keras


class StopOnDivergence(keras.callbacks.Callback):
    """Stops training as soon as an epoch's log is not finite, and says which.

    Keras's own `TerminateOnNaN` looks at `loss` alone; a generator's or a
    posterior's loss can leave the numbers first. The reason stays in
    `self.reason`; a program should exit with an error when it is set.
    """

    def __init__(self):
        super().__init__()
        self.reason = None

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            if not math.isfinite(value):
                self.reason = (
                    f"training stopped: `{name}` was {value} at the end of epoch "
                    f"{epoch + 1}; lower the learning rates or the energy weight, "
                    "or raise the gradient penalty"
                )
                self.model.stop_training = True
                return
