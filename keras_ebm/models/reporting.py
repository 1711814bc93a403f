"""The means that a model's steps report, in training logs and in `evaluate`."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

# Nothing public tells Keras's callbacks the direction of a model's own metrics: they
# look for it in metrics of this class alone.
from keras.src.trainers.compile_utils import MetricsList

from keras_ebm.rows import batch_size

#: Means over the labelled rows alone; NaN where there is none.
OF_LABELS = ("accuracy", "cross_entropy")
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


class LossMean(keras.metrics.Mean):
    """The mean of a sum of terms, each over the rows that it counts.

    A batch's loss is the mean over its rows of some terms, and over its labelled or
    unlabelled rows of others. Batches differ in how many of these they hold, so the
    mean of their losses would depend on how rows are cut into batches. Parts keep
    sums of their own.
    """

    def __init__(self, name: str = "loss", max_parts: int = 3, **kwargs):
        super().__init__(name=name, **kwargs)
        self.parts = self.add_variable((2, max_parts), "zeros", name="parts")

    def update_state(self, values, sample_weight=None, parts=()):
        """Adds a batch.

        Args:
            values: scalar loss, or losses `(rows,)`.
            sample_weight: scalar, how many rows a scalar is the mean of.
            parts: list of `(value, rows)`, the terms of a scalar loss that are means
                over so many rows instead.
        """
        rest = values - sum(value for value, _ in parts) if parts else values
        super().update_state(rest, sample_weight=sample_weight)
        if parts:
            sums = [ops.stack([value * rows, rows]) for value, rows in parts]
            sums += [ops.zeros(2)] * (self.parts.shape[1] - len(sums))
            self.parts.assign_add(ops.stack(sums, axis=1))

    def reset_state(self):
        super().reset_state()
        self.parts.assign(ops.zeros_like(self.parts))

    def result(self):
        totals, rows = self.parts[0], self.parts[1]
        return super().result() + ops.sum(ops.divide_no_nan(totals, rows))


class ReportsMeans:
    """Mixin for `keras.Model`: a mean by name for everything that is logged.

    A subclass names them by `_add_trackers` and ends its steps with `report`. Means of
    labelled rows are NaN as long as there is none: 0 would be the worst accuracy and
    the best cross-entropy.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.trackers = {}

    def _add_trackers(self, *names):
        for name in names:
            kind = LossMean if name == "loss" else keras.metrics.Mean
            self.trackers[name] = tracker = kind(name=name)
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
        used = {
            name
            for name, tracker in self.trackers.items()
            if ops.convert_to_numpy(tracker.count)
        }
        # Every pass of a model with classes reports these two, of no rows too.
        used |= set(OF_LABELS) if used else set()
        return {name: self._mean(name) for name in self.trackers if name in used}

    def has_no_labels(self) -> bool:
        """Whether the rows since the last reset of the trackers had no labels."""
        tracker = self.trackers.get("accuracy")
        return tracker is not None and not ops.convert_to_numpy(tracker.count)

    def _mean(self, name):
        tracker = self.trackers[name]
        if name not in OF_LABELS:
            return tracker.result()
        return ops.where(tracker.count > 0, tracker.result(), float("nan"))

    def report(self, logs: dict[str, Any], x: tf.Tensor):
        """Updates each tracker that `logs` has a value for.

        Args:
            logs: values by name: one a row, pairs of those and their weights, or
                scalars, means over the batch. `loss_parts` among them: see
                `LossMean`; `loss_rows`: what the rest of the loss counts for, the sum
                of the sample weights where there are some.
            x: the batch `(rows, ...)`, whose rows a scalar counts for.
        """
        rows = tf.cast(batch_size(x), tf.float32)
        for name, tracker in self.trackers.items():
            if name not in logs:
                continue
            value = logs[name]
            if isinstance(value, tuple):
                tracker.update_state(value[0], sample_weight=value[1])
            elif len(tf.convert_to_tensor(value).shape):
                tracker.update_state(value)
            else:
                more = {"sample_weight": rows}
                if name == "loss":
                    more["sample_weight"] = logs.get("loss_rows", rows)
                    more["parts"] = logs.get("loss_parts", ())
                tracker.update_state(value, **more)
        results = {name: self._mean(name) for name in self.trackers if name in logs}
        if _several_workers():
            # Keras takes the mean over their first axis, which scalars lack.
            return {name: ops.reshape(value, [1]) for name, value in results.items()}
        return results


def _several_workers() -> bool:
    strategy = tf.distribute.get_strategy()
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
