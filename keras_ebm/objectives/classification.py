"""Class terms of a joint energy model; a label of -1 means unlabelled."""

import tensorflow as tf

from keras_ebm.random import replica_context


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor):
    """Cross-entropy of each row in nats, 0 where the label is -1; `(batch,)`.

    Args:
        logits: `(batch, num_classes)`.
        labels: `(batch,)` integers; -1 means unlabelled.
    """
    labelled = labels >= 0
    values = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.where(labelled, labels, 0), logits=logits
    )
    return tf.where(labelled, values, tf.zeros_like(values))


def conditional_entropy(logits: tf.Tensor):
    """Entropy of `p(y|x)` of each row, nats; `(batch,)`."""
    log_probabilities = tf.nn.log_softmax(logits)
    probabilities = tf.exp(log_probabilities)
    return -tf.reduce_sum(probabilities * log_probabilities, axis=-1)


def times(values: tf.Tensor, sample_weight: tf.Tensor | None):
    """Values `(batch,)` of rows, each times its weight where there are weights."""
    if sample_weight is None:
        return values
    return values * tf.cast(sample_weight, values.dtype)


def mean_over(values: tf.Tensor, mask: tf.Tensor):
    """Mean of `values` over the rows of the global batch where `mask` holds.

    Replicas hold different numbers of such rows, so the count is summed over
    all of them; the mean of the replicas' results is the global mean. With no
    such row the term is 0, as it has nothing to say about that batch.

    Args:
        values: `(batch,)`.
        mask: `(batch,)` booleans, or weights at least 0 of a weighted mean.
    """
    weights = tf.cast(mask, values.dtype)
    count = tf.cast(count_over(mask), values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), count)


def count_over(mask: tf.Tensor):
    """Rows of the global batch where `mask` holds, over the number of replicas.

    Of weights it is their sum. What a mean of `mean_over` has to be multiplied with, so
    that the sum over replicas and batches is the sum of its values.
    """
    count = tf.reduce_sum(tf.cast(mask, tf.float32))
    _, num_replicas = replica_context()
    if num_replicas > 1:
        context = tf.distribute.get_replica_context()
        count = context.all_reduce(tf.distribute.ReduceOp.SUM, count) / num_replicas
    return count
