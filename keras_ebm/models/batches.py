"""What `fit` hands to a step: preprocessed rows, labels, rows of the classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_ebm.models.label_checks import check_batch, check_vector_batch
from keras_ebm.models.weight_checks import check_batch_weights
from keras_ebm.random import StepRandom
from keras_ebm.rows import batch_size


class Batch(NamedTuple):
    """The rows of one step.

    `x` `(batch, ...)` is preprocessed, with the noise of training; `y` `(batch,)` are
    labels, -1 for unlabelled, or vectors `(batch, D)`; `random` is the step's noise.
    `class_x` and `class_y` are what the cross-entropy sees where those are others, such
    as an augmented view of the same rows. `weights` and `class_weights` `(batch,)`
    are the sample weights of `x` and of `class_x`, None where all rows count alike.
    """

    x: tf.Tensor
    y: tf.Tensor
    random: StepRandom
    class_x: tf.Tensor | None = None
    class_y: tf.Tensor | None = None
    weights: tf.Tensor | None = None
    class_weights: tf.Tensor | None = None


def unpack(
    data: Any,
    preprocess: Callable[..., tf.Tensor],
    num_classes: int,
    label_size: int = 0,
):
    """Preprocessed inputs, labels, -1 where there are none, and sample weights or None.

    Args:
        data: inputs, `(inputs, labels)`, or `(inputs, labels, sample weights)`.
        preprocess: callable on raw inputs.
        num_classes: int, the model's.
        label_size: int, of labels that are vectors, else 0.

    Raises:
        ValueError: if the labels are no numbers of classes, or no such vectors, or the
            weights none of rows.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    if weights is not None:
        weights = check_batch_weights(weights)
    x = preprocess(x)
    if label_size:
        y = None if y is None else tf.convert_to_tensor(y)
        return x, check_vector_batch(y, label_size), weights
    if y is None:
        return x, -tf.ones([batch_size(x)], tf.int32), weights
    y = tf.convert_to_tensor(y)
    if y.shape.rank not in (None, 1) and tuple(y.shape[1:]) != (1,):
        raise ValueError(
            "`y` must hold the number of a class for each row, or -1. Received: "
            f"shape {tuple(y.shape)}; of one-hot rows take y.argmax(axis=-1)."
        )
    return x, tf.reshape(check_batch(y, num_classes), [-1]), weights


def unpack_views(
    data: Any,
    preprocess: Callable[..., tf.Tensor],
    num_classes: int,
    label_size: int = 0,
):
    """As `unpack` without the weights, and a dict of the others of a `Batch`, if any.

    The classifier's own rows come as `((class_x, x), y)` or, with labels and weights of
    their own, as `((class_x, x), (class_y, y), (class_weights, weights))`.
    """
    inputs, *others = data if isinstance(data, tuple) else (data,)
    if not isinstance(inputs, tuple):
        x, y, weights = unpack(data, preprocess, num_classes, label_size)
        return x, y, {} if weights is None else {"weights": weights}
    shown, inputs = inputs
    if not others or not isinstance(others[0], tuple):
        x, y, weights = unpack((inputs, *others), preprocess, num_classes)
        own = {"weights": weights, "class_weights": weights}
        return x, y, {"class_x": preprocess(shown), **own}
    if len(others) > 1 and not isinstance(others[1], tuple):
        raise ValueError(
            "`sample_weight` must be a pair beside a pair of labels: weights of the "
            "classifier's rows, and of the energy's. Received: one array; give "
            "(class_weights, weights)."
        )
    shown_parts, own_parts = zip(*others, strict=True)
    class_x, class_y, class_weights = unpack(
        (shown, *shown_parts), preprocess, num_classes
    )
    x, y, weights = unpack((inputs, *own_parts), preprocess, num_classes)
    own = {"weights": weights, "class_weights": class_weights}
    return x, y, {"class_x": class_x, "class_y": class_y, **own}
