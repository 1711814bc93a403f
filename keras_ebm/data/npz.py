"""Arrays in .npz files."""

from __future__ import annotations

import os
import warnings

import numpy as np

from keras_ebm.archives import read_arrays
from keras_ebm.arguments import listed
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.inputs import as_vectors
from keras_ebm.data.label_rule import is_binary, whole_numbers
from keras_ebm.precision import warn_of_merged_integers

# Labels beyond this are taken for a mistake, such as row numbers or codes.
MAX_CLASSES = 100_000


def read_npz(path: str | os.PathLike, dtype: str | None = None) -> Dataset:
    """Reads rows "x" and, where there are any, labels "y".

    Args:
        path: a `.npz` file. "x" is uint8 of shape `(n, height, width)` or
            `(n, height, width, channels)` for images, or numbers of shape
            `(n, d)` for vectors. "y" holds the number of a class for each
            row, counted from 0, with -1 or NaN for "unlabelled"; or 1 and -1 alone,
            two classes: see `keras_ebm.data.label_rule`.
        dtype: `"float32"` or `"float64"`, of vectors; None: float64 where float32
            would merge the numbers of a column, see
            `keras_ebm.precision.float32_merges`.

    Returns:
        `Dataset` whose classes are the labels that occur, in their order and named
        by their numbers: "1" and "2" where they are 1 and 2. Labels are counted
        from 0 over these.

    Raises:
        ValueError: if the file cannot be read without pickle, lacks "x", or
            holds arrays of another type or shape.
    """
    arrays = _read_arrays(path)
    x, kind = _as_rows(arrays["x"], path, dtype)
    y = as_labels(arrays.get("y"), len(x), path)
    y, class_names = with_names(y, path)
    return Dataset(
        x=x,
        y=y,
        kind=kind,
        class_names=class_names,
        name=f"npz:{path}",
    )


def _read_arrays(path) -> dict[str, np.ndarray]:
    try:
        arrays, names = read_arrays(path, ("x", "y"))
    except ValueError as error:
        raise ValueError(
            f"{path}: it must be a .npz file of plain arrays, as `numpy.savez` "
            f"writes it. It could not be read: {error}"
        ) from error
    if "x" not in arrays:
        raise ValueError(
            f"{path}: it must hold an array 'x', and may hold labels 'y'. "
            f"Received: {listed(names) or 'no array'}. Save it again with "
            "numpy.savez(path, x=..., y=...)."
        )
    return arrays


def _as_rows(x: np.ndarray, path, dtype) -> tuple[np.ndarray, str]:
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        return (x[..., None] if x.ndim == 3 else x), "image"
    if x.dtype.kind in "fiu" and x.ndim == 2:
        warn_of_merged_integers(x)
        return as_vectors(x, dtype), "vector"
    raise ValueError(
        f"{path}: 'x' must be uint8 of rank 3 or 4 (images) or numbers of rank 2 "
        f"(vectors). Received: {x.dtype} of shape {x.shape}. Images in [0, 1] "
        "become uint8 with (255 * x).round().astype('uint8')."
    )


def as_labels(
    y: np.ndarray | None, num_rows: int, path: str | os.PathLike
) -> np.ndarray:
    """Labels as int64, -1 where there is none; `path` names them in errors."""
    if y is None:
        return np.full(num_rows, -1, np.int64)
    if y.dtype.kind not in "iubf" or y.shape != (num_rows,):
        # Words become their places among the sorted ones.
        words = y.dtype.kind in "US"
        save = "np.unique(y, return_inverse=True)[1]" if words else "y.astype('int64')"
        raise ValueError(
            f"{path}: 'y' must hold one integer for each of the {num_rows} rows. "
            f"Received: {y.dtype} of shape {y.shape}. Save {save}."
        )
    y = whole_numbers(y, f"{path}: 'y'").astype(np.int64)
    if y.size and (y.min() < -1 or y.max() >= MAX_CLASSES):
        raise ValueError(
            f"{path}: labels must count the classes from 0, with -1 for "
            f"'unlabelled'. Received: from {y.min()} to {y.max()}. "
            "Renumber them with numpy.unique(y, return_inverse=True)[1]."
        )
    return y


def with_names(
    y: np.ndarray, path: str | os.PathLike
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as places among the classes, and the names of these."""
    if is_binary(str(label) for label in np.unique(y)):
        warnings.warn(
            f"{path}: 1 and -1, the only labels, are taken for two classes; beside "
            "others -1 means unlabelled",
            stacklevel=4,
        )
        return np.where(y == 1, 1, 0), ("-1", "1")
    found = np.unique(y[y >= 0])
    places = np.where(y >= 0, np.searchsorted(found, y), -1)
    return places, tuple(str(label) for label in found)
