"""Ridge regression on random features, by sums that forget nothing."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.continual.learner import Learner

#: Rows whose features are made at once.
CHUNK = 2_000


class RidgeFeatures(Learner):
    """Regresses one-hot classes on random ReLU features `h(x) = max(0, x W + b)`.

    It keeps `H^T H` and, by class, the sum of its features. Those are what a regression
    on all rows at once would need, so that the order of tasks changes nothing.

    Args:
        num_features: int >= 1.
        ridge: float > 0, added to the diagonal of `H^T H / n`, in its mean.
        seed: int, of `W` and `b`.
    """

    def __init__(self, num_features: int = 1_000, ridge: float = 1e-4, seed: int = 0):
        super().__init__()
        self.num_features = check_size("num_features", num_features)
        self.ridge = check_positive("ridge", ridge)
        self.seed = seed
        self.count = 0
        self.gram: Any = None
        self.sums: list[np.ndarray] = []
        self._projection: Any = None

    def learn_task(self, x: np.ndarray, y: np.ndarray) -> None:
        x = x.reshape(len(x), -1)
        if self._projection is None:
            self._projection = self._draw(x)
            self.gram = np.zeros([self.num_features] * 2, np.float32)
        labels = np.unique(y)
        sums = np.zeros([len(labels), self.num_features])
        for begin in range(0, len(x), CHUNK):
            features = self._features(x[begin : begin + CHUNK])
            one_hot = y[begin : begin + CHUNK, None] == labels
            self.gram += features.T @ features
            sums += one_hot.T.astype(np.float32) @ features
        self.sums.extend(sums)
        self.count += len(x)

    def class_scores(self, x: np.ndarray) -> np.ndarray:
        level = self.ridge * np.trace(self.gram) / self.num_features
        gram = self.gram + level * np.eye(self.num_features, dtype=np.float32)
        weights = np.linalg.solve(gram.astype(np.float64), np.stack(self.sums).T)
        weights = weights.astype(np.float32)
        x = x.reshape(len(x), -1)
        parts = [
            self._features(x[begin : begin + CHUNK]) @ weights
            for begin in range(0, len(x), CHUNK)
        ]
        return np.concatenate(parts)

    def kept(self) -> Iterable:
        return [self._projection, self.gram, *self.sums] if self.sums else []

    def _draw(self, x) -> tuple:
        """`W` and `b`, scaled by the first task's rows."""
        rng = np.random.default_rng(self.seed)
        # Unit variance of the projections of the first task's rows, whatever its units.
        spread = np.sqrt(np.square(x).sum(axis=1).mean()) or 1.0
        directions = rng.normal(size=(x.shape[1], self.num_features)) / spread
        offsets = 0.5 * rng.normal(size=self.num_features)
        return directions.astype(np.float32), offsets.astype(np.float32)

    def _features(self, x) -> np.ndarray:
        directions, offsets = self._projection
        return np.maximum(x @ directions + offsets, 0.0)
