"""Standardises a stream by its first task."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_ebm.continual.learner import Learner


class FirstTaskScaling(Learner):
    """Another learner, which sees rows standardised by those of the first task.

    Later tasks are not known when the first is learnt, and what was learnt by one scale
    is wrong by another: so the first task's means and standard deviations stay.

    Args:
        learner: `Learner`, that has learnt nothing yet.
    """

    def __init__(self, learner: Learner):
        super().__init__()
        self.learner = learner
        self.scale: Any = None

    @property
    def looks_once(self) -> bool:  # type: ignore[override]
        """Whether the learner looks once at a task, and its first for the scale."""
        return self.learner.looks_once

    def learn_task(self, x: np.ndarray, y: np.ndarray) -> None:
        if self.scale is None:
            stddev = x.std(axis=0)
            # A column that the first task does not vary in has no scale there.
            self.scale = x.mean(axis=0), np.where(stddev > 0, stddev, 1.0)
        self.learner.learn(self._scaled(x), y)

    def class_scores(self, x: np.ndarray) -> np.ndarray:
        return self.learner.scores(self._scaled(x))

    def kept(self) -> Iterable:
        return [self.scale or (), self.learner.kept()]

    def _scaled(self, x) -> np.ndarray:
        mean, stddev = self.scale
        return ((x - mean) / stddev).astype(np.float32)
