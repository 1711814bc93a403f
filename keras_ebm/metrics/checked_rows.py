"""Refusal of rows inside Keras metrics, wherever they run."""

import math

import tensorflow as tf

#: How far the sum of a row may be from 1, unless its type is coarser.
TOLERANCE = 1e-3
#: Twice the step from 1 to the next number, of the types that are.
COARSE = {"float16": 2.0**-9, "bfloat16": 2.0**-6}


def tolerance(*dtypes: str) -> float:
    """How far from 1 rows of probabilities may sum that have been in these types."""
    return max([TOLERANCE, *(COARSE.get(dtype, 0.0) for dtype in dtypes)])


def not_on_simplex(
    probabilities: tf.Tensor, largest_gap: float
) -> tuple[tf.Tensor, list]:
    """Which rows are no probabilities, and what to say of them.

    Args:
        probabilities: float tensor of shape `(batch, num_classes)`.
        largest_gap: float, how far from 1 a row may sum.

    Returns:
        A bool tensor of shape `(batch,)`, false for a row with a nan, and a list of
        strings and tensors.
    """
    total = tf.reduce_sum(tf.cast(probabilities, tf.float64), axis=-1)
    smallest = tf.reduce_min(probabilities, axis=-1)
    bad = (smallest < 0.0) | (tf.abs(total - 1.0) > largest_gap)
    received = ["smallest values", *span(smallest, bad), "and sums", *span(total, bad)]
    return bad, received


def span(values: tf.Tensor, bad: tf.Tensor) -> list:
    """From where to where the values `(batch,)` of bad rows reach, for a message."""
    values, infinity = tf.cast(values, tf.float64), tf.constant(math.inf, tf.float64)
    least = tf.reduce_min(tf.where(bad, values, infinity))
    return ["from", least, "to", tf.reduce_max(tf.where(bad, values, -infinity))]


def refuse_rows(
    values: tf.Tensor, bad: tf.Tensor, rule: str, received: list
) -> tf.Tensor:
    """`values`, or an error where a row of them is bad.

    Args:
        values: float tensor of shape `(batch, ...)`.
        bad: bool tensor of shape `(batch,)`.
        rule: string, what each row must be, and the remedy.
        received: list of strings and tensors, what the bad rows are instead.

    Returns:
        `values`; under XLA, which has no errors, with nan in the bad rows.

    Raises:
        ValueError: if a row is bad, eagerly.
        InvalidArgumentError: if a row is bad, in a graph.
    """
    count = tf.reduce_sum(tf.cast(bad, tf.int32))
    data = [f"{rule} Received:", count, "rows that are not, with", *received]
    if tf.executing_eagerly():
        if count > 0:
            words = [part if isinstance(part, str) else part.numpy() for part in data]
            raise ValueError(" ".join(map(str, words)) + ".")
        return values
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(count, 0), data)]):
        rows = tf.reshape(bad, [-1] + [1] * (len(values.shape) - 1))
        return tf.where(rows, tf.constant(math.nan, values.dtype), values)


def as_vector(name: str, values: tf.Tensor) -> tf.Tensor:
    """A tensor `(batch,)` of one that is that or `(batch, 1)`.

    Raises:
        ValueError: if it has another shape.
    """
    values = tf.convert_to_tensor(values)
    shape = values.shape
    if shape.rank is not None and shape.rank != 1 and shape[1:] != [1]:
        raise ValueError(
            f"`{name}` must have shape `(batch,)` or `(batch, 1)`. Received: shape "
            f"{tuple(shape)}."
        )
    return tf.reshape(values, [-1])
