"""Masks: some entries are known, and the others are not there (inpainting)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.protocols import RandomDraws
from keras_ebm.restore.corruption import Corruption


@keras.saving.register_keras_serializable(package="keras_ebm")
class Masked(Corruption):
    """`observed = x` where `known`, and `hidden` elsewhere.

    Args:
        known: booleans that broadcast to the inputs: one for all rows, such as
            `(height, width, 1)`, or one for each, `(rows, ...)`. True where an entry is
            observed.
        hidden: float, what stands in its place elsewhere, and where chains start.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _values = ("known", "hidden")

    def __init__(self, known: Any, hidden: float = 0.0):
        known = np.asarray(known)
        if known.dtype != bool:
            raise ValueError(
                "`known` must be booleans, True where an entry is observed. Received: "
                f"an array of {known.dtype}."
            )
        if not np.isfinite(hidden):
            raise ValueError(
                f"`hidden` must be a finite number. Received: hidden={hidden!r}."
            )
        self.known = known
        self.hidden = float(hidden)

    def corrupt(self, x: tf.Tensor, random: RandomDraws):
        return tf.where(self.known, x, self.hidden)

    def negative_log_likelihood(self, x: tf.Tensor, observed: tf.Tensor):
        # Known entries are fixed, and others say nothing.
        return tf.zeros([tf.shape(x)[0]])

    def fixed(self, observed: tf.Tensor):
        return tf.broadcast_to(self.known, tf.shape(observed))

    def informed(self, x: tf.Tensor, stddev: tf.Tensor, observed: tf.Tensor):
        return tf.where(self.known, observed, x)

    @classmethod
    def from_config(cls, config: dict):
        return super().from_config({**config, "known": np.array(config["known"], bool)})
