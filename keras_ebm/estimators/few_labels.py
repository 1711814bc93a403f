"""What a handful of labelled rows says about itself: a kernel classifier left one out.

Ten labels a class leave none over for validation. A kernel machine in closed form gives
the answer of each labelled row without that row for nothing, and with it how sure one
may be, and which preprocessing serves.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from keras_ebm.data import TableSchema
from keras_ebm.layers import TableEncoder

#: Widths, over the number of entries, and ridges that are tried.
WIDTHS, RIDGES = (0.1, 0.3, 1.0), (0.1, 1.0)
TEMPERATURES = np.geomspace(0.2, 20.0, 80)
#: Labelled rows that are looked at, at most: more need no such help.
MOST_ROWS = 1_000
#: By how much normal scores must be worse, over their own loss, to be given up.
MARGIN = 0.02


@dataclasses.dataclass(frozen=True)
class KernelClassifier:
    """Kernel ridge regression on one-hot labels, a temperature on top.

        log p(y|x) = log(n_y / n) + sum_i k(x, x_i) a_iy / T + constant

    with `k(x, z) = exp(-width |x - z|^2 / d)` and `a = (k + ridge)^-1 (Y - n_y / n)`.
    Width, ridge and `T` are those of the lowest cross-entropy of the labelled rows,
    each answered by the others: `(Y - ...) - a / diag((k + ridge)^-1)`.

    Attributes:
        rows: `(n, d)`, the labelled rows.
        weights: `(n, K)`, the `a` over the temperature.
        width: float.
        shares: `(K,)`, `n_y / n`.
        loss: float, that cross-entropy in nats.
        informedness: float in [0, 1], what those answers know: the mean probability of
            the true class, all classes alike, on a scale from a guess (0) to 1.

    References:
        - Rifkin and Lippert (2007), "Notes on regularized least squares", section 3,
          for the answers left out.
    """

    rows: np.ndarray
    weights: np.ndarray
    width: float
    shares: np.ndarray
    loss: float
    informedness: float

    @classmethod
    def fit(
        cls, entries: np.ndarray, labels: np.ndarray, num_classes: int | None = None
    ) -> KernelClassifier:
        """The classifier of labelled rows.

        Args:
            entries: `(n, d)`, preprocessed.
            labels: `(n,)` ints from 0. Of more than 1,000 rows as many are taken.
            num_classes: int; None: one more than the largest label.
        """
        taken = evenly(len(labels), MOST_ROWS)
        rows, labels = np.asarray(entries, np.float64)[taken], labels[taken]
        shares = shares_of(labels, num_classes or labels.max() + 1)
        one_hot = np.eye(len(shares))[labels]
        best: KernelClassifier | None = None
        for width in WIDTHS:
            kernel = _kernel(rows, rows, width)
            for ridge in RIDGES:
                found = cls._solved(rows, one_hot, shares, kernel, width, ridge)
                if best is None or found.loss < best.loss:
                    best = found
        assert best is not None
        return best

    @classmethod
    def _solved(cls, rows, one_hot, shares, kernel, width, ridge):
        inverse = np.linalg.inv(kernel + ridge * np.eye(len(rows)))
        weights = inverse @ (one_hot - shares)
        left_out = one_hot - shares - weights / np.diag(inverse)[:, None]
        by_temperature = [
            -np.mean(np.sum(one_hot * log_softmax(np.log(shares) + left_out / t), 1))
            for t in TEMPERATURES
        ]
        place = int(np.argmin(by_temperature))
        temperature = TEMPERATURES[place]
        # All classes alike, whatever their shares among the labels.
        p = np.exp(log_softmax(left_out / temperature))
        seen = one_hot.sum(0) > 0
        known = np.mean((one_hot * p).sum(0)[seen] / one_hot.sum(0)[seen])
        guess = 1.0 / len(shares)
        informedness = max(0.0, (known - guess) / (1.0 - guess))
        weights = weights / temperature
        return cls(
            rows, weights, width, shares, by_temperature[place], float(informedness)
        )

    def log_probabilities(self, entries: np.ndarray) -> np.ndarray:
        """`log p(y|x)` of preprocessed rows `(m, d)`, `(m, K)`."""
        kernel = _kernel(np.asarray(entries, np.float64), self.rows, self.width)
        return log_softmax(np.log(self.shares) + kernel @ self.weights)


def choose_transform(
    x: np.ndarray, labels: np.ndarray, schema: TableSchema | None = None
) -> str:
    """`"quantile"` or `"standardise"`, by the labelled rows left one out.

    Normal scores spread heavy tails, and blur what lies in them. Which of the two
    matters is told by the `loss` of a `KernelClassifier` of either; normal scores are
    given up where theirs is more than 2 % higher.

    Args:
        x: raw rows `(n, columns)`.
        labels: `(n,)`, -1 for none.
        schema: `keras_ebm.data.TableSchema` of the rows, or None: all are numbers.
    """
    known = labels >= 0
    losses = {}
    for transform in ("quantile", "standardise"):
        encoder = _adapted(x, transform, schema)
        entries = np.asarray(encoder(x[known]))
        losses[transform] = KernelClassifier.fit(entries, labels[known]).loss
    worse = losses["quantile"] > (1.0 + MARGIN) * losses["standardise"]
    return "standardise" if worse else "quantile"


def _adapted(x: np.ndarray, transform: str, schema: TableSchema | None) -> TableEncoder:
    encoder = TableEncoder(
        schema, transform=transform, bounded=True, drop_constant=schema is not None
    )
    with warnings.catch_warnings():
        # The encoder of the one that is chosen warns of the same.
        warnings.simplefilter("ignore", UserWarning)
        encoder.adapt(x)
    return encoder


def shares_of(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Shares of the classes among labels, rows of -1 left out, `(K,)`.

    A class without a row has a thousandth of one: it is possible.
    """
    counts = np.bincount(labels[labels >= 0], minlength=num_classes) + 1e-3
    return counts / counts.sum()


def evenly(count: int, most: int) -> np.ndarray:
    """Numbers of `most` rows of `count`, spread evenly; of all where they are fewer."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _kernel(x: np.ndarray, z: np.ndarray, width: float) -> np.ndarray:
    square = (x**2).sum(1)[:, None] + (z**2).sum(1) - 2.0 * x @ z.T
    return np.exp(-width / x.shape[1] * np.maximum(square, 0.0))
