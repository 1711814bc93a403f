"""Weights of rows in `fit` and `evaluate`: `sample_weight` and `class_weight`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def check_sample_weight(weights: Any, num_rows: int | None):
    """Looks at all weights of an array before the first step.

    Args:
        weights: what `fit` was given as `sample_weight`, or None.
        num_rows: int, rows of the data; None where that is not known.

    Returns:
        float32 array `(num_rows,)`, or None.

    Raises:
        ValueError: if they are not one number a row, finite and at least 0.
    """
    if weights is None:
        return None
    try:
        numbers = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_RULE} Received: {weights!r}.") from error
    one_a_row = numbers.ndim == 1 or (numbers.ndim == 2 and numbers.shape[1] == 1)
    if not one_a_row or num_rows not in (None, len(numbers)):
        rows = "" if num_rows is None else f" for {num_rows} rows"
        raise ValueError(
            f"{_RULE} Received: shape {numbers.shape}{rows}; give an array of one "
            "weight a row."
        )
    numbers = numbers.ravel()
    bad = ~(np.isfinite(numbers) & (numbers >= 0.0))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{_RULE} Received: {numbers[row]} in row {row} (counted from 0); give 0 "
            "to rows that shall not count."
        )
    return numbers.astype(np.float32)


def check_class_weight(class_weight: Any, num_classes: int) -> dict | None:
    """Weights by class, as floats.

    Args:
        class_weight: mapping from classes to weights, or None. Of the classes -1, rows
            without a label, and those that are left out weigh 1.
        num_classes: int, logits of the model.

    Raises:
        ValueError: if a class is none of the model's, or a weight is negative or not
            finite.
    """
    if class_weight is None:
        return None
    rule = (
        "`class_weight` must be a dict from classes, whole numbers from 0 to "
        f"{num_classes - 1} (and -1 for rows without a label), to finite weights of at "
        "least 0."
    )
    if num_classes < 2:
        raise ValueError(
            "`class_weight` needs a network with classes. Received: class_weight="
            f"{class_weight!r} for {num_classes} output; give `sample_weight`."
        )
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"{rule} Received: class_weight={class_weight!r}.")
    for number, weight in class_weight.items():
        known = isinstance(number, int | np.integer) and -1 <= number < num_classes
        if not known or not _is_weight(weight):
            raise ValueError(f"{rule} Received: {number!r}: {weight!r}.")
    return {int(number): float(weight) for number, weight in class_weight.items()}


def weigh_classes(data: tf.data.Dataset, class_weight: dict, num_classes: int):
    """A dataset `(x, y)` with a weight for each row, by its class.

    Args:
        data: batches of inputs and labels.
        class_weight: what `check_class_weight` gave.
        num_classes: int.

    Raises:
        ValueError: if the batches have no labels, or have weights already.
    """
    spec = data.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(
            "`class_weight` needs batches (x, y) of inputs and labels, without weights "
            f"of their own. Received: batches of {spec}; put weights into the batches "
            "instead, as (x, y, sample_weight)."
        )
    table = [class_weight.get(number, 1.0) for number in range(-1, num_classes)]

    def weigh(x, y):
        # Labels of the classifier's rows and of the energy's may be a pair.
        pair = isinstance(y, tuple)
        return x, y, tuple(map(weights, y)) if pair else weights(y)

    def weights(y):
        labels = tf.reshape(y, [-1])
        if labels.dtype.is_floating:
            missing = tf.math.is_nan(labels)
            labels = tf.where(missing, tf.cast(-1, labels.dtype), labels)
        # Wrong labels are told of in their step, and not by their place in the table.
        places = tf.clip_by_value(tf.cast(labels, tf.int64), -1, num_classes - 1)
        return tf.gather(tf.constant(table, tf.float32), places + 1)

    return data.map(weigh)


def rows_of(x: Any) -> int | None:
    """Number of rows of arrays of inputs; None of what is no array."""
    leaves = keras.tree.flatten(x)
    shape = getattr(leaves[0], "shape", None) if leaves else None
    return int(shape[0]) if shape else None


def labels_beside_weights(x: Any, y: Any, weights: Any = None):
    """Labels; -1 in place of None where Keras would lose weights that come without."""
    num_rows = rows_of(x)
    if y is not None or weights is None or num_rows is None:
        return y
    return np.full(num_rows, -1, np.int32)


def check_batch_weights(weights: Any):
    """Weights of a batch as float32 `(rows,)`, which TensorFlow looks at in each step.

    XLA leaves such checks out.

    Args:
        weights: tensor or array `(rows,)` or `(rows, 1)`.

    Raises:
        ValueError: if they have another rank.
        tf.errors.InvalidArgumentError: in the step, if one is negative or not finite.
    """
    weights = tf.cast(tf.convert_to_tensor(weights), tf.float32)
    if weights.shape.rank not in (None, 1) and tuple(weights.shape[1:]) != (1,):
        raise ValueError(f"{_RULE} Received: shape {tuple(weights.shape)}.")
    weights = tf.reshape(weights, [-1])
    fits = tf.reduce_all(tf.math.is_finite(weights) & (weights >= 0.0))
    message = f"{_RULE} The batch holds:"
    check = tf.debugging.Assert(fits, [message, weights], summarize=20)
    # Eagerly there is no operation: the check has been made.
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(weights)


def _is_weight(value: Any) -> bool:
    try:
        return bool(np.isfinite(value)) and float(value) >= 0.0
    except (TypeError, ValueError):
        return False


_RULE = "`sample_weight` must hold a finite weight of at least 0 for each row."
