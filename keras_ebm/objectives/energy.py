"""What an energy network descends: contrast with negatives, and the penalty."""

from collections.abc import Callable

import tensorflow as tf

from keras_ebm.gradients import squared_norm
from keras_ebm.objectives.classification import mean_over


def data_mean(values: tf.Tensor, data_weights: tf.Tensor | None = None):
    """Mean of `(batch,)` over data, by their weights over the sum of all replicas'."""
    if data_weights is None:
        return tf.reduce_mean(values)
    return mean_over(values, data_weights)


def contrastive_loss(
    data_energy: tf.Tensor,
    negative_energy: tf.Tensor,
    weights: tf.Tensor | None = None,
    data_weights: tf.Tensor | None = None,
):
    """`mean E(x) - mean E(x_neg)`: its gradient is that of `-log p(x)`.

    That holds where the negatives are samples of `p = exp(-E) / Z`, or are
    weighted to be.

    Args:
        data_energy: `(batch,)` energies of data, nats.
        negative_energy: `(num_negatives,)` energies of negatives, nats.
        weights: `(num_negatives,)` summing to 1, or None for equal ones.
        data_weights: `(batch,)` at least 0, or None for equal ones. Their sum is
            divided by: what an energy is on average is no matter of theirs.

    Returns:
        Scalar, nats; unbounded below.
    """
    data = data_mean(data_energy, data_weights)
    if weights is None:
        return data - tf.reduce_mean(negative_energy)
    return data - tf.reduce_sum(weights * negative_energy)


def logistic_loss(
    data_energy: tf.Tensor,
    negative_energy: tf.Tensor,
    weights: tf.Tensor | None = None,
    data_weights: tf.Tensor | None = None,
):
    """`mean softplus(E(x)) + mean softplus(-E(x_neg))`.

    At its optimum `-E` is the log of the density ratio of data to negatives
    (equally many of each): a ratio, NOT a log-likelihood, and it depends on
    where the negatives come from. Bounded, so it needs no gradient penalty.

    Args:
        data_energy: `(batch,)` energies of data, nats.
        negative_energy: `(num_negatives,)` energies of negatives, nats.
        weights: see `contrastive_loss`; the ratio is then that to a mixture of where
            the negatives come from, by their weights.
        data_weights: likewise.

    Returns:
        Scalar, at least 0.
    """
    data = data_mean(tf.math.softplus(data_energy), data_weights)
    negatives = tf.math.softplus(-negative_energy)
    if weights is None:
        return data + tf.reduce_mean(negatives)
    return data + tf.reduce_sum(weights * negatives)


def logsumexp_loss(
    data_energy: tf.Tensor,
    negative_energy: tf.Tensor,
    data_weights: tf.Tensor | None = None,
):
    """`mean E(x) - sum_i w_i E(x_neg_i)` with `w = softmax(-E(x_neg))` held fixed.

    The lowest negatives count most, as if the chains had not walked far enough
    down: IGEBM's "logsumexp" objective.

    Args:
        data_energy: `(batch,)` energies of data, nats.
        negative_energy: `(num_negatives,)` energies of negatives, nats.
        data_weights: see `contrastive_loss`.

    Returns:
        Scalar, nats; unbounded below.
    """
    weights = tf.stop_gradient(tf.nn.softmax(-negative_energy))
    return contrastive_loss(data_energy, negative_energy, weights, data_weights)


def softplus_loss(
    data_energy: tf.Tensor,
    negative_energy: tf.Tensor,
    data_weights: tf.Tensor | None = None,
):
    """`mean_i softplus(E(x_i) - E(x_neg_i))`, pairs by their place in the batch.

    IGEBM's "softplus" objective: a pair that is already far apart pulls no more.

    Args:
        data_energy: `(batch,)` energies of data, nats.
        negative_energy: `(batch,)` energies of negatives, nats.
        data_weights: of the pairs; see `contrastive_loss`.

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
    return data_mean(tf.math.softplus(data_energy - negative_energy), data_weights)


OBJECTIVES: dict[str, Callable[..., tf.Tensor]] = {
    "contrastive": contrastive_loss,
    "logistic": logistic_loss,
    "logsumexp": logsumexp_loss,
    "softplus": softplus_loss,
}

#: Those that take `weights` of the negatives.
WEIGHTED_OBJECTIVES = ("contrastive", "logistic")

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


def gradient_penalty(gradient: tf.Tensor, data_weights: tf.Tensor | None = None):
    """`mean 0.5 * ||dE/dx||^2` over data, with the paper's code's 1/2.

    Args:
        gradient: `(batch, ...)`, `dE/dx` at the data.
        data_weights: see `contrastive_loss`.

    Returns:
        Scalar, in squared nats per squared unit of `x`.
    """
    return data_mean(0.5 * squared_norm(gradient), data_weights)
