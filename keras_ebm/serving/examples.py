"""Inputs in `tf.train.Example`s, of which a client may leave out what is missing."""

import math

import numpy as np
import tensorflow as tf

from keras_ebm.serving import text

#: The feature with the bytes of an image file.
IMAGE = "images"
#: Features of an example, by the type of an input; of others there are none.
KINDS = {
    tf.float16: tf.float32,
    tf.bfloat16: tf.float32,
    tf.float32: tf.float32,
    # Of float32 alone there are features: a text holds all digits.
    tf.float64: tf.string,
    tf.bool: tf.int64,
    tf.uint8: tf.int64,
    tf.int8: tf.int64,
    tf.uint16: tf.int64,
    tf.int16: tf.int64,
    tf.int32: tf.int64,
    tf.int64: tf.int64,
    tf.string: tf.string,
}


def features(
    specs: dict[str, tf.TensorSpec], image_shape: tuple[int, int, int] | None = None
) -> dict[str, tf.io.FixedLenFeature] | None:
    """How examples hold inputs, by the name of the feature.

    A float or a text that is left out is missing: NaN, or an empty string. Whole
    numbers cannot be left out.

    Args:
        specs: `TensorSpec` of each input, by the name served.
        image_shape: shape of an image where the bytes of its file are taken.

    Returns:
        Dict of features; None if an input has another type, or axes of any length.
    """
    if image_shape is not None:
        return {IMAGE: tf.io.FixedLenFeature([], tf.string, "")}
    found = {}
    for name, spec in specs.items():
        shape = spec.shape[1:]
        if spec.dtype not in KINDS or not shape.is_fully_defined():
            return None
        kind, default = KINDS[spec.dtype], None
        if kind == tf.float32:
            default = np.full(shape, np.nan, np.float32)
        elif kind == tf.string:
            default = np.full(shape, "", object)
        found[name] = tf.io.FixedLenFeature(shape.as_list(), kind, default)
    return found


def as_inputs(
    given: dict[str, tf.Tensor], specs: dict[str, tf.TensorSpec]
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Parsed features as inputs, and why a row cannot be read, or empty `(batch,)`.

    Args:
        given: what `tf.io.parse_example` gives for `features`.
        specs: `TensorSpec` of each input, by the name served.
    """
    wide = {name for name, spec in specs.items() if spec.dtype == tf.float64}
    rows = {
        name: tf.cast(given[name], specs[name].dtype) for name in specs.keys() - wide
    }
    flat = {
        name: tf.reshape(given[name], [-1, math.prod(specs[name].shape[1:])])
        for name in wide
    }
    numbers, refusals = text.numbers(flat, {name: specs[name] for name in wide}, ())
    for name, values in numbers.items():
        rows[name] = tf.reshape(values, tf.shape(given[name]))
    if not wide:
        refusals = tf.fill([tf.shape(next(iter(rows.values())))[0]], "")
    return rows, refusals


def serialise(
    given: dict[str, tf.Tensor], features: dict[str, tf.io.FixedLenFeature]
) -> list[bytes]:
    """Rows as serialised examples, those that are missing left out.

    Args:
        given: tensors `(rows, ...)` by the name of the feature.
        features: those of `features`.
    """
    wide = [name for name, feature in features.items() if feature.dtype == tf.string]
    texts = text.as_text({name: given[name] for name in wide})
    rows = {name: np.asarray(part) for name, part in (given | texts).items()}
    count = len(next(iter(rows.values())))
    return [
        _example({k: part[row] for k, part in rows.items()}, features)
        for row in range(count)
    ]


def _example(row: dict[str, np.ndarray], features) -> bytes:
    example = tf.train.Example()
    for name, feature in features.items():
        cells = np.ravel(row[name]).tolist()
        kept = example.features.feature[name]
        if feature.dtype == tf.float32:
            if not np.isnan(cells).all():
                kept.float_list.value.extend(cells)
        elif feature.dtype == tf.int64:
            kept.int64_list.value.extend(map(int, cells))
        elif any(cells):
            kept.bytes_list.value.extend(cells)
        if kept.WhichOneof("kind") is None:
            del example.features.feature[name]
    return example.SerializeToString()
