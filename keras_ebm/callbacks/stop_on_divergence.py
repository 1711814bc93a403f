"""Stops a run whose logs are no longer numbers, or have left their range."""

import math

import keras

from keras_ebm.arguments import check_positive


class StopOnDivergence(keras.callbacks.Callback):
    """Stops training as soon as a log is not finite or out of range, and says which.

    Keras's own `TerminateOnNaN` looks at `loss` alone; a generator's or a
    posterior's loss can leave the numbers first, and the energies of Markov
    chains run off long before they do. Logs are looked at after every batch;
    they are means over the epoch so far. The reason stays in `self.reason`; a
    program should exit with an error when it is set.

    Args:
        limits: dict of name to the largest absolute value that a log of this name
            may have, such as `{"negative_energy": 1e5}` in nats.

    Raises:
        ValueError: if a limit is not above 0.
    """

    def __init__(self, limits: dict[str, float] | None = None):
        super().__init__()
        self.limits = dict(limits or {})
        for name, limit in self.limits.items():
            check_positive(f"limits[{name!r}]", limit)
        self.reason = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        # Means never come back from NaN, so what is not finite can wait.
        for name, limit in self.limits.items():
            value = float((logs or {}).get(name, 0.0))
            if not abs(value) <= limit:
                self._stop(
                    name, value, f"after step {batch + 1} of epoch {self._epoch}"
                )
                return

    def on_epoch_end(self, epoch, logs=None):
        for name in unsound_logs(logs or {}):
            if not self.reason:
                self._stop(name, logs[name], f"at the end of epoch {epoch + 1}")

    def _stop(self, name, value, when):
        within = ""
        if name in self.limits and math.isfinite(value):
            limit = self.limits[name]
            within = f", outside its range of {-limit:g} to {limit:g},"
        self.reason = (
            f"training stopped: `{name}` was {value:g}{within} {when}; lower the "
            "learning rates or the energy weight, raise the gradient penalty or "
            "energy_l2, or let chains take more or smaller steps"
        )
        self.model.stop_training = True


def unsound_logs(logs: dict[str, float]) -> list[str]:
    """Names of the logs that are not finite, but for those of no rows."""
    return [
        name
        for name, value in logs.items()
        if not (math.isfinite(value) or _of_no_rows(name, logs))
    ]


def _of_no_rows(name: str, logs) -> bool:
    """Whether a log is NaN since no row has a label, which is no divergence.

    An accuracy is NaN for no other reason; a cross-entropy is where there is one.
    """
    prefix = "val_" if name.startswith("val_") else ""
    accuracy = logs.get(f"{prefix}accuracy", 0.0)
    of_labels = name.removeprefix("val_") in ("accuracy", "cross_entropy")
    return of_labels and math.isnan(accuracy)
