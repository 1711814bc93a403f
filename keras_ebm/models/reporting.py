"""The means that a model's steps report, in training logs and in `evaluate`."""

import keras
import tensorflow as tf
from keras import ops


class ReportsMeans:
    """Mixin for `keras.Model`: a mean by name for everything that is logged.

    A subclass names them by `_add_trackers` and ends its steps with `report`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.trackers = {}

    def _add_trackers(self, *names):
        for name in names:
            self.trackers[name] = keras.metrics.Mean(name=name)

    @property
    def metrics(self):
        return list(self.trackers.values())

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
