"""Self-normalised importance weights, and resampling by them."""

import tensorflow as tf


def normalised_weights(log_weights: tf.Tensor):
    """Weights that sum to 1, shape `(batch,)`, from `(batch,)` log-weights."""
    return tf.nn.softmax(log_weights)


def effective_share(weights: tf.Tensor):
    """Kish's effective sample size as a share of the batch, in `[1 / batch, 1]`.

    Args:
        weights: `(batch,)`, summing to 1.
    """
    size = tf.cast(tf.shape(weights)[0], weights.dtype)
    return 1.0 / (size * tf.reduce_sum(tf.square(weights)))


def tempering(log_weights: tf.Tensor, minimum_share: float, num_halvings: int = 16):
    """The largest exponent in `[0, 1]` that leaves a share of `minimum_share`.

    Args:
        log_weights: `(batch,)`.
        minimum_share: float in (0, 1).
        num_halvings: int, halvings of the interval; the exponent's precision
            is `2 ** -num_halvings`.

    Returns:
        Scalar tensor; 1 where the weights are even enough as they are.
    """

    def enough(exponent):
        return effective_share(tf.nn.softmax(exponent * log_weights)) >= minimum_share

    low, high = tf.zeros([], log_weights.dtype), tf.ones([], log_weights.dtype)
    whole = enough(high)
    for _ in range(num_halvings):
        middle = 0.5 * (low + high)
        good = enough(middle)
        low, high = tf.where(good, middle, low), tf.where(good, high, middle)
    return tf.where(whole, 1.0, low)


def systematic_resampling(weights: tf.Tensor, uniform: tf.Tensor):
    """Indices of a sample by `weights`, each taken `n w_i` times up to rounding.

    Args:
        weights: `(n,)`, summing to 1.
        uniform: scalar in `[0, 1)`, the one random number it needs.

    Returns:
        int32 tensor of shape `(n,)`, in ascending order.

    References:
        - Douc and Cappe (2005), "Comparison of resampling schemes for particle
          filtering".
    """
    size = tf.shape(weights)[0]
    places = (tf.cast(tf.range(size), weights.dtype) + uniform) / tf.cast(
        size, weights.dtype
    )
    # The sum may end a rounding below the last place.
    indices = tf.searchsorted(tf.cumsum(weights), places, side="right")
    return tf.minimum(indices, size - 1)
