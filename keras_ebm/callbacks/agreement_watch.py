"""How settled the answers on rows without labels are, epoch by epoch."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size
from keras_ebm.rows import as_rows, num_rows, take

#: What is watched, and the log that says it.
WATCHED = {"agreement": "average_agreement", "graph": "neighbour_agreement"}
#: How much less agreement is as good, by what is watched: it wavers while a network
#: still gets better, and falls by far more where it gets lost.
TOLERANCES = {"agreement": 0.05, "graph": 0.0}


class AgreementWatch(keras.callbacks.Callback):
    """Logs two agreements of predictions, which need no label.

    A network that is trained too long on a few labels changes its mind about the other
    rows. Two logs show it:

        average_agreement    rows to which the weights and the optimizer's averages of
                             them give one class; only with `use_ema`
        neighbour_agreement  pairs of a row and one of its nearest that are given one
                             class, by the averages where there are some

    both as Cohen's kappa, `(share - chance) / (1 - chance)`, where `chance` is what
    these classes would agree by if they were dealt out anew: a network that gives all
    rows one class agrees with all and knows nothing, and has 0.
    `KeepBest(monitor=..., mode="max")` beside it ends with the weights of the epoch of
    the most agreement, and with `tolerance=0.05` with the last ones of about as much.

    Args:
        x: raw rows, with labels or without.
        num_neighbours: int >= 1, of preprocessed rows; fewer where there are fewer.

    Raises:
        ValueError: if the model has no classes, or there are no two rows.

    Example:

    >>> watch = AgreementWatch(unlabelled)
    >>> best = KeepBest("runs/best", "neighbour_agreement", "max")
    >>> model.fit(x, y, callbacks=[watch, best])

    References:
        - Cohen (1960), "A coefficient of agreement for nominal scales".
        - Tarvainen and Valpola (2017), "Mean teachers are better role models", for the
          averages of weights as the steadier of two.
    """

    def __init__(self, x: Any, num_neighbours: int = 10):
        super().__init__()
        self.x = x
        self.num_neighbours = check_size("num_neighbours", num_neighbours)

    def set_model(self, model):
        super().set_model(model)
        self.x = as_rows(self.x, "x", model.raw_spec())
        if model.num_classes < 2 or num_rows(self.x) < 2:
            raise ValueError(
                "AgreementWatch needs two rows or more of a model with classes. "
                f"Received: {num_rows(self.x)} row(s) of a model of "
                f"{model.num_classes} output(s)."
            )
        self._entries = np.concatenate([np.asarray(x) for x in self._batches()])
        flat = self._entries.reshape(len(self._entries), -1)
        self._nearest = nearest_rows(flat, self.num_neighbours)
        # One graph for all epochs.
        self._logits = tf.function(
            lambda x: model.network(x, training=False), autograph=False
        )

    def _batches(self):
        size = self.model.rows_at_a_time()
        for first in range(0, num_rows(self.x), size):
            yield self.model.preprocess(take(self.x, slice(first, first + size)))

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        logs |= self.agreements()

    def agreements(self) -> dict[str, float]:
        """The logs, of the model as it is."""
        classes, found = self._classes(), {}
        if averages(self.model):
            with averaged(self.model):
                steadier = self._classes()
            found["average_agreement"] = kappa(classes, steadier)
            classes = steadier
        pairs = np.repeat(classes, self._nearest.shape[1])
        found["neighbour_agreement"] = kappa(pairs, classes[self._nearest].ravel())
        return found

    def _classes(self) -> np.ndarray:
        size = self.model.rows_at_a_time()
        parts = range(0, len(self._entries), size)
        logits = [self._logits(self._entries[first : first + size]) for first in parts]
        return np.argmax(np.concatenate(logits), axis=1)


@contextlib.contextmanager
def averaged(model: keras.Model):
    """Inside the block the model's weights are their averages.

    Args:
        model: with an optimizer of `use_ema`.
    """
    pairs = averages(model)
    weights = [variable.numpy() for variable, _ in pairs]
    try:
        for variable, average in pairs:
            variable.assign(average)
        yield
    finally:
        for (variable, _), value in zip(pairs, weights, strict=True):
            variable.assign(value)


def averages(model: keras.Model) -> list[tuple]:
    """`(variable, its moving average)` of what is trained; none without `use_ema`."""
    optimizer = model.optimizer
    # Which scales losses, where a model computes in float16, around the one that steps.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is None or not optimizer.use_ema:
        return []
    # Nothing public of Keras gives them but `finalize_variable_values`, for good.
    own = optimizer._model_variables_moving_average
    return list(zip(optimizer._trainable_variables, own, strict=True))


def nearest_rows(entries: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Numbers of each row's nearest others, `(n, k)`.

    Args:
        entries: `(n, d)`.
        num_neighbours: int; `k` is it, or `n - 1` where that is less.
    """
    entries = np.asarray(entries, np.float64)
    square = np.sum(entries**2, axis=1)
    count, nearest = min(num_neighbours, len(entries) - 1), []
    for first in range(0, len(entries), 1024):
        own = slice(first, first + 1024)
        distances = square - 2.0 * entries[own] @ entries.T
        distances[np.arange(len(distances)), first + np.arange(len(distances))] = np.inf
        nearest.append(np.argpartition(distances, count - 1, axis=1)[:, :count])
    return np.concatenate(nearest)


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's kappa of two answers `(n,)`; 0 where both are one class throughout."""
    size = 1 + max(first.max(), second.max())
    shares = [
        np.bincount(answers, minlength=size) / len(answers)
        for answers in (first, second)
    ]
    chance = float(shares[0] @ shares[1])
    share = float(np.mean(first == second))
    return 0.0 if chance == 1.0 else (share - chance) / (1.0 - chance)
