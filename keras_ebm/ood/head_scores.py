"""Scores that read the last linear layer off its inputs and outputs."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_share
from keras_ebm.ood.score import Score
from keras_ebm.ood.training_rows import check_kept, read_matrix

#: Largest part of the logits' spread that no linear layer of the features explains.
UNEXPLAINED = 1e-2


class LinearHead:
    """`logits = features @ kernel + bias`, found from rows of both.

    Of directions in which no training row varies nothing is known; their kernel is 0.

    Args:
        name: of the score, for errors.
        train: dict with `"features"` `(rows, dim)` and `"logits"` `(rows, K)`.

    Attributes:
        features: float64 `(rows, dim)`.
        logits: float64 `(rows, K)`.
        kernel: float64 `(dim, K)`.
        bias: float64 `(K,)`.

    Raises:
        ValueError: if logits are no linear function of the features.
    """

    def __init__(self, name: str, train: Mapping[str, np.ndarray]):
        self.features = read_matrix(train)
        self.logits = read_matrix(train, "logits")
        center, level = self.features.mean(axis=0), self.logits.mean(axis=0)
        centred = self.features - center
        # Directions of rounding errors alone would get kernels of any size.
        inverse = np.linalg.pinv(centred.T @ centred, rcond=1e-10, hermitian=True)
        self.kernel = inverse @ (centred.T @ (self.logits - level))
        self.bias = level - center @ self.kernel
        left = self.logits - self.features @ self.kernel - self.bias
        share = left.std() / max(float((self.logits - level).std()), 1e-12)
        if share > UNEXPLAINED:
            raise ValueError(
                f"The `{name}` score needs logits that are a linear layer of the "
                f"features. Received: features of which {share:.0%} of the logits' "
                "spread is not linear; take a score such as 'energy'."
            )


class ViM(Score):
    """Energy, and the part of the features outside of their main directions.

    `alpha * ||r(x)|| - logsumexp_y f(x)[y]` where `r` is what the leading principal
    directions of the training rows leave of `features - origin`, `origin` the point of
    which all logits are equal to 0 (as far as there is one), and `alpha` puts the norm
    on the scale of the largest logit. Half of the directions are leading ones, of 768
    features or more 512, of 2,048 or more 1,000.

    References:
        - Wang et al. (2022), "ViM: out-of-distribution with virtual-logit matching",
          https://arxiv.org/abs/2203.10807, section 4.
    """

    name = "vim"
    requires = frozenset({"features", "logits"})
    fitted_names = ("origin", "residual", "alpha")

    def fit(self, train, validation=None):
        _check_square(self.name, train)
        head = LinearHead(self.name, train)
        origin = -np.linalg.pinv(head.kernel.T) @ head.bias
        centred = head.features - origin
        _, vectors = np.linalg.eigh(centred.T @ centred)
        # Eigenvalues rise, so the first directions are the least.
        residual = vectors[:, : len(vectors) - _num_leading(len(vectors))]
        norms = np.linalg.norm(centred @ residual, axis=1)
        if not norms.mean() > 0.0:
            raise ValueError(
                f"The `{self.name}` score needs features that fill more than their "
                "leading directions. Received: features of "
                f"{len(vectors)} dimensions, nothing of which is left; take 'energy'."
            )
        alpha = head.logits.max(axis=1).mean() / norms.mean()
        found = {"origin": origin, "residual": residual, "alpha": np.array([alpha])}
        self.arrays = {key: value.astype(np.float32) for key, value in found.items()}
        return self

    def _score(self, inputs):
        left = (inputs["features"] - self.arrays["origin"]) @ self.arrays["residual"]
        norm = tf.norm(left, axis=-1)
        energy = -tf.reduce_logsumexp(inputs["logits"], axis=-1)
        return self.arrays["alpha"][0] * norm + energy


class ReAct(Score):
    """The energy of features that are cut off at a quantile of the training rows'.

    Inputs unlike the data often have a few very large activations, which pass for
    certainty; none passes `quantile` of all activations of the training rows.

    Args:
        quantile: float in (0, 1). Defaults to `0.9`.

    References:
        - Sun, Guo and Li (2021), "ReAct: out-of-distribution detection with rectified
          activations", https://arxiv.org/abs/2111.12797, equation 2.
    """

    _values = ("quantile",)

    name = "react"
    requires = frozenset({"features", "logits"})
    fitted_names = ("limit", "kernel")

    def __init__(self, quantile: float = 0.9):
        super().__init__()
        self.quantile = check_share("quantile", quantile)

    def fit(self, train, validation=None):
        head = LinearHead(self.name, train)
        limit = np.quantile(head.features, self.quantile)
        found = {"limit": np.array([limit]), "kernel": head.kernel}
        self.arrays = {key: value.astype(np.float32) for key, value in found.items()}
        return self

    def _score(self, inputs):
        # What is cut off is taken out of the network's own logits.
        surplus = tf.nn.relu(inputs["features"] - self.arrays["limit"][0])
        logits = inputs["logits"] - surplus @ self.arrays["kernel"]
        return -tf.reduce_logsumexp(logits, axis=-1)


def _num_leading(dim: int) -> int:
    if dim >= 2048:
        return 1000
    return 512 if dim >= 768 else dim // 2


def _check_square(name, train) -> None:
    dim = (np.shape(train.get("features", ()))[-1:] or (0,))[0]
    check_kept(
        name,
        4 * dim * (dim - _num_leading(dim)),
        f"directions of {dim} features",
        "take a layer of fewer features",
    )
