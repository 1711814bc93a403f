"""What a classifier can be trained on in place of its rows: their worst neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.robust.ball import Ball
from keras_ebm.robust.losses import cross_entropy
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class Adversarial(Saveable):
    """Attacked rows for the cross-entropy of a training step (adversarial training).

    Args:
        bound: float > 0, in units of preprocessed inputs: where a pixel goes from -1 to
            1, a tenth of its range is 0.2.
        norm: `"linf"` or `"l2"`, of the change.
        box: `(low, high)` of preprocessed inputs, or None.
        num_steps: int >= 1, of projected gradient ascent from a random start; each
            costs a pass of the classifier and its gradient.
        step_size: float > 0 in the same units; default `2.5 * bound / num_steps`.
        share: float in (0, 1], of each batch's rows that are attacked; the others are
            seen as they are.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Madry et al. (2018), https://arxiv.org/abs/1706.06083, section 2.1.
    """

    _values = ("bound", "norm", "box", "num_steps", "step_size", "share")

    def __init__(
        self,
        bound: float,
        *,
        norm: str = "linf",
        box: tuple[float, float] | None = None,
        num_steps: int = 10,
        step_size: float | None = None,
        share: float = 1.0,
    ):
        self.bound = check_positive("bound", bound)
        self.norm = norm
        self.box = None if box is None else cast("tuple[float, float]", tuple(box))
        Ball(norm, bound, self.box).check()
        self.num_steps = check_size("num_steps", num_steps)
        if step_size is None:
            step_size = 2.5 * bound / num_steps
        self.step_size = check_positive("step_size", step_size)
        if check_positive("share", share) > 1:
            raise ValueError(f"`share` must be at most 1. Received: share={share!r}.")
        self.share = share

    def rows(
        self,
        logits_fn: Callable[[tf.Tensor], tf.Tensor],
        x: tf.Tensor,
        y: tf.Tensor,
        random: RandomDraws,
    ) -> tf.Tensor:
        """Rows of a batch as the cross-entropy is to see them.

        Args:
            logits_fn: callable from `(batch, ...)` to logits, without dropout.
            x: `(batch, ...)`, preprocessed.
            y: `(batch,)` labels; rows without (-1) are not attacked.
            random: `keras_ebm.random.StepRandom`, of the starts.

        Returns:
            `(batch, ...)`, of which no gradient is to be taken.
        """
        size = tf.shape(x)[0]
        count = tf.cast(tf.math.ceil(self.share * tf.cast(size, tf.float32)), tf.int32)
        attacked = self._attack(logits_fn, x[:count], y[:count], random)
        return tf.stop_gradient(tf.concat([attacked, x[count:]], axis=0))

    def _attack(self, logits_fn, x, y, random):
        ball = Ball(self.norm, self.bound, self.box)
        labels = tf.maximum(y, 0)

        def ascend(step, at):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(at)
                loss = cross_entropy(logits_fn(at), labels)
            change = ball.steepest(tape.gradient(loss, at))
            return step + 1, ball.project(at + self.step_size * change, x)

        _, end = tf.while_loop(
            lambda step, at: step < self.num_steps,
            ascend,
            (tf.constant(0), ball.start(x, random)),
            shape_invariants=(tf.TensorShape([]), x.shape),
            maximum_iterations=self.num_steps,
        )
        labelled = tf.reshape(y >= 0, [-1, *[1] * (x.shape.rank - 1)])
        return tf.where(labelled, end, x)
