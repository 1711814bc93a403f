"""What a classifier can be asked of rows without labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_share
from keras_ebm.gradients import squared_norm
from keras_ebm.objectives.classification import count_over, mean_over, times
from keras_ebm.protocols import RandomDraws
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class SemiSupervised(Saveable):
    """Pseudo-labels and virtual adversarial training, alone or together.

        pseudo_label_weight * mean 1[p_i >= threshold] CE(p(y|x_i), argmax p_i)
        + virtual_adversarial_weight * mean KL(p(y|x) || p(y|x + r))

    The first mean is over unlabelled rows, of which only the confident ones count
    (p_i is the largest probability, and the label it points to is held fixed). The
    second is over all rows: `r` has length `radius` and the direction in which
    `p(y|x)` changes fastest, found by one power iteration from a random one. No
    gradient goes through `p(y|x)` there, and dropout is off.

    Args:
        pseudo_label_weight: float >= 0.
        pseudo_label_threshold: float in (0, 1), least probability of a label.
        virtual_adversarial_weight: float >= 0.
        radius: float > 0, in units of preprocessed inputs.
        probe: float > 0, length at which the power iteration takes its gradient.
            Defaults to a tenth of `radius`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Lee (2013), "Pseudo-label: the simple and efficient semi-supervised
          learning method for deep neural networks", equation 15; the threshold
          is from later work.
        - Miyato et al. (2018), "Virtual adversarial training",
          https://arxiv.org/abs/1704.03976, algorithm 1.
    """

    _values = (
        "pseudo_label_weight",
        "pseudo_label_threshold",
        "virtual_adversarial_weight",
        "radius",
        "probe",
    )

    def __init__(
        self,
        *,
        pseudo_label_weight: float = 0.0,
        pseudo_label_threshold: float = 0.95,
        virtual_adversarial_weight: float = 0.0,
        radius: float = 1.0,
        probe: float | None = None,
    ):
        self.pseudo_label_weight = check_positive(
            "pseudo_label_weight", pseudo_label_weight, zero_allowed=True
        )
        self.pseudo_label_threshold = check_share(
            "pseudo_label_threshold", pseudo_label_threshold
        )
        self.virtual_adversarial_weight = check_positive(
            "virtual_adversarial_weight", virtual_adversarial_weight, zero_allowed=True
        )
        self.radius = check_positive("radius", radius)
        self.probe = check_positive("probe", radius / 10 if probe is None else probe)

    @property
    def log_names(self) -> tuple[str, ...]:
        """Names of what `loss` logs."""
        pseudo = ("pseudo_labelled",) if self.pseudo_label_weight else ()
        virtual = ("virtual_adversarial",) if self.virtual_adversarial_weight else ()
        return pseudo + virtual

    def loss(
        self,
        logits_fn: Callable[[tf.Tensor], tf.Tensor],
        x: tf.Tensor,
        logits: tf.Tensor,
        unlabelled: tf.Tensor,
        random: RandomDraws,
        sample_weight: tf.Tensor | None = None,
    ):
        """The weighted terms on one batch.

        Args:
            logits_fn: callable from `(batch, ...)` to logits, without dropout.
            x: `(batch, ...)`, preprocessed.
            logits: `(batch, K)` of `x`, as in training.
            unlabelled: `(batch,)` bool.
            random: `keras_ebm.random.StepRandom`, for the first direction.
            sample_weight: `(batch,)` at least 0 that each row's share is multiplied
                with, or None.

        Returns:
            `(loss, logs)`: a scalar, and values by the names in `log_names`; under
            `"loss_parts"` a list of `(value, rows)`, the terms that are means over
            other rows than all.
        """
        loss = 0.0
        logs: dict[str, Any] = {"loss_parts": []}
        if self.pseudo_label_weight:
            values, confident = pseudo_label_loss(logits, self.pseudo_label_threshold)
            counted = values * tf.cast(confident, values.dtype)
            logs["pseudo_labelled"] = (tf.cast(confident, "float32"), unlabelled)
            shares = times(counted, sample_weight)
            term = self.pseudo_label_weight * mean_over(shares, unlabelled)
            logs["loss_parts"].append((term, count_over(unlabelled)))
            loss += term
        if self.virtual_adversarial_weight:
            direction = random.normal(tf.shape(x), "adversarial")
            values = virtual_adversarial_loss(
                logits_fn, x, direction, radius=self.radius, probe=self.probe
            )
            logs["virtual_adversarial"] = values
            shares = times(values, sample_weight)
            loss += self.virtual_adversarial_weight * tf.reduce_mean(shares)
        return loss, logs


def pseudo_label_loss(logits: tf.Tensor, threshold: float):
    """Cross-entropy with the label that each row's own logits point to.

    Args:
        logits: `(batch, K)`.
        threshold: float in (0, 1).

    Returns:
        `(values, confident)`, both `(batch,)`: nats, and whether the label's
        probability is at least `threshold`.
    """
    held = tf.stop_gradient(logits)
    values = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.argmax(held, axis=-1), logits=logits
    )
    return values, tf.reduce_max(tf.nn.softmax(held), axis=-1) >= threshold


def virtual_adversarial_loss(
    logits_fn: Callable[[tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    direction: tf.Tensor,
    *,
    radius: float,
    probe: float,
):
    """`KL(p(y|x) || p(y|x + r))` in the direction where it grows fastest.

    Args:
        logits_fn: callable from `(batch, ...)` to logits `(batch, K)`.
        x: `(batch, ...)`.
        direction: like `x`, random; the power iteration starts there.
        radius: float, length of `r`.
        probe: float, length at which the iteration takes its gradient.

    Returns:
        `(batch,)` nats.
    """
    target = tf.stop_gradient(logits_fn(x))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        offset = probe * _unit(direction)
        tape.watch(offset)
        divergence = _divergence(target, logits_fn(x + offset))
    gradient = tape.gradient(divergence, offset)
    offset = radius * _unit(tf.stop_gradient(gradient))
    return _divergence(target, logits_fn(x + offset))


def _unit(direction):
    """Each row at length 1; a row of zeros, which points nowhere, stays."""
    length = tf.sqrt(squared_norm(direction))
    shape = [-1, *[1] * (len(direction.shape) - 1)]
    return tf.math.divide_no_nan(direction, tf.reshape(length, shape))


def _divergence(target, logits):
    log_p, log_q = tf.nn.log_softmax(target), tf.nn.log_softmax(logits)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)
