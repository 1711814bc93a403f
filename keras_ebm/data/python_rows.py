"""Rows that a function of the user's returns, named by its module."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from keras_ebm.arguments import listed
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.inputs import as_inputs, as_vectors
from keras_ebm.data.label_rule import encode, plain
from keras_ebm.data.npz import as_labels, with_names
from keras_ebm.rows import as_array, concatenate, is_text, num_rows

BATCH = 256
FORM = "python:MODULE:FUNCTION"
#: Single rows, or batches of them, with their labels.
Labelled = tuple[Any, Any]


def read_python(name: str, dtype: str | None = None) -> Dataset:
    """Calls a function without arguments, and takes what it returns for rows.

    It returns arrays `(x, y)`, or a `tf.data.Dataset` of single rows `(inputs, label)`
    or of batches of them, which comes to an end; or a dict of two of these, `"train"`
    and `"test"`, of which the second is the official test split. `x` is an array, or a
    dict of arrays, one for each input of a network. `y` holds a label a row: numbers of
    classes as in `read_npz`, or words, whose classes are in sorted order.

    uint8 of shape `(n, height, width, channels)` are images, fractions of shape
    `(n, d)` vectors, all else is of kind `"inputs"`. Everything is read into memory.

    The module is looked up as by `python -m`: in the current folder first. It is
    imported and the function is run, with the rights of whoever runs this.

    Args:
        name: `MODULE:FUNCTION`.
        dtype: `"float32"` or `"float64"`, of vectors; None: as `read_npz` finds right.

    Returns:
        `Dataset`.

    Raises:
        ValueError: if there is no such function, it raises, or returns anything else:
            rows without labels, or of several shapes, or no end of them.
    """
    spec = f"python:{name}"
    with _current_folder_first():
        function, file = _find(spec, name)
        given = _guarded(f"{spec}: the function", file, function)
        parts = [_arrays(spec, part, file) for part in _splits(spec, given)]
    x = as_inputs(_joined(spec, [x for x, _ in parts]), spec)
    y, class_names = _labels(spec, [_own_labels(spec, *part) for part in parts])
    kind = _kind_of(x)
    return Dataset(
        x=as_vectors(x, dtype) if kind == "vector" else x,
        y=y,
        kind=kind,
        class_names=class_names,
        num_test=len(parts[1][1]) if len(parts) > 1 else 0,
        name=spec,
    )


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # What a module has added itself stays.
        if folder in sys.path:
            sys.path.remove(folder)


def _find(spec: str, name: str) -> tuple[Callable, str]:
    """The function of a spec, and the file of its module."""
    module_name, _, function_name = name.partition(":")
    words = [*module_name.split("."), *function_name.split(".")]
    if not all(map(str.isidentifier, words)) or module_name.endswith(".py"):
        raise ValueError(
            f"`dataset` must be {FORM}, such as python:my_package.rows:load of the "
            f"function load in my_package/rows.py. Received: {spec}."
        )
    module = import_module(module_name, f"{spec}: the module {module_name}")
    found = module
    for word in function_name.split("."):
        if not hasattr(found, word):
            near = difflib.get_close_matches(word, dir(found), 3)
            meant = f"; did you mean {listed(near)}?" if near else ""
            raise ValueError(
                f"{spec}: the module {module_name} must have a function "
                f"{function_name}. Received: {getattr(module, '__file__', '')}, which "
                f"has no {word}{meant}"
            )
        found = getattr(found, word)
    _check_call(spec, found)
    return found, getattr(module, "__file__", "") or ""


def import_module(name: str, what: str) -> Any:
    """Imports a module as `python -m` finds it, in the current folder first.

    Args:
        name: dotted.
        what: it is, for errors.

    Raises:
        ValueError: in one line, if there is no such module, or it cannot be imported.
    """
    with _current_folder_first():
        return _guarded(what, "", lambda: _imported(name, what))


def _imported(name: str, what: str):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        absent = error.name or ""
        if name != absent and not name.startswith(f"{absent}."):
            raise  # one that the module asks for
        raise ValueError(
            f"{what} must be one that `python -m {name}` finds, from the current "
            f"folder {os.getcwd()}. Received: no module named {absent!r}; run "
            "this from the folder that has it, or install it."
        ) from error


def _check_call(spec: str, function) -> None:
    if not callable(function):
        raise ValueError(
            f"{spec}: it must be a function. Received: a {type(function).__name__}."
        )
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ValueError(
            f"{spec}: the function must take no arguments. Received: one that cannot "
            f"be called so ({error}); give it defaults, or write one that calls it."
        ) from error
    except ValueError:  # of a builtin, whose arguments are unknown
        return


def _guarded(what: str, file: str, call: Callable) -> Any:
    """What a call returns; all that it raises becomes a ValueError of one line."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError) and error.__traceback__ is not None:
            if _is_own(error):
                raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{what} must run without an error. Received: {type(error).__name__}: "
            f"{reason} ({_place(error, file)}); correct it."
        ) from error


def _is_own(error: BaseException) -> bool:
    """Whether an error was raised here, and not in what was called."""
    return traceback.extract_tb(error.__traceback__)[-1].filename == __file__


def _place(error: BaseException, file: str) -> str:
    """Where an error comes from: the last line of the user's own file, if any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file]
    last = (own or list(frames))[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"


def _splits(spec: str, given) -> list:
    """What was returned, or the rows but the test split and those of it."""
    if isinstance(given, dict):
        if set(given) != {"train", "test"}:
            raise ValueError(
                f"{spec}: a dict that the function returns must have the keys 'train' "
                f"and 'test'. Received: {listed(map(repr, given)) or 'none'}; return "
                "(inputs, labels) for rows that are not split."
            )
        return [given["train"], given["test"]]
    return [given]


def _arrays(spec: str, given, file: str) -> Labelled:
    """`(inputs, labels)` of what was returned."""
    if isinstance(given, tf.data.Dataset):
        return _guarded(f"{spec}: the dataset", file, lambda: _read(spec, given))
    if not isinstance(given, tuple | list) or len(given) != 2:
        many = isinstance(given, tuple | list)
        told = f"{len(given)} values" if many else f"a {type(given).__name__}"
        raise ValueError(
            f"{spec}: the function must return a tf.data.Dataset or arrays (x, y), "
            f"inputs with their labels. Received: {told}; rows without a class have "
            "the label -1."
        )
    for part in tree.flatten(given[0]) if isinstance(given[0], dict) else [given[0]]:
        _check_not_ragged(spec, part)
    return as_inputs(given[0], spec), given[1]


def _check_not_ragged(spec: str, part) -> None:
    kinds = tf.RaggedTensor, tf.RaggedTensorSpec, tf.SparseTensor, tf.SparseTensorSpec
    if isinstance(part, kinds):
        ragged = isinstance(part, kinds[:2])
        remedy = "x.to_tensor()" if ragged else "tf.sparse.to_dense(x)"
        raise ValueError(
            f"{spec}: rows must be of one shape. Received: a "
            f"{'ragged' if ragged else 'sparse'} tensor; pad it, as by {remedy}."
        )


def _read(spec: str, rows: tf.data.Dataset) -> Labelled:
    """Reads a dataset to its end."""
    _check_element(spec, rows.element_spec)
    if int(rows.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise _endless(spec, "an endless dataset")
    shapes = [part.shape for part in tree.flatten(rows.element_spec)]
    if all(shape.is_fully_defined() for shape in shapes) and not shapes[-1].rank:
        rows = rows.batch(BATCH)
    batches, size, most = [], 0, _most_bytes()
    for element in rows.as_numpy_iterator():
        batches.append(_batch(spec, *element))
        size += sum(np.asarray(part).nbytes for part in tree.flatten(element))
        if size > most:
            raise _endless(spec, f"{size >> 20} MiB after {len(batches)} elements")
    if not batches:
        raise ValueError(f"{spec}: there must be rows. Received: an empty dataset.")
    x = _joined(spec, [x for x, _ in batches])
    return x, _joined(spec, [y for _, y in batches])


def _check_element(spec: str, element) -> None:
    if not isinstance(element, tuple) or len(element) != 2:
        told = f"elements {element}"
        if isinstance(element, tuple):
            told = f"elements of {len(element)} parts"
        raise ValueError(
            f"{spec}: elements of the dataset must be (inputs, label). Received: "
            f"{told[:300]}; give each row its label, -1 for one without a class, and "
            "leave weights out."
        )
    if isinstance(element[0], tuple | list):
        raise ValueError(
            f"{spec}: several inputs must be a dict by the names of the network's. "
            f"Received: a {type(element[0]).__name__} of {len(element[0])}."
        )
    for part in tree.flatten(element):
        _check_not_ragged(spec, part)


def _batch(spec: str, x, y) -> Labelled:
    """An element as a batch: a single row becomes a batch of one."""
    if np.ndim(y) == 0:
        x = tree.map_structure(lambda part: np.asarray(part)[None], x)
        y = np.asarray(y)[None]
    sizes = {len(np.atleast_1d(part)) for part in tree.flatten((x, y))}
    scalar = any(np.ndim(part) == 0 for part in tree.flatten(x))
    if len(sizes) > 1 or scalar:
        shapes = tree.map_structure(np.shape, x)
        raise ValueError(
            f"{spec}: a label must be one number or word a row. Received: labels of "
            f"shape {np.shape(y)} with inputs of shape {shapes}; of one-hot labels "
            "take tf.argmax(y, axis=-1)."
        )
    return x, y


def _joined(spec: str, batches: list):
    """Batches behind one another."""
    if len(batches) == 1:
        return batches[0]
    batches = [tree.map_structure(as_array, batch) for batch in batches]
    keys = {tuple(sorted(b)) if isinstance(b, dict) else None for b in batches}
    if len(keys) > 1:
        raise ValueError(f"{spec}: rows must have the same inputs. Received: {keys}.")
    for parts in zip(*map(tree.flatten, batches), strict=True):
        shapes = list(dict.fromkeys(part.shape[1:] for part in parts))
        if len(shapes) > 1:
            raise ValueError(
                f"{spec}: rows must be of one shape. Received: {shapes[0]} and "
                f"{shapes[1]}; pad all of them to one length, as by "
                ".padded_batch(256, padded_shapes) with a length in place of None."
            )
    return concatenate(batches)


def _endless(spec: str, told: str) -> ValueError:
    return ValueError(
        f"{spec}: the dataset must come to an end, within the memory. Received: "
        f"{told}; leave .repeat() out, or take a number of rows."
    )


def _most_bytes() -> int:
    """Half of the machine's memory, as rows are copied once to be joined."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _own_labels(spec: str, x, y) -> np.ndarray:
    """Labels of a part, one a row."""
    if y is None:
        raise ValueError(
            f"{spec}: rows must have labels. Received: None; rows without a class have "
            "the label -1."
        )
    labels = np.asarray(y)
    count = num_rows(x)
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise ValueError(
            f"{spec}: there must be one label a row. Received: labels of shape "
            f"{labels.shape} for {count} rows; of one-hot labels take "
            "np.argmax(y, axis=-1)."
        )
    return labels


def _labels(spec: str, parts: list) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as places among the classes, and the names of these."""
    y = np.concatenate(
        [part.astype(object) if is_text(part) else part for part in parts]
    )
    if y.dtype != object:
        return with_names(as_labels(y, len(y), spec), spec)
    words = [word.decode("utf-8") if isinstance(word, bytes) else word for word in y]
    try:
        classes, codes = encode(np.array(words, object))
    except ValueError as error:
        raise ValueError(f"{spec}: {error}") from error
    return codes, tuple(plain(str(name)) for name in classes)


def _kind_of(x) -> str:
    if isinstance(x, dict):
        return "inputs"
    if x.dtype == np.uint8 and x.ndim == 4:
        return "image"
    return "vector" if x.dtype.kind == "f" and x.ndim == 2 else "inputs"
