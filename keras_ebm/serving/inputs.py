"""What a served model takes: images, encoded or not, vectors, strings, columns."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm.data.image_bytes import CHANNELS
from keras_ebm.data.schema import TableSchema
from keras_ebm.layers import TableEncoder
from keras_ebm.models import BaseEnergyModel
from keras_ebm.rows import as_rows

RATE = "target_fpr"
#: What stands for a number that there is none of, in requests and answers: the largest
#: float32, as strict JSON has neither NaN nor infinity.
LARGEST = float(np.finfo(np.float32).max)


def input_kind(model: BaseEnergyModel) -> str:
    """`"table"`, `"several"`, `"vector"` or `"image"`: what a model takes raw.

    Tables are columns by name, several inputs tensors by name; vectors are all other
    single inputs, strings too.
    """
    if isinstance(model.preprocessor, TableEncoder):
        return "vector" if model.preprocessor.schema is None else "table"
    raw = model.raw_spec()
    if isinstance(raw, dict):
        return "several"
    return "image" if raw.shape.rank == 4 else "vector"


def input_specs(model: BaseEnergyModel) -> dict[str, tf.TensorSpec]:
    """Specs of the raw inputs of any but a table's model, by the names served."""
    raw = model.raw_spec()
    specs = raw if isinstance(raw, dict) else {raw.name: raw}
    names = served_names(specs)
    return {
        names[name]: tf.TensorSpec(spec.shape, spec.dtype, name=names[name])
        for name, spec in specs.items()
    }


def raw_inputs(model: BaseEnergyModel, served: dict) -> Any:
    """What a model takes, of tensors by the names served."""
    raw = model.raw_spec()
    if not isinstance(raw, dict):
        (x,) = served.values()
        is_table = isinstance(model.preprocessor, TableEncoder)
        return without_largest(x) if is_table else x
    return {name: served[key] for name, key in served_names(raw).items()}


def request_of(model: BaseEnergyModel, x: Any) -> dict[str, tf.Tensor]:
    """Raw rows `x` as a request holds them: tensors by the names served."""
    specs = input_specs(model)
    raw = model.raw_spec()
    rows = as_rows(x, "x", raw)
    parts = {name: rows[name] for name in raw} if isinstance(raw, dict) else {"": rows}
    return {
        name: tf.cast(tf.constant(part), spec.dtype)
        if spec.dtype != tf.string
        else tf.constant(part)
        for (name, spec), part in zip(specs.items(), parts.values(), strict=True)
    }


def takes_bytes(model: BaseEnergyModel) -> bool:
    """Whether there is a signature for encoded images: of uint8 in known channels."""
    if input_kind(model) != "image":
        return False
    raw = model.raw_spec()
    return raw.dtype == tf.uint8 and raw.shape[-1] in CHANNELS


def column_names(schema: TableSchema) -> dict[str, str]:
    """Maps each column to a name that a signature can have; see `served_names`."""
    return served_names(column.name for column in schema.columns)


def served_names(given: Iterable[str]) -> dict[str, str]:
    """Maps names of columns or inputs to names that a signature can have.

    Anything but letters, digits and `_` becomes `_`, and a name that another column
    or the rate has already, in whatever letters, gets a number: `"a("` and `"a["`
    become `a_` and `a__2`, `"B"` and `"b"` become `B` and `b_2`, `"self"` `self_2`.
    """
    names: dict[str, str] = {}
    # A signature is called by names beside its own `self`, and TensorFlow writes the
    # names in small letters.
    taken = {RATE, "self"}
    for original in given:
        name = re.sub(r"\W", "_", original, flags=re.ASCII)
        name = name if re.match(r"[A-Za-z]", name) else f"c{name}"
        free, number = name, 2
        while free.lower() in taken:
            free, number = f"{name}_{number}", number + 1
        names[original] = free
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
    NaN or `LARGEST` is a missing number.
    """
    names = column_names(schema)
    dtype = tf.float64 if any(c.wide for c in schema.columns) else tf.float32
    cells = []
    for column in schema.columns:
        value = columns[names[column.name]]
        if column.kind != "numeric":
            value = _codes(tf.strings.strip(value), column, schema.missing)
        cells.append(tf.cast(value, dtype))
    return without_largest(tf.stack(cells, axis=-1))


def without_largest(cells: tf.Tensor) -> tf.Tensor:
    """Numbers with NaN in the place of `LARGEST`."""
    missing = tf.constant(float("nan"), cells.dtype)
    return tf.where(cells == LARGEST, missing, cells)


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
