"""What a corruption is: how it is done, and what it says about what was there."""

from __future__ import annotations

import tensorflow as tf

from keras_ebm.arguments import check_positive
from keras_ebm.protocols import RandomDraws
from keras_ebm.saveable import Saveable


class Corruption(Saveable):
    """A random change of inputs whose likelihood is known.

    A subclass says how it is done (`corrupt`), how likely what is observed is
    (`negative_log_likelihood`), and where chains start. Inputs are preprocessed,
    `(batch, ...)`; observations have the shape of inputs unless a subclass says other.
    """

    def corrupt(self, x: tf.Tensor, random: RandomDraws):
        """What is observed of inputs `x`."""
        raise NotImplementedError

    def negative_log_likelihood(self, x: tf.Tensor, observed: tf.Tensor):
        """`-log p(observed | x)` but for a constant, in nats, `(batch,)`.

        It can be differentiated in `x`; the gradient is what pulls a chain to the
        observation.
        """
        raise NotImplementedError

    def start(self, observed: tf.Tensor):
        """Where a chain starts, of the shape of an input."""
        return observed

    def fixed(self, observed: tf.Tensor):
        """Booleans of the shape of an input, True where `start` is what was there.

        None where nothing is known for certain.
        """
        return None

    def informed(self, x: tf.Tensor, stddev: tf.Tensor, observed: tf.Tensor):
        """The mean of an input by what is observed, beside a guess `N(x, stddev^2)`.

        Args:
            x: `(batch, ...)`, a guess of each entry.
            stddev: scalar, how far the guess may be off.
            observed: as `corrupt` gives it.

        Returns:
            Tensor of the shape of `x`.
        """
        raise NotImplementedError


def per_row(values: tf.Tensor) -> tf.Tensor:
    """The sum over all but the first axis, `(batch,)`."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))


def check_box(low: float, high: float) -> tuple[float, float]:
    """`(low, high)`, or raises ValueError unless both are finite and in order."""
    for name, value in (("low", low), ("high", high)):
        check_positive(name, abs(value), zero_allowed=True)
    if not low < high:
        raise ValueError(
            f"`low` must be below `high`. Received: low={low!r}, high={high!r}."
        )
    return float(low), float(high)
