"""Where an attack may go: a ball about each given input, inside the box of inputs."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive
from keras_ebm.gradients import squared_norm
from keras_ebm.protocols import RandomDraws

NORMS = ("linf", "l2")


class Ball(NamedTuple):
    """Inputs at most `bound` from a given one, in a norm, and inside a box.

    An entry of a given input outside the box, as noise puts it, widens the box for
    itself: the given input is always among its ball.

    Attributes:
        norm: `"linf"`, the largest change of an entry, or `"l2"`, the root of the sum
            of squared changes.
        bound: float >= 0, in units of preprocessed inputs.
        box: `(low, high)` of preprocessed inputs, or None.
    """

    norm: str
    bound: float
    box: tuple[float, float] | None = None

    def check(self) -> Ball:
        """Itself; ValueError if a part breaks its rule."""
        check_choice("norm", self.norm, NORMS)
        check_positive("bound", self.bound, zero_allowed=True)
        if self.box is not None:
            numbers = all(math.isfinite(end) for end in self.box)
            if len(self.box) != 2 or not numbers or not self.box[0] < self.box[1]:
                raise ValueError(
                    "`box` must be (low, high) with low below high. "
                    f"Received: box={self.box!r}."
                )
        return self

    def project(self, x: tf.Tensor, centre: tf.Tensor) -> tf.Tensor:
        """The nearest inputs in the balls about `centre`, `(batch, ...)` like `x`.

        The centre is the given input at every step of an attack: about the last
        place, each step would move the ball, and n steps go n times as far.
        """
        if self.norm == "linf":
            x = tf.clip_by_value(x, centre - self.bound, centre + self.bound)
        else:
            change = x - centre
            length = by_row(tf.sqrt(squared_norm(change)), x)
            x = centre + change * (self.bound / tf.maximum(length, self.bound + 1e-12))
        if self.box is None:
            return x
        # Entries of the centre lie between the ends, so this moves x nearer to it.
        low, high = self.box
        return tf.clip_by_value(x, tf.minimum(centre, low), tf.maximum(centre, high))

    def start(self, centre: tf.Tensor, random: RandomDraws) -> tf.Tensor:
        """Random inputs of the balls, of the whole size of the bound."""
        shape = tf.shape(centre)
        if self.norm == "linf":
            change = random.uniform(shape, "start", -1.0, 1.0)
        else:
            direction = self.steepest(random.normal(shape, "start"))
            share = random.uniform(shape[:1], "length")
            dims = tf.cast(tf.size(centre[0]), tf.float32)
            change = by_row(share ** (1.0 / dims), centre) * direction
        return self.project(centre + self.bound * change, centre)

    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:
        """The change of length 1 in this norm along which a gradient rises most."""
        if self.norm == "linf":
            return tf.sign(gradient)
        length = by_row(tf.sqrt(squared_norm(gradient)), gradient)
        return tf.math.divide_no_nan(gradient, length)


def by_row(values: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Values `(batch,)` in a shape that broadcasts to `x` `(batch, ...)`."""
    return tf.reshape(values, [-1, *[1] * (len(x.shape) - 1)])
