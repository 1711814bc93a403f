"""What a classifier says of an input, as an energy."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf

from keras_ebm.compose.base import network_of
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class Posterior(Saveable, keras.Model):
    """The energy `-log p(y in classes | x)` of a network of a logit for each class.

    It is at least 0, and near 0 wherever the classifier is sure, so that it can be
    added to any energy of `x` with any weight: `Product([density, Posterior(...)])` is
    `p(x) p(classes | x)` but for a constant. One class is a condition, several are
    an "or", and all but some (`negated`) a "not" that cannot run away, as the energy of
    a class with a negative weight can.

    Args:
        network: Keras network from `x` to logits `(batch, K)`, `K` at least 2, or a
            model of this package, whose network is taken.
        classes: ints from 0 to `K - 1`, at least one.
        negated: bool, whether the classes are those that `x` is not of.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: `x`, `(batch, ...)`.

    Returns:
        `log p(classes | x)` in nats, float32 `(batch, 1)`: minus the energy.

    Raises:
        ValueError: if the network has no such classes, or none is left.

    References:
        - Grathwohl et al. (2020), https://arxiv.org/abs/1912.03263, section 3: `p(x)`
          and `p(y|x)` of one network.
        - Dhariwal and Nichol (2021), https://arxiv.org/abs/2105.05233, section 4: a
          classifier whose gradient guides samples.
    """

    _values = ("classes", "negated")
    _parts = ("network",)
    _shares_parts = True

    def __init__(
        self,
        network: keras.Model,
        classes: Iterable[int],
        negated: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.network = network_of(network)
        self.classes = [int(k) for k in classes]
        self.negated = bool(negated)
        known = self.network.output_shape[-1]
        wanted = set(self.classes)
        if known < 2 or not wanted or not wanted <= set(range(known)):
            raise ValueError(
                f"`classes` must be of the network's, from 0 to {known - 1}. Received: "
                f"classes={self.classes}."
            )
        if len(wanted) == known:
            raise ValueError(
                "`classes` must leave a class out, or say nothing. Received: all "
                f"{known}."
            )
        self._chosen = [k for k in range(known) if (k in wanted) != self.negated]
        self.built = True

    @property
    def input_shape(self) -> tuple:
        """That of the network, `(None, ...)`."""
        return tuple(self.network.input_shape)

    @property
    def output_shape(self) -> tuple:
        """`(None, 1)`."""
        return (None, 1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1)

    def call(self, inputs, training=False):
        logits = self.network(tf.convert_to_tensor(inputs), training=training)
        logits = tf.cast(logits, tf.float32)
        chosen = tf.gather(logits, self._chosen, axis=1)
        # From the differences, so that a sure answer's 0 keeps its digits.
        all_of = tf.reduce_logsumexp(logits, axis=1, keepdims=True)
        return tf.reduce_logsumexp(chosen - all_of, axis=1, keepdims=True)
