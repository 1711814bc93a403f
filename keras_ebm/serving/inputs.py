"""What a served model takes: raw images, encoded images, vectors, named columns."""

import re

import numpy as np
import tensorflow as tf

from keras_ebm.data.image_bytes import CHANNELS
from keras_ebm.data.schema import TableSchema
from keras_ebm.layers import TableEncoder
from keras_ebm.models import BaseEnergyModel

RATE = "target_fpr"


def input_kind(model: BaseEnergyModel) -> str:
    """`"table"`, `"vector"` or `"image"`: what the model's preprocessor takes."""
    if isinstance(model.preprocessor, TableEncoder):
        return "vector" if model.preprocessor.schema is None else "table"
    return "image" if len(model.network.input_shape) == 4 else "vector"


def takes_bytes(model: BaseEnergyModel) -> bool:
    """Whether there is a signature for encoded images: of uint8 in known channels."""
    if input_kind(model) == "table":
        return False
    raw = model.raw_spec()
    return raw.dtype == tf.uint8 and raw.shape[-1] in CHANNELS


def column_names(schema: TableSchema) -> dict[str, str]:
    """Maps each column to a name that a signature can have.

    Anything but letters, digits and `_` becomes `_`, and a name that another column
    or the rate has already, in whatever letters, gets a number: `"a("` and `"a["`
    become `a_` and `a__2`, `"B"` and `"b"` become `B` and `b_2`, `"self"` `self_2`.
    """
    names = {}
    # A signature is called by names beside its own `self`, and TensorFlow writes the
    # names in small letters.
    taken = {RATE, "self"}
    for column in schema.columns:
        name = re.sub(r"\W", "_", column.name, flags=re.ASCII)
        name = name if re.match(r"[A-Za-z]", name) else f"c{name}"
        free, number = name, 2
        while free.lower() in taken:
            free, number = f"{name}_{number}", number + 1
        names[column.name] = free
        taken.add(free.lower())
    return names


def column_specs(schema: TableSchema) -> dict[str, tf.TensorSpec]:
    """Specs of a table's columns, each `(batch,)`: numbers and strings.

    Numbers are float32, or float64 where float32 would merge them.
    """
    names = column_names(schema)
    return {
        names[column.name]: tf.TensorSpec(
            (None,),
            _served_type(column),
            name=names[column.name],
        )
        for column in schema.columns
    }


def _served_type(column):
    if column.kind != "numeric":
        return tf.string
    return tf.float64 if column.wide else tf.float32


def encode_columns(schema: TableSchema, columns: dict[str, tf.Tensor]) -> tf.Tensor:
    """Columns by name to the float rows that a `TableEncoder` takes.

    As in training: a category that is not in the vocabulary becomes -1, a
    missing one (an empty string, or a word that is missing by the schema) NaN, and
    NaN is a missing number.
    """
    names = column_names(schema)
    dtype = tf.float64 if any(c.wide for c in schema.columns) else tf.float32
    cells = []
    for column in schema.columns:
        value = columns[names[column.name]]
        if column.kind != "numeric":
            value = _codes(tf.strings.strip(value), column, schema.missing)
        cells.append(tf.cast(value, dtype))
    return tf.stack(cells, axis=-1)


def _codes(values, column, missing_words):
    words = tf.strings.lower(values) if column.kind == "boolean" else values
    matches = words[:, None] == tf.constant(list(column.vocabulary))[None]
    known = tf.reduce_any(matches, axis=-1)
    code = tf.cast(tf.argmax(matches, axis=-1, output_type=tf.int32), tf.float32)
    code = tf.where(known, code, -1.0)
    missing_words = tf.constant(list(missing_words))
    missing = tf.reduce_any(values[:, None] == missing_words[None], axis=-1)
    return tf.where(missing, float("nan"), code)


def split_columns(schema: TableSchema, rows: np.ndarray) -> dict:
    """Encoded rows `(n, columns)` back to columns by name, as requests hold them."""
    names = column_names(schema)
    columns = {}
    for index, column in enumerate(schema.columns):
        values: np.ndarray | list[str] = rows[:, index]
        if column.kind != "numeric":
            words = dict(enumerate(column.vocabulary)) | {
                -1: "\N{REPLACEMENT CHARACTER}"
            }
            values = [words.get(value, "") for value in rows[:, index].tolist()]
        columns[names[column.name]] = values
    return columns
