"""What `fit` hands to a step: preprocessed rows, labels, rows of the classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_ebm.models.label_checks import check_batch
from keras_ebm.random import StepRandom
from keras_ebm.rows import batch_size


class Batch(NamedTuple):
    """The rows of one step.

    `x` `(batch, ...)` is preprocessed, with the noise of training; `y` `(batch,)` are
    labels, -1 for unlabelled; `random` is the step's noise. `class_x` and `class_y` are
    what the cross-entropy sees where those are others, such as an augmented view of
    the same rows.
    """

    x: tf.Tensor
    y: tf.Tensor
    random: StepRandom
    class_x: tf.Tensor | None = None
    class_y: tf.Tensor | None = None


def unpack(data: Any, preprocess: Callable[..., tf.Tensor], num_classes: int):
    """Preprocessed inputs and labels, -1 where there are none.

    Args:
        data: inputs, or `(inputs, labels)`.
        preprocess: callable on raw inputs.
        num_classes: int, the model's.

    Raises:
        ValueError: if there are sample weights, or the labels are no numbers of
            classes.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        raise ValueError(
            "`sample_weight` and `class_weight` are not supported. Mark rows "
            "whose label should not count with -1 instead."
        )
    x = preprocess(x)
    if y is None:
        return x, -tf.ones([batch_size(x)], tf.int32)
    y = tf.convert_to_tensor(y)
    if y.shape.rank not in (None, 1) and tuple(y.shape[1:]) != (1,):
        raise ValueError(
            "`y` must hold the number of a class for each row, or -1. Received: "
            f"shape {tuple(y.shape)}; of one-hot rows take y.argmax(axis=-1)."
        )
    return x, tf.reshape(check_batch(y, num_classes), [-1])


def unpack_views(data: Any, preprocess: Callable[..., tf.Tensor], num_classes: int):
    """As `unpack`, and a dict of the classifier's own rows and labels, if any."""
    inputs, *labels = data if isinstance(data, tuple) else (data,)
    if not isinstance(inputs, tuple):
        return *unpack(data, preprocess, num_classes), {}
    shown, inputs = inputs
    if not labels or not isinstance(labels[0], tuple):
        x, y = unpack((inputs, *labels), preprocess, num_classes)
        return x, y, {"class_x": preprocess(shown)}
    shown_labels, own_labels = labels[0]
    class_x, class_y = unpack((shown, shown_labels), preprocess, num_classes)
    x, y = unpack((inputs, own_labels), preprocess, num_classes)
    return x, y, {"class_x": class_x, "class_y": class_y}
