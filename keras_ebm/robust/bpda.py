"""Gradients through what has none, or useless ones."""

from collections.abc import Callable

import tensorflow as tf


def bpda(preprocess: Callable[[tf.Tensor], tf.Tensor], logits_fn: Callable) -> Callable:
    """Logits after a preprocessing whose gradient is taken for the identity's.

    For an attack on a model that rounds, denoises or refines its inputs: what such a
    preprocessing gives is near what it takes, and so is the gradient there (backward
    pass differentiable approximation). `Refined` has the same by
    `gradient="identity"`.

    Args:
        preprocess: callable from `(batch, ...)` to the same shape.
        logits_fn: callable from there to logits `(batch, K)`.

    Returns:
        Callable from `(batch, ...)` to logits, for `pgd`.

    References:
        - Athalye et al. (2018), https://arxiv.org/abs/1802.00420, section 4.1.
    """

    def logits(x):
        return logits_fn(x + tf.stop_gradient(preprocess(x) - x))

    return logits
