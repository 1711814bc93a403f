"""What an energy network descends: contrast with negatives, and the penalty."""

import tensorflow as tf

from keras_ebm.gradients import squared_norm


def contrastive_loss(
    data_energy: tf.Tensor, negative_energy: tf.Tensor, weights: tf.Tensor | None = None
):
    """`mean E(x) - mean E(x_neg)`: its gradient is that of `-log p(x)`.

    That holds where the negatives are samples of `p = exp(-E) / Z`, or are
    weighted to be.

    Args:
        data_energy: `(batch,)` energies of data, nats.
        negative_energy: `(num_negatives,)` energies of negatives, nats.
        weights: `(num_negatives,)` summing to 1, or None for equal ones.

    Returns:
        Scalar, nats; unbounded below.
    """
    if weights is None:
        return tf.reduce_mean(data_energy) - tf.reduce_mean(negative_energy)
    return tf.reduce_mean(data_energy) - tf.reduce_sum(weights * negative_energy)


def logistic_loss(data_energy: tf.Tensor, negative_energy: tf.Tensor):
    """`mean softplus(E(x)) + mean softplus(-E(x_neg))`.

    At its optimum `-E` is the log of the density ratio of data to negatives
    (equally many of each): a ratio, NOT a log-likelihood, and it depends on
    where the negatives come from. Bounded, so it needs no gradient penalty.

    Args:
        data_energy: `(batch,)` energies of data, nats.
        negative_energy: `(num_negatives,)` energies of negatives, nats.

    Returns:
        Scalar, at least 0.
    """
    data = tf.reduce_mean(tf.math.softplus(data_energy))
    return data + tf.reduce_mean(tf.math.softplus(-negative_energy))


def logsumexp_loss(data_energy: tf.Tensor, negative_energy: tf.Tensor):
    """`mean E(x) - sum_i w_i E(x_neg_i)` with `w = softmax(-E(x_neg))` held fixed.

    The lowest negatives count most, as if the chains had not walked far enough
    down: IGEBM's "logsumexp" objective.

    Args:
        data_energy: `(batch,)` energies of data, nats.
        negative_energy: `(num_negatives,)` energies of negatives, nats.

    Returns:
        Scalar, nats; unbounded below.
    """
    weights = tf.stop_gradient(tf.nn.softmax(-negative_energy))
    return contrastive_loss(data_energy, negative_energy, weights)


def softplus_loss(data_energy: tf.Tensor, negative_energy: tf.Tensor):
    """`mean_i softplus(E(x_i) - E(x_neg_i))`, pairs by their place in the batch.

    IGEBM's "softplus" objective: a pair that is already far apart pulls no more.

    Args:
        data_energy: `(batch,)` energies of data, nats.
        negative_energy: `(batch,)` energies of negatives, nats.

    Returns:
        Scalar, at least 0.

    Raises:
        ValueError: if there are not as many negatives as data.
    """
    if data_energy.shape[0] != negative_energy.shape[0]:
        raise ValueError(
            "The softplus objective pairs each input with a negative. Received: "
            f"{data_energy.shape[0]} inputs and {negative_energy.shape[0]} negatives."
        )
    return tf.reduce_mean(tf.math.softplus(data_energy - negative_energy))


OBJECTIVES = {
    "contrastive": contrastive_loss,
    "logistic": logistic_loss,
    "logsumexp": logsumexp_loss,
    "softplus": softplus_loss,
}

#: Those whose gradient at a negative `negative_slope` knows, as a generator needs.
GENERATOR_OBJECTIVES = ("contrastive", "logistic")


def negative_slope(objective: str, negative_energy: tf.Tensor):
    """`-n * d loss / d E(x_neg)` of each negative, for `n` negatives.

    It says how much of `dE/dx_neg` the loss's own gradient carries, so that
    one backward pass serves the energy and the generator.
    """
    if objective == "contrastive":
        return tf.ones_like(negative_energy)
    # Below 1e-30 the product with a gradient would leave float32's range; a
    # sample 69 nats up then pulls less, and NaN stays NaN.
    return tf.math.maximum(tf.math.sigmoid(-negative_energy), 1e-30)


def gradient_penalty(gradient: tf.Tensor):
    """`mean 0.5 * ||dE/dx||^2` over data, with the paper's code's 1/2.

    Args:
        gradient: `(batch, ...)`, `dE/dx` at the data.

    Returns:
        Scalar, in squared nats per squared unit of `x`.
    """
    return tf.reduce_mean(0.5 * squared_norm(gradient))
