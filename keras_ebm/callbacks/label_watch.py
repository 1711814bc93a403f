"""Whether labels still matter to a conditional energy, epoch by epoch."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_share, check_size
from keras_ebm.rows import as_rows, num_rows, take


class LabelWatch(keras.callbacks.Callback):
    """Logs how often the energy tells a row's own label from others, and warns.

    Energies of a class-conditional model shrink as chains get better, and with them
    what labels do to them: samples get good and stop being of their class. Two logs
    show it, on held-out rows and on the model's own samples under labels:

        val_label_accuracy, sample_label_accuracy

    the shares whose own label has the lowest energy among all classes, or of vector
    labels among the labels of `others` more rows. `KeepBest(monitor=...)` beside it
    keeps the weights of the best epoch by either.

    Args:
        x: held-out raw inputs.
        y: their labels, `(n,)` or `(n, D)`.
        num_samples: int >= 0, samples of the model in each epoch; 0: none.
        judge: callable from preprocessed samples `(n, ...)` to logits `(n, K)` of
            another classifier, whose answer then counts for samples in place of the
            energy's own; of classes alone.
        others: int >= 1, other labels that a vector is compared with.
        warn_below: float in (0, 1): a `UserWarning` is given, once, when an accuracy
            has fallen below this share of the way from chance to its best so far.
        num_steps: int, steps of the chains of samples; default as trained.
        seed: int.

    Raises:
        ValueError: if an argument breaks its rule, or the model has no labels.

    Example:

    >>> watch = LabelWatch(held_out, labels, num_samples=64)
    >>> best = KeepBest("runs/best", "sample_label_accuracy")
    >>> model.fit(x, y, callbacks=[watch, best])
    """

    def __init__(
        self,
        x: Any,
        y: np.ndarray,
        num_samples: int = 64,
        *,
        judge: Callable | None = None,
        others: int = 9,
        warn_below: float = 0.5,
        num_steps: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.x, self.y = x, np.asarray(y)
        self.num_samples = num_samples and check_size("num_samples", num_samples)
        self.judge = judge
        self.others = check_size("others", others)
        self.warn_below = check_share("warn_below", warn_below)
        self.num_steps = num_steps
        self.seed = seed
        self._best: dict[str, float] = {}
        self._warned = False

    def set_model(self, model):
        super().set_model(model)
        if model.num_classes < 2 and not model.label_size:
            raise ValueError(
                "LabelWatch needs a model with labels. Received: a "
                f"{type(model).__name__} of one output and no labels."
            )
        if self.judge is not None and model.label_size:
            raise ValueError(
                "`judge` is a classifier, which vector labels have none of. "
                "Received: judge and labels of "
                f"{model.label_size} numbers; leave it out."
            )
        self.x = as_rows(self.x, "x", model.raw_spec())
        self.y = model.check_labels(self.y, num_rows(self.x))
        self.chance = 1.0 / (1 + self.others if model.label_size else model.num_classes)
        # One graph for all epochs.
        self._energies = tf.function(model.class_energy, autograph=False)
        self._logits = tf.function(
            lambda x: model.network(x, training=False), autograph=False
        )

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        found = {"val_label_accuracy": self._held_out()}
        if self.num_samples:
            found["sample_label_accuracy"] = self._samples(epoch)
        for name, value in found.items():
            logs[name] = value
            self._judge_fall(name, value, epoch)

    def _held_out(self) -> float:
        model, right = self.model, []
        size = model.rows_at_a_time()
        for first in range(0, len(self.y), size):
            part = slice(first, first + size)
            x = model.preprocess(take(self.x, part))
            right.append(self._own_is_lowest(x, self.y[part]))
        return float(np.mean(np.concatenate(right)))

    def _samples(self, epoch) -> float:
        rng = np.random.default_rng((self.seed, epoch))
        labels = self.y[rng.integers(len(self.y), size=self.num_samples)]
        x = self.model.sample(
            self.num_samples, self.seed + epoch, self.num_steps, labels=labels
        )
        if self.judge is not None:
            answers = np.argmax(np.asarray(self.judge(x)), axis=1)
            return float(np.mean(answers == labels))
        return float(np.mean(self._own_is_lowest(x, labels)))

    def _own_is_lowest(self, x, y) -> np.ndarray:
        """Whether each row's own label has less energy than all others, `(n,)`."""
        if not self.model.label_size:
            return np.argmax(self._logits(x), axis=1) == y
        own = self._energies(x, y).numpy()
        rng = np.random.default_rng(self.seed)
        lowest = np.ones(len(y), bool)
        for _ in range(self.others):
            other = self.y[rng.integers(len(self.y), size=len(y))]
            # The same label by chance is no other one.
            differs = np.any(other != y, axis=1)
            lowest &= (own < self._energies(x, other).numpy()) | ~differs
        return lowest

    def _judge_fall(self, name, value, epoch):
        best = self._best[name] = max(self._best.get(name, 0.0), value)
        bar = self.chance + self.warn_below * (best - self.chance)
        if self._warned or best <= 2 * self.chance or value >= bar:
            return
        self._warned = True
        warnings.warn(
            f"labels stop mattering: {name} fell from {best:.2f} to {value:.2f} in "
            f"epoch {epoch + 1} (chance {self.chance:.2f}). Keep the best weights by "
            "it (KeepBest), raise classification_weight or energy_l2, or stop earlier.",
            stacklevel=2,
        )
