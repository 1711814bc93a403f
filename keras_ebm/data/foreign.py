"""Rows that a model should find unlike its training data."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from keras_ebm.data.dataset import Dataset, validate
from keras_ebm.data.images import fit_channels
from keras_ebm.data.inputs import in_types, types_of
from keras_ebm.data.scrambled import scrambled_phases
from keras_ebm.data.sources import find_source
from keras_ebm.data.specs import read
from keras_ebm.rows import num_rows, take

NOISE = ("noise:uniform", "noise:gaussian")
ROTATIONS = ("rotate:90", "rotate:180", "rotate:270")
INTERPOLATION = "interpolate"
SCRAMBLE = "phase_scramble"
MADE_UP = (*NOISE, *ROTATIONS, INTERPOLATION, SCRAMBLE)
MAX_NOISE_ROWS = 10_000


def foreign(
    spec: str,
    reference: Dataset,
    *,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    holdout: Any = None,
    skip_broken_images: bool = False,
) -> Any:
    """Makes raw rows of the kind and shape of `reference`, but unlike it.

    - `noise:uniform`: images take each value of 0..255 alike; other columns are
      uniform over the range that the reference has.
    - `noise:gaussian`: images are N(127.5, 64 squared), clipped and rounded;
      other columns are normal about the mean, with 3 times the standard
      deviation.
    - `rotate:90`, `rotate:180`, `rotate:270`: the reference's images, turned.
    - `interpolate`: the mean of two of the reference's images, drawn at random.
    - `phase_scramble`: the reference's images with random Fourier phases, clipped to
      0..255 and rounded: textures without edges or shapes.
    - `holdout`: the rows of held-out classes.
    - any spec of `load`: the official test rows if there are any, else all.

    Categorical cells of noise are uniform over the vocabulary. Noise has as
    many rows as the reference, but at most 10,000. Images of another size are
    made to fit by `fit_images`. Of rows of kind `"inputs"` nothing is made up.

    Args:
        spec: str, as in the list.
        reference: `Dataset` of known rows.
        seed: int >= 0, of the noise and of `toy:` densities.
        data_dir: where `tfds:` sets are stored.
        holdout: rows of held-out classes, for `holdout` alone.
        skip_broken_images: bool, see `load`.

    Returns:
        Array of shape `(m, *reference.input_shape)` and of `reference.x`'s type; of
        several inputs a dict of them.

    Raises:
        ValueError: if the spec is unknown, or what it names cannot be made to
            fit the reference.
    """
    if reference.kind == "inputs" and spec in MADE_UP:
        raise ValueError(
            f"The foreign set {spec!r} is made of images, points or tables. Received: "
            f"{reference.name}, whose rows are inputs of a network's own; use holdout, "
            "or python:MODULE:FUNCTION."
        )
    if spec in NOISE:
        return _noise(spec, reference, np.random.default_rng(seed))
    if spec in ROTATIONS:
        return _rotate(reference, int(spec.removeprefix("rotate:")) // 90)
    if spec == INTERPOLATION:
        return _interpolate(reference, np.random.default_rng(seed))
    if spec == SCRAMBLE:
        return _scramble(reference, np.random.default_rng(seed))
    if spec == "holdout":
        if holdout is None or num_rows(holdout) == 0:
            raise ValueError(
                "The foreign set 'holdout' needs rows of classes that the model has "
                "not seen. Received: none. Train with --holdout_classes."
            )
        return holdout
    find_source(spec, besides=(*MADE_UP, "holdout"))
    other = read(
        spec,
        data_dir=data_dir,
        schema=_without_classes(reference.schema),
        seed=seed,
        dtype=dtype_of(reference.kind, reference.x),
        skip_broken_images=skip_broken_images,
    )
    return _fitted(spec, other, reference)


def dtype_of(kind: str, x: Any) -> str | None:
    """The argument `dtype` of `read` for other rows of a kind; None where it has none.

    Args:
        kind: of `keras_ebm.data.dataset.KINDS`.
        x: rows of the kind, or the name of their type.
    """
    if kind not in ("vector", "table"):
        return None
    return x if x is None or isinstance(x, str) else str(x.dtype)


def _noise(spec: str, reference: Dataset, rng: np.random.Generator) -> np.ndarray:
    is_uniform = spec == "noise:uniform"
    num_rows = min(len(reference.x), MAX_NOISE_ROWS)
    shape = (num_rows, *reference.input_shape)
    if reference.kind == "image":
        if is_uniform:
            return rng.integers(0, 256, shape, dtype=np.uint8)
        pixels = rng.normal(127.5, 64.0, shape)
        return np.rint(np.clip(pixels, 0.0, 255.0)).astype(np.uint8)
    x = np.empty(shape, reference.x.dtype)
    for j in range(shape[1]):
        column = reference.schema.columns[j] if reference.schema else None
        if column is not None and column.kind != "numeric":
            x[:, j] = rng.integers(0, len(column.vocabulary), num_rows)
        else:
            x[:, j] = _numeric_noise(reference.x[:, j], num_rows, is_uniform, rng)
    return x


def _numeric_noise(values, num_rows: int, is_uniform: bool, rng) -> np.ndarray:
    values = values[~np.isnan(values)].astype(np.float64)
    if len(values) == 0:  # A column of missing cells stays one.
        return np.full(num_rows, np.nan)
    if is_uniform:
        return rng.uniform(values.min(), values.max(), num_rows)
    return rng.normal(values.mean(), 3.0 * values.std(), num_rows)


def _rotate(reference: Dataset, quarters: int) -> np.ndarray:
    shape = reference.input_shape
    if reference.kind != "image" or shape[0] != shape[1]:
        raise ValueError(
            "Only square images can be rotated. "
            f"Received: {reference.kind} rows of shape {shape}."
        )
    return np.ascontiguousarray(np.rot90(reference.x, quarters, axes=(1, 2)))


def _interpolate(reference: Dataset, rng: np.random.Generator) -> np.ndarray:
    if reference.kind != "image" or len(reference.x) < 2:
        raise ValueError(
            "Only images, two at least, can be interpolated. Received: "
            f"{len(reference.x)} {reference.kind} rows."
        )
    count = len(reference.x)
    # Never an image with itself.
    other = (np.arange(count) + rng.integers(1, count, count)) % count
    total = reference.x.astype(np.uint16) + reference.x[other]
    return (total // 2).astype(np.uint8)


def _scramble(reference: Dataset, rng: np.random.Generator) -> np.ndarray:
    if reference.kind != "image":
        raise ValueError(
            "Only images have phases to scramble. Received: "
            f"{reference.kind} rows of shape {reference.input_shape}."
        )
    pixels = scrambled_phases(reference.x, rng)
    return np.rint(np.clip(pixels, 0.0, 255.0)).astype(np.uint8)


def _without_classes(schema):
    """Whatever classes another table has do not matter."""
    if schema is None:
        return None
    return dataclasses.replace(schema, target=None, class_names=())


def _fitted(spec: str, other: Dataset, reference: Dataset) -> Any:
    unlabelled = np.full(other.num_rows, -1, np.int64)
    validate(dataclasses.replace(other, y=unlabelled))
    x = other.x
    if other.num_test:
        x = take(x, slice(other.num_rows - other.num_test, None))
    is_image = reference.kind == other.kind == "image"
    if other.kind != reference.kind or not (
        is_image or other.input_shape == reference.input_shape
    ):
        raise ValueError(
            f"{spec}: its rows must be like those of the model. Received: "
            f"{other.kind} rows of shape {other.input_shape} for a model of "
            f"{reference.kind} rows of shape {reference.input_shape}."
        )
    if reference.kind == "inputs":
        return in_types(x, types_of(reference.x))
    return fit_images(x, reference.input_shape) if is_image else x


def fit_images(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Fits images to a size, without resampling, and to a number of channels.

    Height and width are cut or padded with zeros about the centre; when the
    difference is odd, the odd line is cut or added at the end. Channels as by
    `fit_channels`.

    Args:
        x: uint8 array of shape `(n, height, width, channels)`.
        shape: the `(height, width, channels)` wanted; 1 or 3 channels.

    Returns:
        uint8 array of shape `(n, *shape)`.
    """
    for axis in (1, 2):
        x = _fit_axis(x, axis, shape[axis - 1])
    return fit_channels(x, shape[-1])


def _fit_axis(x: np.ndarray, axis: int, size: int) -> np.ndarray:
    surplus = x.shape[axis] - size
    if surplus >= 0:
        cut = [slice(None)] * x.ndim
        cut[axis] = slice(surplus // 2, surplus // 2 + size)
        return x[tuple(cut)]
    before = -surplus // 2
    padding = [(0, 0)] * x.ndim
    padding[axis] = (before, -surplus - before)
    return np.pad(x, padding)
