"""What an attack makes large, and how it tells that it has won."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive
from keras_ebm.protocols import RandomDraws

#: Below any margin, for inputs that a detector refuses.
REFUSED = -1e9


def cross_entropy(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each row with its label, `(batch,)` nats."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)


def margin(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The best other logit less that of the label, `(batch,)`: above 0 is an error."""
    own = tf.one_hot(y, tf.shape(logits)[-1], on_value=True, off_value=False)
    low = tf.constant(logits.dtype.min, logits.dtype)
    others = tf.reduce_max(tf.where(own, low, logits), axis=-1)
    return others - tf.gather(logits, y, batch_dims=1)


LOSSES = {"cross_entropy": cross_entropy, "margin": margin}


class Evasion(NamedTuple):
    """A detector that an attack knows and goes round.

    Attributes:
        score_fn: callable from preprocessed inputs to scores `(batch,)`, higher for
            what is less like the data, differentiable.
        threshold: float: inputs are accepted at scores of at most this.
        weight: float > 0, of the excess over the threshold in the attack's loss, in
            nats per unit of the score.
    """

    score_fn: Callable[[tf.Tensor], tf.Tensor]
    threshold: float
    weight: float = 1.0


class Goal(NamedTuple):
    """What an attack is after.

    Attributes:
        logits_fn: see `answer`.
        loss: `"cross_entropy"` or `"margin"`.
        targeted: bool, whether labels are to get to, and not away from.
        evade: `Evasion` or None.
        eot: int >= 1, over how many draws of the answer each loss is a mean.
    """

    logits_fn: Callable
    loss: str = "cross_entropy"
    targeted: bool = False
    evade: Evasion | None = None
    eot: int = 1

    def check(self) -> Goal:
        """Itself; ValueError if a part breaks its rule."""
        check_choice("loss", self.loss, tuple(LOSSES))
        if self.evade is not None:
            check_positive("weight", self.evade.weight)
        if self.eot > 1 and not getattr(self.logits_fn, "draws", False):
            raise ValueError(
                "`eot` above 1 needs answers that are drawn, as those of Refined are: "
                "all others are the same each time. Received: "
                f"eot={self.eot}; use eot=1."
            )
        return self

    def values(
        self, x: tf.Tensor, y: tf.Tensor, random: RandomDraws
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`(loss, success)` `(batch,)` of inputs: both are higher the nearer the goal.

        `success` is above 0 where the goal is reached in the mean over draws.
        """
        loss = success = 0.0
        for draw in range(self.eot):
            logits = answer(self.logits_fn, x, random.fold(draw))
            sign = -1.0 if self.targeted else 1.0
            loss += sign * LOSSES[self.loss](logits, y) / self.eot
            success += sign * margin(logits, y) / self.eot
        if self.evade is None:
            return loss, success
        excess = self.evade.score_fn(x) - self.evade.threshold
        loss -= self.evade.weight * tf.nn.relu(excess)
        return loss, tf.where(excess <= 0.0, success, REFUSED - excess)


def answer(logits_fn: Callable, x: tf.Tensor, random: RandomDraws) -> tf.Tensor:
    """Logits `(batch, K)` of preprocessed inputs.

    Args:
        logits_fn: callable from `x`; or from `(x, random)` where it has an attribute
            `draws` that is true, as `Refined` has.
        x: `(batch, ...)`.
        random: of an answer that is drawn.
    """
    if getattr(logits_fn, "draws", False):
        return logits_fn(x, random)
    return logits_fn(x)
