"""Which rows train, validate, calibrate and test a model."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ebm.archives import read_arrays
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.inputs import digested, parts_of, row_bytes
from keras_ebm.data.labels import class_codes
from keras_ebm.data.rare_classes import spread_classes, tell_rare_classes
from keras_ebm.digests import array_digest
from keras_ebm.files import written_beside
from keras_ebm.rows import take

PARTS = ("train", "validation", "calibration", "test", "holdout")


@dataclasses.dataclass(frozen=True, eq=False)
class Splits:
    """Disjoint parts of a dataset, each an int64 array of row numbers.

    Args:
        train: the rows that a model is fitted on.
        validation: the rows that choose among models.
        calibration: the rows that set its thresholds, seen by no training.
        test: the rows that measure it.
        holdout: rows of held-out classes, which stand for the unknown.
        seed: int, of the permutation.
        fingerprint: str, a SHA-256 of the dataset in hexadecimal.
        train_hashes: uint64 array, `row_hashes` of training and validation.
    """

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    holdout: np.ndarray
    seed: int
    fingerprint: str
    train_hashes: np.ndarray


def make_splits(
    dataset: Dataset,
    *,
    seed: int,
    holdout_classes: Sequence[str | int] = (),
    train_size: int | None = None,
) -> Splits:
    """Splits a dataset at random, but for an official test split.

    Rows of held-out classes are set aside first; n rows are left.
    - Without an official test split, of a permutation the first
      `floor(7n/10)` rows are for training and the last tenth of these, at
      least one, for validation; the next `n//10`, at least one, are for
      calibration and the rest for the test.
    - With one, it is the test, and n counts the other rows. Of their
      permutation the last 20 % are validation and calibration, half each, at
      least one.
      With `train_size`, validation and calibration are instead the next
      `max(1, train_size//10)` rows each after the first `train_size`.

    Where that leaves a class without rows to train on, or to test with although
    it has two or more to train on, a row of it is exchanged for one of a class
    that has more, by a fixed rule; an official test and, wherever possible, the
    calibration rows stay: see `keras_ebm.data.rare_classes.spread_classes`. A
    `UserWarning` names the classes that are too rare, and for what.

    Args:
        dataset: `Dataset`, before `relabel`.
        seed: int >= 0. The same seed gives the same splits.
        holdout_classes: names (str) or numbers (int) of classes to keep from
            the model. They are in no part but `holdout`, which has their rows
            of the official test split if there is one, else all of them.
        train_size: int > 0. Train on this many rows only.

    Returns:
        `Splits`.

    Raises:
        ValueError: if a held-out class is unknown, fewer than two classes are
            left, `train_size` is more than there is, or a part comes out empty.
    """
    parts = _cut(dataset, seed, holdout_classes, train_size)
    held_out = class_codes(dataset.class_names, holdout_classes)
    tell_rare_classes(dataset, parts, held_out)
    seen = np.concatenate([parts["train"], parts["validation"]])
    return Splits(
        **{name: rows.astype(np.int64) for name, rows in parts.items()},
        seed=seed,
        fingerprint=fingerprint(dataset),
        train_hashes=row_hashes(take(dataset.x, seen)),
    )


def _cut(dataset, seed, holdout_classes, train_size) -> dict[str, np.ndarray]:
    """The row numbers of every part, by its name."""
    held_out = class_codes(dataset.class_names, holdout_classes)
    unknown = np.isin(dataset.y, held_out)
    first_test = dataset.num_rows - dataset.num_test
    is_test = np.arange(dataset.num_rows) >= first_test
    rows = np.random.default_rng(seed).permutation(first_test)
    rows = rows[~unknown[rows]]
    if dataset.num_test:
        _check_training_rows(dataset)
        known = [*_cut_training(rows, train_size), np.flatnonzero(is_test & ~unknown)]
        unknown &= is_test
    else:
        known = _cut_all(rows, train_size)
    spare = rows[~np.isin(rows, np.concatenate(known))]
    parts = dict(zip(PARTS, [*known, np.flatnonzero(unknown)], strict=True))
    for name in PARTS[:4]:
        if len(parts[name]) == 0:
            raise ValueError(
                f"{dataset.name}: no row is left for the part {name!r}. Received: "
                f"{len(rows)} rows to split and {dataset.num_test} official test "
                "rows. Give at least 4 rows to split."
            )
    return spread_classes(parts, spare, dataset.y, dataset.num_test > 0)


def _check_training_rows(dataset: Dataset) -> None:
    if dataset.num_test == dataset.num_rows:
        raise ValueError(
            f"{dataset.name}: it must have rows besides its official test split, "
            f"which has all {dataset.num_test}. It can only serve as a foreign set."
        )


def _cut_all(rows: np.ndarray, train_size: int | None):
    n = len(rows)
    end = 7 * n // 10
    num_validation = max(1, end // 10)
    train, validation = np.split(rows[:end], [max(0, end - num_validation)])
    _check_train_size(train_size, len(train))
    calibration, test = np.split(rows[end:], [max(1, n // 10)])
    return train[:train_size], validation, calibration, test


def _cut_training(rows: np.ndarray, train_size: int | None):
    n = len(rows)
    if train_size is None:
        share = max(1, n // 10)
        train_size = max(0, n - 2 * share)
    else:
        share = max(1, train_size // 10)
        _check_train_size(train_size, n - 2 * share)
    ends = np.cumsum([train_size, share, share])
    return np.split(rows[: ends[-1]], ends[:-1])


def _check_train_size(train_size: int | None, available: int) -> None:
    if train_size is not None and not 0 < train_size <= available:
        raise ValueError(
            "`train_size` must be positive and leave rows for validation and "
            f"calibration. Received: train_size={train_size}, which leaves room "
            f"for {available} training rows."
        )


def fingerprint(dataset: Dataset) -> str:
    """A SHA-256 of rows and labels, in hexadecimal."""
    return array_digest((*digested(dataset.x), dataset.y))


def row_hashes(x: Any) -> np.ndarray:
    """Hashes each row's bytes: the first 8 bytes of its BLAKE2b.

    Args:
        x: array of shape `(n, ...)`, of the type that the dataset has, or of several
            inputs a dict of them. Strings are hashed as UTF-8.

    Returns:
        uint64 array of shape `(n,)`.
    """
    rows = zip(*parts_of(x).values(), strict=True)
    texts = (b"".join(map(row_bytes, parts)) for parts in rows)
    digests = (hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), np.dtype("<u8")).astype(np.uint64)


def seen_rows(x: Any, splits: Splits) -> np.ndarray:
    """Tells which rows are, byte for byte, among training and validation.

    Args:
        x: array of shape `(n, ...)`, of the type that the dataset had, or a dict of
            arrays.
        splits: `Splits`.

    Returns:
        bool array of shape `(n,)`.
    """
    return np.isin(row_hashes(x), splits.train_hashes)


def split_digest(splits: Splits) -> str:
    """A SHA-256 of all that splits hold, the dataset's included, in hexadecimal."""
    digest = hashlib.sha256()
    for field in dataclasses.fields(Splits):
        value = np.asarray(getattr(splits, field.name))
        digest.update(f"{field.name}{value.dtype.kind}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def save_splits(path: str | os.PathLike, splits: Splits) -> None:
    """Writes splits to a `.npz` file, exactly at `path`."""
    with written_beside(path) as file:
        np.savez_compressed(file, **dataclasses.asdict(splits))


def load_splits(path: str | os.PathLike, num_rows: int | None = None) -> Splits:
    """Reads what `save_splits` wrote.

    Args:
        path: of the file.
        num_rows: int, how many rows the dataset has, or None where it is not at hand.

    Raises:
        ValueError: if the file cannot be read or is not of that kind: a part is absent
            or holds anything but different row numbers, which no other part has, or a
            number beyond the dataset's rows.
    """
    names = [field.name for field in dataclasses.fields(Splits)]
    try:
        arrays, _ = read_arrays(path, names)
        absent = [name for name in names if name not in arrays]
        if absent:
            raise ValueError(f"it lacks {', '.join(absent)}")
        _check_parts({name: arrays[name] for name in PARTS}, num_rows)
        _check_marks(arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: it must be a file that `save_splits` wrote. It could not be "
            f"read: {error}. Restore the file of the run, or train again."
        ) from error
    fields: dict[str, Any] = dict(arrays)
    fields["seed"] = int(arrays["seed"])
    fields["fingerprint"] = str(arrays["fingerprint"])
    return Splits(**fields)


def _check_parts(parts: dict[str, np.ndarray], num_rows: int | None) -> None:
    """Raises ValueError unless parts are disjoint row numbers of a dataset."""
    for name, rows in parts.items():
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(
                f"{name!r} must be row numbers, whole and in one axis. Received: "
                f"{rows.dtype} of shape {rows.shape}"
            )
        if len(rows) == 0 and name != "holdout":
            raise ValueError(f"{name!r} must have rows. Received: none")
        end = np.iinfo(np.int64).max if num_rows is None else num_rows
        outside = (rows < 0) | (rows >= end)
        if outside.any():
            rule = "at least 0" if num_rows is None else f"from 0 to {num_rows - 1}"
            raise ValueError(
                f"{name!r} must hold row numbers {rule}. Received: "
                f"{rows[np.argmax(outside)]}, at place {np.argmax(outside)}"
            )
    values, counts = np.unique(
        np.concatenate([rows.astype(np.int64) for rows in parts.values()]),
        return_counts=True,
    )
    if (counts > 1).any():
        row = values[counts > 1][0]
        holders = [repr(name) for name, rows in parts.items() if row in rows]
        raise ValueError(
            f"a row must be in one part, and once. Received: row {row} more than once "
            f"in {' and '.join(holders)}"
        )


def _check_marks(fields: dict[str, np.ndarray]) -> None:
    """Raises ValueError unless seed, fingerprint and hashes are of their kinds."""
    for name, kinds, axes in (
        ("seed", "iu", 0),
        ("fingerprint", "U", 0),
        ("train_hashes", "u", 1),
    ):
        value = fields[name]
        if value.ndim != axes or value.dtype.kind not in kinds:
            raise ValueError(
                f"{name!r} must be as it was written. Received: {value.dtype} of shape "
                f"{value.shape}"
            )
