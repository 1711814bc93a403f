"""Rows of one input or of several: arrays, dicts of arrays, frames and datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

#: A `tf.TensorSpec` of a batch of one input, or a dict of several by name.
Spec = Any


def is_text(rows: np.ndarray) -> bool:
    """Whether an array holds strings, of one length or as objects."""
    if rows.dtype.kind != "O":
        return rows.dtype.kind in "US"
    # One tells of all: `as_rows` refuses arrays of several kinds.
    return all(isinstance(cell, str | bytes) for cell in rows.reshape(-1)[:1])


def as_array(rows: Any) -> np.ndarray:
    """What numpy makes of rows; strings are objects, whatever their lengths."""
    array = np.asarray(rows)
    return array.astype(object) if array.dtype.kind in "US" else array


def num_rows(x: Any) -> int:
    """Rows of an array or of a dict of arrays."""
    return len(tree.flatten(x)[0])


def batch_size(x: Any) -> tf.Tensor:
    """Rows of a tensor, or of a structure of them, as a scalar tensor."""
    return tf.shape(tree.flatten(x)[0])[0]


def take(x: Any, index: Any) -> Any:
    """Rows by index or slice, of an array or of each of a dict of arrays."""
    return tree.map_structure(lambda part: part[index], x)


def tensors(x: Any) -> Any:
    """Arrays as tensors."""
    return tree.map_structure(tf.constant, x)


def concatenate(parts: list) -> Any:
    """Parts of rows, one behind the other."""
    return tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def batch_spec(x: Any) -> Any:
    """Specs of batches of any size of rows like `x`."""

    def spec(rows):
        kind = tf.string if is_text(rows) else rows.dtype
        return tf.TensorSpec((None, *rows.shape[1:]), kind)

    return tree.map_structure(spec, x)


def blank(x: Any) -> Any:
    """One row of zeros or empty strings, of the kind of `x`."""

    def row(rows):
        shape = 1, *rows.shape[1:]
        return (
            np.full(shape, "", object) if is_text(rows) else np.zeros(shape, rows.dtype)
        )

    return tree.map_structure(row, x)


def as_rows(rows: Any, name: str, spec: Spec) -> Any:
    """Rows as a model takes them: an array or, of several inputs, a dict of arrays.

    Args:
        rows: array `(n, ...)`; a dict of them, or a list in the order of the inputs;
            a `pandas` frame, of numbers or with a column for each input; or a
            `tf.data.Dataset` of batches, of inputs or of `(inputs, labels)`.
        name: of the argument, for errors.
        spec: of a batch of the model's raw inputs.

    Raises:
        ValueError: if they are other inputs than the model's or of another shape,
            ragged, of different numbers, of objects that are no strings, or a dataset
            that is endless or not batched.
    """
    if isinstance(rows, tf.data.Dataset):
        return _of_dataset(rows, name, spec)
    if not isinstance(spec, dict):
        return _one_input(rows, name, spec)
    arrays = {
        key: _array(part, f"{name}[{key!r}]", spec[key])
        for key, part in by_name(rows, name, spec).items()
    }
    sizes = {key: len(part) for key, part in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"`{name}` must have as many rows for each input. Received: {sizes}."
        )
    return {key: _ranked(part, name, key, spec[key]) for key, part in arrays.items()}


def by_name(rows: Any, name: str, spec: dict) -> dict:
    """The parts of several inputs by their names, of a dict, a list or a frame."""
    if isinstance(rows, list | tuple) and len(rows) == len(spec):
        return dict(zip(spec, rows, strict=True))
    keys = list(getattr(rows, "columns", rows if isinstance(rows, dict) else ()))
    absent = [key for key in spec if key not in keys]
    if absent:
        kind = f"a dict of {keys}" if keys else f"a {type(rows).__name__}"
        raise ValueError(
            f"`{name}` must be a dict of the model's inputs, {list(spec)}. Received: "
            f"{kind}, without {absent[0]!r}."
        )
    return {key: rows[key] for key in spec}


def _one_input(rows, name, spec):
    if isinstance(rows, dict):
        rows = _only(rows, name, spec)
    return _ranked(_array(rows, name, spec), name, None, spec)


def _only(parts: dict, name: str, spec):
    """The part of a dict that names a model's only input."""
    if set(parts) != {spec.name}:
        raise ValueError(
            f"`{name}` must be one array of rows. Received: a dict of {len(parts)} "
            "keys; stack its columns, as by np.stack([*columns.values()], axis=1)."
        )
    return parts[spec.name]


def _array(rows, name: str, spec: tf.TensorSpec) -> np.ndarray:
    if isinstance(rows, tf.RaggedTensor):
        raise ValueError(
            f"`{name}` must have rows of one length. Received: a ragged tensor; pad "
            "it, as by rows.to_tensor()."
        )
    if isinstance(rows, tf.SparseTensor):
        raise ValueError(
            f"`{name}` must be dense. Received: a sparse tensor; fill it, as by "
            "tf.sparse.to_dense(rows)."
        )
    try:
        array = as_array(rows)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must have rows of one length. Received: "
            f"{type(rows).__name__} that is no array ({error}); pad its rows."
        ) from error
    if not array.ndim:
        raise ValueError(
            f"`{name}` must be an array of rows. Received: a single "
            f"{type(rows).__name__}; give a list or an array, of one row too."
        )
    if array.dtype.kind == "O":
        _check_objects(array, name, spec.dtype == tf.string)
    return array


def _check_objects(array: np.ndarray, name: str, wants_text: bool) -> None:
    """Raises ValueError unless every cell of an array of objects is a string."""
    cells = array.reshape(-1)
    texts = [isinstance(cell, str | bytes) for cell in cells]
    if all(texts):
        return
    numbers = [isinstance(cell, int | float | np.number) for cell in cells]
    # The cell that is none of what is wanted; numbers as objects have no such cell.
    fine = texts if wants_text else numbers
    index = fine.index(False) if not all(fine) else 0
    place = tuple(int(axis) for axis in np.unravel_index(index, array.shape))
    raise ValueError(
        f"`{name}` must hold numbers, or strings in every cell. Received: objects such "
        f"as {cells[index]!r} at {place}; convert them, or fill missing cells."
    )


def _ranked(array, name, key, spec):
    """Rows in the shape of a model's input, whose last axis may be of single cells."""
    where = f"`{name}`" if key is None else f"`{name}[{key!r}]`"
    text = is_text(array) if array.dtype.kind == "O" else False
    if len(array) and text != (spec.dtype == tf.string):
        raise ValueError(
            f"{where} must hold {'strings' if spec.dtype == tf.string else 'numbers'}. "
            f"Received: {'strings' if text else f'numbers ({array.dtype})'}."
        )
    _check_whole(array, where, spec)
    if spec.shape.rank == array.ndim + 1 and spec.shape[-1] == 1:
        array = array[..., None]
    elif spec.shape.rank == array.ndim - 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if not spec.shape.is_compatible_with((None, *array.shape[1:])):
        if not len(array):
            # Such as an empty list, which says nothing of its columns.
            return blank_rows(spec)
        raise ValueError(
            f"{where} must be of shape {tuple(spec.shape)}. Received: shape "
            f"{array.shape}."
        )
    return array


def _check_whole(array, where: str, spec: tf.TensorSpec) -> None:
    """Raises ValueError for a fraction or NaN where codes are wanted.

    As integers they would be others. Images of uint8 may be of floats.
    """
    codes = spec.dtype.is_integer and spec.dtype != tf.uint8
    if not codes or array.dtype.kind != "f":
        return
    bad = array != np.trunc(array)
    if bad.any():
        place = tuple(int(axis[0]) for axis in np.nonzero(bad))
        raise ValueError(
            f"{where} must hold whole numbers ({spec.dtype.name}). Received: "
            f"{array[place]} at {place}."
        )


def _of_dataset(rows: tf.data.Dataset, name: str, spec: Spec):
    element = rows.element_spec
    element = element[0] if _is_labelled(element, spec) else element
    _check_element(element, name, spec)
    if int(rows.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"`{name}` must come to an end. Received: an endless dataset; leave "
            ".repeat() out, or take a number of batches."
        )
    batches = [batch[0] if _is_labelled(batch, spec) else batch for batch in rows]
    if not batches:
        return blank_rows(spec)
    arrays = [tree.map_structure(lambda part: part.numpy(), batch) for batch in batches]
    return as_rows(concatenate(arrays), name, spec)


def _check_element(element, name: str, spec: Spec) -> None:
    """Raises ValueError unless a dataset gives batches of a model's inputs."""
    if any(
        isinstance(part, tf.RaggedTensorSpec | tf.SparseTensorSpec)
        for part in tree.flatten(element)
    ):
        raise ValueError(
            f"`{name}` must have rows of one length. Received: a dataset of ragged or "
            "sparse tensors; pad its batches, as by .padded_batch(256)."
        )
    if isinstance(element, dict):
        several = isinstance(spec, dict)
        element = (
            by_name(element, name, spec) if several else _only(element, name, spec)
        )
    parts = tree.flatten(element)
    if isinstance(spec, dict) and isinstance(element, dict):
        wanted = [spec[key] for key in element]
        parts = [element[key] for key in element]
    else:
        wanted = list(spec.values()) if isinstance(spec, dict) else [spec]
    ranks = [getattr(getattr(part, "shape", None), "rank", None) for part in parts]
    fits = len(parts) == len(wanted) and all(
        rank is None or rank in _ranks(like)
        for rank, like in zip(ranks, wanted, strict=True)
    )
    if not fits:
        remedy = (
            "call .batch(256) on a dataset of single rows"
            if len(parts) == len(wanted)
            else "give dicts of the inputs by their names"
        )
        raise ValueError(
            f"`{name}` must give batches of {_shapes(spec)}. Received: a dataset of "
            f"{element}; {remedy}."
        )


def _is_labelled(element, spec) -> bool:
    """Whether an element of a dataset is inputs with what belongs to them."""
    if not isinstance(element, tuple):
        return False
    several = isinstance(spec, dict) and len(element) == len(spec)
    # Of two inputs in a tuple, the first is no structure of all inputs.
    return not several or isinstance(element[0], dict | tuple | list)


def _ranks(spec) -> set:
    """Ranks of batches that an input may come in; a text may be of one column."""
    cell = {spec.shape.rank - 1} if spec.shape[-1] == 1 else set()
    column = {2} if spec.shape.rank == 1 else set()
    return {spec.shape.rank} | cell | column


def _shapes(spec: Spec) -> str:
    if isinstance(spec, dict):
        return str({key: tuple(part.shape) for key, part in spec.items()})
    return f"shape {tuple(spec.shape)}"


def blank_rows(spec: Spec):
    """No rows of the inputs of a spec."""

    def none(part):
        kind = object if part.dtype == tf.string else part.dtype.as_numpy_dtype
        return np.zeros([0, *(size or 0 for size in part.shape[1:])], kind)

    return tree.map_structure(none, spec)
