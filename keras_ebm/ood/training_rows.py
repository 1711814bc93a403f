"""Reads and checks the training rows that feature scores are fitted on."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from keras_ebm.arguments import listed

#: Bytes of the arrays of one score.
MOST_BYTES = 10**9


class ClassRows(NamedTuple):
    """Rows with a label, and where each class that has any lies.

    Attributes:
        features: float64 array of shape `(rows, dim)`.
        labels: int array of shape `(rows,)`, from 0 over the classes that have rows.
        counts: int array of shape `(num_found,)`, all positive.
        means: float64 array of shape `(num_found, dim)`.
    """

    features: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    means: np.ndarray


def check_kept(name: str, num_bytes: int, what: str, remedy: str) -> None:
    """Refuses a score whose arrays would not fit into an export, before they are made.

    Args:
        name: of the score.
        num_bytes: int, of all it would keep.
        what: the arrays, for the error.
        remedy: what to do, for the error.

    Raises:
        ValueError: if they are more than `MOST_BYTES`.
    """
    if num_bytes > MOST_BYTES:
        raise ValueError(
            f"The `{name}` score must keep {MOST_BYTES / 1e9:g} GB at most, as a "
            f"SavedModel holds 2. Received: {what}, which take {num_bytes / 1e9:.3g} "
            f"GB; {remedy}."
        )


def read_matrix(
    train: Mapping[str, np.ndarray], key: str = "features", dtype: str = "float64"
) -> np.ndarray:
    """Returns `train["features"]`, or what else `key` names, as `dtype`, checked.

    Raises:
        ValueError: if they are absent, not of rank 2, empty, or not finite.
    """
    if key not in train:
        raise ValueError(
            f"`train` must have the key {key!r}. Received: "
            f"[{listed(map(repr, sorted(train)))}]."
        )
    features = np.asarray(train[key], dtype)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f"`train[{key!r}]` must have shape `(rows, dim)`, neither of "
            f"them 0. Received: shape {features.shape}."
        )
    finite = np.all(np.isfinite(features), axis=1)
    if not finite.all():
        raise ValueError(
            f"`train[{key!r}]` must be finite. Received: nan or inf in "
            f"{(~finite).sum()} of {len(finite)} rows, the first of them row "
            f"{finite.argmin()}. Check the network that gave them."
        )
    return features


def read_class_rows(train: Mapping[str, np.ndarray], features: np.ndarray) -> ClassRows:
    """Gathers the labelled rows of `features` by class.

    A class without rows lies nowhere, and is left out.

    Raises:
        ValueError: if labels are absent, do not match the features or the logits,
            or no row has one.
    """
    labels = _read_labels(train, len(features))
    known = labels != -1
    features, labels = features[known], labels[known]
    _check_labels(train, labels)
    if not len(labels):
        raise ValueError(
            "`train['labels']` must have a row with a label. Received: no row that is "
            "not labelled -1; take a score that knows no classes, such as 'energy'."
        )
    found, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = [features[labels == place].mean(axis=0) for place in range(len(found))]
    return ClassRows(features, labels, counts, np.stack(means))


def _read_labels(train, num_rows: int) -> np.ndarray:
    if "labels" not in train:
        raise ValueError(
            "`train` must have the key 'labels' for a score that knows "
            f"classes. Received: [{listed(map(repr, sorted(train)))}]."
        )
    labels = np.asarray(train["labels"])
    if labels.shape != (num_rows,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"`train['labels']` must be integers of shape ({num_rows},), one "
            f"per row of features. Received: {labels.dtype} of shape "
            f"{labels.shape}."
        )
    return labels


def _check_labels(train, labels: np.ndarray) -> None:
    largest = int(labels.max(initial=-1))
    num_classes = np.shape(train["logits"])[-1] if "logits" in train else largest + 1
    if labels.min(initial=0) < 0 or largest >= num_classes:
        raise ValueError(
            f"`train['labels']` must lie in [0, {num_classes}), or be -1 for "
            f"an unlabelled row. Received: labels from {labels.min()} to "
            f"{largest}."
        )
