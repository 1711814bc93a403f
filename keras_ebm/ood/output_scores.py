"""Scores read off the network's output, with nothing to fit."""

import tensorflow as tf

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
