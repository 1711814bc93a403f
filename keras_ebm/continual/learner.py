"""What learns classes one after another, and what of it is kept."""

from __future__ import annotations

import abc
from collections.abc import Iterable

import numpy as np
from keras import tree

from keras_ebm.continual.checks import check_task


class Learner(abc.ABC):
    """Learns the classes of one task after another, and keeps no rows.

    A subclass learns a task in `learn_task`, scores rows in `class_scores`, and names
    in `kept` all arrays that stay between two tasks.

    Attributes:
        classes: list of the classes that were seen so far, in the order of their
            tasks.
    """

    #: Whether a task's rows are looked at once, or several times while it lasts.
    looks_once = True

    def __init__(self):
        self.classes: list[int] = []

    def learn(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learns a task, whose rows do not come again.

        Args:
            x: finite floats of shape `(n, ...)`, the task's rows in their order.
            y: integers of shape `(n,)`, their classes, none of them of a former task.

        Raises:
            ValueError: if a class was learnt before, or rows and classes do not fit;
                nothing is learnt then.
        """
        x, y = check_task(x, y, self.classes)
        self.learn_task(x, y)
        self.classes.extend(int(label) for label in np.unique(y))

    @abc.abstractmethod
    def learn_task(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learns float32 rows and their classes, all of which are new."""

    @abc.abstractmethod
    def class_scores(self, x: np.ndarray) -> np.ndarray:
        """Scores `(n, len(classes))` of float32 rows, higher for likelier classes."""

    @abc.abstractmethod
    def kept(self) -> Iterable:
        """Arrays, or structures of arrays, that stay between two tasks."""

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Scores of rows by class, in the order of `classes`.

        Args:
            x: floats of shape `(n, ...)`.

        Returns:
            Floats of shape `(n, len(classes))`; the highest is that of the class.

        Raises:
            ValueError: if nothing was learnt yet.
            FloatingPointError: if a score is not a number, such as where training left
                the numbers.
        """
        if not self.classes:
            raise ValueError(
                "A learner must have learnt a task before it tells classes. "
                "Received: rows to score before any; call learn(x, y)."
            )
        scores = np.asarray(self.class_scores(np.asarray(x, np.float32)))
        if np.isnan(scores).any():
            bad = [self.classes[i] for i in np.flatnonzero(np.isnan(scores).any(0))]
            raise FloatingPointError(
                f"The scores of classes {bad} are not numbers; their training left the "
                "numbers. Lower the learning rate, or look at the rows."
            )
        return scores

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The likeliest of all classes seen so far, integers of shape `(n,)`."""
        return np.asarray(self.classes)[self.scores(x).argmax(axis=1)]

    def memory(self) -> int:
        """Bytes of all that is kept between two tasks."""
        return sum(np.asarray(array).nbytes for array in tree.flatten(self.kept()))
