"""Scores read off the network's output, with nothing to fit."""

import tensorflow as tf

from keras_ebm.arguments import check_share, check_size
from keras_ebm.ood.score import Score


class Energy(Score):
    """`E(x) = -logsumexp_y f(x)[y]`, in nats, at temperature 1.

    References:
        - Liu et al. (2020), "Energy-based out-of-distribution detection",
          equation 4.
    """

    name = "energy"
    requires = frozenset({"logits"})
    keeps_nan = True  # the sum in logsumexp has every logit in it

    def _score(self, inputs):
        return -tf.reduce_logsumexp(inputs["logits"], axis=-1)


class MaxSoftmax(Score):
    """`1 - max_y p(y | x)`, the error that the classifier itself expects.

    It orders inputs as `-max_y p(y | x)` does. The 1 is there because float32
    has no numbers between `-1` and `-1 + 6e-8`, where a good classifier puts
    many of its known rows, but plenty just above 0.

    References:
        - Hendrycks and Gimpel (2017), "A baseline for detecting misclassified
          and out-of-distribution examples in neural networks".
    """

    name = "max_softmax"
    requires = frozenset({"logits"})

    def _score(self, inputs):
        logits = inputs["logits"]
        ratios = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
        top = tf.one_hot(tf.argmax(logits, axis=-1), tf.shape(logits)[-1])
        others = tf.reduce_sum(ratios * (1.0 - top), axis=-1)
        return others / (1.0 + others)


class MaxLogit(Score):
    """`-max_y f(x)[y]`, in nats: the energy as its temperature goes to 0.

    References:
        - Hendrycks et al. (2022), "Scaling out-of-distribution detection for
          real-world settings".
    """

    name = "max_logit"
    requires = frozenset({"logits"})

    def _score(self, inputs):
        return -tf.reduce_max(inputs["logits"], axis=-1)


class Entropy(Score):
    """Entropy of `p(y | x)`, in nats."""

    name = "entropy"
    requires = frozenset({"logits"})

    def _score(self, inputs):
        log_p = tf.nn.log_softmax(inputs["logits"], axis=-1)
        return -tf.reduce_sum(tf.exp(log_p) * log_p, axis=-1)


class GeneralizedEntropy(Score):
    """`sum_y (p(y | x) (1 - p(y | x))) ^ gamma` over the likeliest classes (GEN).

    A small power makes what little is left beside a near certainty count.

    Args:
        gamma: float in (0, 1). Defaults to `0.1`.
        num_classes: int >= 1, how many of the likeliest classes are summed over, all
            where there are fewer. Defaults to `100`.

    References:
        - Liu, Lochman and Zach (2023), "GEN: pushing the limits of softmax-based
          out-of-distribution detection", equation 3.
    """

    _values = ("gamma", "num_classes")

    name = "generalized_entropy"
    requires = frozenset({"logits"})

    def __init__(self, gamma: float = 0.1, num_classes: int = 100):
        super().__init__()
        self.gamma = check_share("gamma", gamma)
        self.num_classes = check_size("num_classes", num_classes)

    def _score(self, inputs):
        count = min(self.num_classes, inputs["logits"].shape[-1])
        logits = tf.math.top_k(inputs["logits"], inputs["logits"].shape[-1]).values
        log_p = tf.nn.log_softmax(logits, axis=-1)
        # Of the likeliest class 1 - p is the sum of the others: a difference in float32
        # would be 0 for most known rows.
        top = tf.reduce_logsumexp(log_p[:, 1:], axis=-1, keepdims=True)
        log_rest = tf.concat([top, tf.math.log1p(-tf.exp(log_p[:, 1:]))], axis=-1)
        terms = tf.exp(self.gamma * (log_p + log_rest))
        return tf.reduce_sum(terms[:, :count], axis=-1)


class ApproximateMass(Score):
    """`||dE/dx||_2`, in nats per unit of input: small on a plateau of mass.

    The gradient is the caller's, as `outputs["gradient_norm"]`.

    References:
        - Grathwohl et al. (2020), "Your classifier is secretly an energy
          based model", section 5.3.2; its score has the opposite sign.
    """

    name = "approximate_mass"
    requires = frozenset({"gradient_norm"})
    keeps_nan = True

    def _score(self, inputs):
        return tf.identity(inputs["gradient_norm"])
