"""The means that a model's steps report, in training logs and in `evaluate`."""

import keras
import tensorflow as tf
from keras import ops

# Nothing public tells Keras's callbacks the direction of a model's own metrics: they
# look for it in metrics of this class alone.
from keras.src.trainers.compile_utils import MetricsList

#: The best value of each log that says by itself how good a model is. An energy, a
#: step size or a penalty has none.
DIRECTIONS = {"accuracy": "up", "cross_entropy": "down", "virtual_adversarial": "down"}


def direction(log: str) -> str | None:
    """`"up"` or `"down"`, where a log is better, or None where neither is.

    Args:
        log: str, name of a log of a model, with or without `val_`.
    """
    name = log.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "down"
    return DIRECTIONS.get(name)


class ReportsMeans:
    """Mixin for `keras.Model`: a mean by name for everything that is logged.

    A subclass names them by `_add_trackers` and ends its steps with `report`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.trackers = {}

    def _add_trackers(self, *names):
        for name in names:
            self.trackers[name] = tracker = keras.metrics.Mean(name=name)
            if direction(name):
                tracker._direction = direction(name)

    @property
    def metrics(self):
        """The trackers, and those with a direction again as Keras looks for them.

        `EarlyStopping("val_accuracy")` and its like then need no `mode`.
        """
        trackers = list(self.trackers.values())
        directed = [t for t in trackers if hasattr(t, "_direction")]
        return [*trackers, MetricsList(directed, name="directed")]

    @property
    def metrics_names(self):
        return list(self.trackers)

    def get_metrics_result(self):
        """Values of the trackers that have been updated since the last reset.

        An epoch's logs are these, over all rows of all replicas, if their
        names are those that the steps report. Left to itself Keras adds the
        trackers that a pass does not use, finds that the names differ, and
        takes the mean of what the replicas had: rows would not count equally.
        """
        return {
            name: tracker.result()
            for name, tracker in self.trackers.items()
            if ops.convert_to_numpy(tracker.count)
        }

    def report(self, logs):
        """Updates each tracker that `logs` has a value for."""
        for name, tracker in self.trackers.items():
            if name not in logs:
                continue
            value = logs[name]
            if isinstance(value, tuple):
                tracker.update_state(value[0], sample_weight=value[1])
            else:
                tracker.update_state(value)
        results = {
            name: tracker.result()
            for name, tracker in self.trackers.items()
            if name in logs
        }
        if _several_workers():
            # Keras takes the mean over their first axis, which scalars lack.
            return {name: ops.reshape(value, [1]) for name, value in results.items()}
        return results


def _several_workers() -> bool:
    strategy = tf.distribute.get_strategy()
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
