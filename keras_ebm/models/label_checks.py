"""Labels of `fit` and `evaluate`: the numbers of classes, -1 where there is none."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.data.label_rule import whole_numbers


def check_array(y: Any, num_classes: int):
    """Looks at all labels of an array before the first step.

    Args:
        y: what `fit` was given. Anything but an array is left to `check_batch`.
        num_classes: int, logits of the model. With one there may be no labels.

    Returns:
        `y`, with -1 for missing labels where they are floats or objects.

    Raises:
        ValueError: if a label is no whole number from -1 to `num_classes - 1`, or
            there is one and the model has no classes.
    """
    if not hasattr(y, "__array__"):
        return y
    if num_classes < 2:
        _check_unlabelled(np.asarray(y))
        return y
    if tf.is_tensor(y):
        return y
    # Rows of one-hot labels are refused by their shape, not by what is in them.
    if np.size(y) != len(y):
        return y
    numbers = whole_numbers(y, "`y`")
    bad = np.ravel((numbers < -1) | (numbers >= num_classes))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{_rule(num_classes)} Received: {np.ravel(numbers)[row]} in row {row} "
            "(counted from 0). Renumber them by np.unique(y, return_inverse=True)[1]."
        )
    # What was of integers is passed on as it is, a pandas series for one.
    return y if np.asarray(y).dtype.kind in "iub" else numbers


def _check_unlabelled(y: np.ndarray) -> None:
    """Raises ValueError if a row has a label, which a density would not look at."""
    try:
        labelled = np.ravel(whole_numbers(y, "`y`") != -1)
    except ValueError:
        # Words or fractions.
        labelled = np.ones(np.size(y), bool)
    if labelled.any():
        row = int(np.argmax(labelled))
        raise ValueError(
            "`y` must be None, or -1 in each row, as a network of one output has no "
            f"classes to learn. Received: {np.ravel(y)[row]!r} in row {row} (counted "
            "from 0). Leave `y` out; or for classes take a network of an output each: "
            "networks.from_classifier makes two of a binary classifier's one."
        )


def check_labels(y: Any, num_classes: int, num_rows: int | None):
    """Looks at the labels of `E(x, y)`, of which each row needs one.

    Only values that are at hand are looked at: a tensor of a graph costs nothing there
    and is passed on.

    Args:
        y: array, list or tensor.
        num_classes: int, logits of the model.
        num_rows: int, of `x`; None where it is not known.

    Returns:
        `y`, as an array of integers where it was at hand.

    Raises:
        ValueError: if `y` has another shape than `(num_rows,)`, or a label is no whole
            number from 0 to `num_classes - 1`.
    """
    of_graph = tf.is_tensor(y) and not tf.executing_eagerly()
    if of_graph or isinstance(y, keras.KerasTensor):
        return y
    labels = np.asarray(y)
    if labels.ndim != 1 or num_rows not in (None, len(labels)):
        raise ValueError(
            "`y` must hold a class for each row of `x`, of shape "
            f"({'n' if num_rows is None else num_rows},). Received: shape "
            f"{labels.shape}; give an array of one label a row."
        )
    numbers = whole_numbers(labels, "`y`")
    bad = (numbers < 0) | (numbers >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"`y` must hold whole numbers from 0 to {num_classes - 1}, as the network "
            f"has {num_classes} logits. Received: {labels[row]} in row {row} (counted "
            "from 0); leave out rows without a label, or `y` for the energy of x alone."
        )
    return numbers


def check_batch(y: tf.Tensor, num_classes: int):
    """Labels of a batch as int32, which TensorFlow looks at in each step.

    That costs a comparison of the batch's integers. XLA leaves such checks out: there,
    and there alone, a wrong label in a `tf.data.Dataset` goes unnoticed.

    Args:
        y: tensor of labels.
        num_classes: int, as of `check_array`.

    Returns:
        int32 tensor of `y`'s shape, -1 where a label is NaN.

    Raises:
        ValueError: if they are no numbers.
        tf.errors.InvalidArgumentError: in the step, as `check_array`.
    """
    if not (y.dtype.is_integer or y.dtype.is_floating or y.dtype.is_bool):
        raise ValueError(f"{_rule(num_classes)} Received: labels of {y.dtype.name}.")
    if num_classes < 2:
        return tf.cast(y, tf.int32)
    numbers = y
    if y.dtype.is_floating:
        numbers = tf.where(tf.math.is_nan(y), tf.cast(-1, y.dtype), y)
    labels = tf.cast(numbers, tf.int32)
    fits = (labels >= -1) & (labels < num_classes)
    if y.dtype not in (tf.int32, tf.bool):
        # Fractions, and what 32 bits do not hold: 2^32 - 1 would be read as -1.
        fits &= tf.cast(labels, y.dtype) == numbers
    if y.dtype.is_unsigned:
        fits &= labels >= 0
    message = f"{_rule(num_classes)} The batch holds:"
    check = tf.debugging.Assert(tf.reduce_all(fits), [message, y], summarize=20)
    # Eagerly there is no operation: the check has been made.
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(labels)


def check_vectors(y: Any, label_size: int, num_rows: int | None, name: str = "`y`"):
    """Looks at labels that are vectors of numbers, as of a `VectorConditional`.

    Args:
        y: array, list or tensor; a tensor of a graph is not looked at.
        label_size: int, numbers of a label.
        num_rows: int, of `x`; None where it is not known.
        name: of the argument, for errors.

    Returns:
        `y`, as a float32 array where it was at hand.

    Raises:
        ValueError: if it is absent, of another shape than `(num_rows, label_size)`, or
            a number is not finite.
    """
    of_graph = tf.is_tensor(y) and not tf.executing_eagerly()
    if of_graph or isinstance(y, keras.KerasTensor):
        return y
    rule = (
        f"{name} must hold {label_size} finite numbers for each row, of shape "
        f"({'n' if num_rows is None else num_rows}, {label_size})."
    )
    if y is None:
        raise ValueError(f"{rule} Received: none; the energy is one of labels.")
    values = np.asarray(y, np.float32)
    wrong_count = num_rows is not None and len(values) != num_rows
    if values.ndim != 2 or values.shape[1] != label_size or wrong_count:
        raise ValueError(f"{rule} Received: shape {values.shape}.")
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"{rule} Received: {values[row]} in row {row}.")
    return values


def check_vector_batch(y: tf.Tensor | None, label_size: int):
    """Vector labels of a batch as float32, of which the step checks the numbers.

    Raises:
        ValueError: if they are absent or of another shape.
        tf.errors.InvalidArgumentError: in the step, if a number is not finite.
    """
    shape = None if y is None else tuple(y.shape)
    if shape is None or len(shape) != 2 or shape[1] not in (None, label_size):
        raise ValueError(
            f"`y` must hold {label_size} numbers for each row. Received: "
            f"{'none' if shape is None else f'shape {shape}'}."
        )
    return tf.debugging.check_numerics(
        tf.cast(y, tf.float32), f"`y` must hold {label_size} finite numbers a row"
    )


def _rule(num_classes: int) -> str:
    return (
        "`y` must hold the numbers of classes, whole and from 0 to "
        f"{num_classes - 1} as the network has {num_classes} logits, or -1 for rows "
        "without a label."
    )
