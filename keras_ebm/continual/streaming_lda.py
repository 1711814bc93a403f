"""Linear discriminant analysis from running sums."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_ebm.arguments import check_positive
from keras_ebm.continual.learner import Learner


class StreamingLDA(Learner):
    """Class means, and one covariance within classes for all of them.

    The covariance is a running sum, so that later tasks refine what tells the former
    apart, and nothing else.

    Args:
        shrinkage: float > 0, added to the variances, in mean variances.

    References:
        - Hayes and Kanan (2020), "Lifelong machine learning with deep streaming linear
          discriminant analysis", https://arxiv.org/abs/1909.01520.
    """

    def __init__(self, shrinkage: float = 1e-2):
        super().__init__()
        self.shrinkage = check_positive("shrinkage", shrinkage)
        self.means: list[np.ndarray] = []
        self.scatter: Any = None
        self.count = 0

    def learn_task(self, x: np.ndarray, y: np.ndarray) -> None:
        x = x.reshape(len(x), -1)
        scatter = np.zeros([x.shape[1]] * 2)
        for label in np.unique(y):
            rows = x[y == label]
            self.means.append(rows.mean(axis=0))
            centred = rows - self.means[-1]
            scatter += centred.T @ centred
        self.scatter = scatter if self.scatter is None else self.scatter + scatter
        self.count += len(x)

    def class_scores(self, x: np.ndarray) -> np.ndarray:
        covariance = self.scatter / self.count
        level = np.trace(covariance) / len(covariance)
        covariance = covariance + self.shrinkage * (level or 1.0) * np.eye(
            len(covariance)
        )
        means = np.stack(self.means).astype(np.float64)
        weights = np.linalg.solve(covariance, means.T)
        offsets = 0.5 * np.einsum("kd,dk->k", means, weights)
        return x.reshape(len(x), -1) @ weights - offsets

    def kept(self) -> Iterable:
        return [*self.means, self.scatter] if self.means else []
