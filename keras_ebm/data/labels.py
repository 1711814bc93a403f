"""Holding out classes and taking labels away."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.dataset import Dataset


def class_codes(class_names: Sequence[str], classes: Sequence[str | int]) -> list[int]:
    """Looks up classes to hold out, and checks that two or more are left.

    Args:
        class_names: sequence of str, all classes in order.
        classes: names (str) or numbers (int) of those to hold out.

    Returns:
        Their numbers, sorted.

    Raises:
        ValueError: if one is unknown, or fewer than two classes are left.
    """
    names = list(class_names)
    unknown = [
        name
        for name in classes
        if (
            name not in names
            if isinstance(name, str)
            else name not in range(len(names))
        )
    ]
    if unknown:
        raise ValueError(
            "`holdout_classes` must be classes of the dataset. Received: "
            f"{listed(map(repr, unknown))}. The classes are: "
            f"{listed(names) or 'none'}."
        )
    codes = {
        names.index(name) if isinstance(name, str) else int(name) for name in classes
    }
    if codes and len(names) - len(codes) < 2:
        raise ValueError(
            "`holdout_classes` must leave two classes or more. Received: "
            f"{listed(classes)} of {listed(names)}. Hold out fewer."
        )
    return sorted(codes)


def mask_labels(
    y: np.ndarray,
    labels_per_class: int,
    seed: int | None = None,
    class_names: Sequence[str] = (),
) -> np.ndarray:
    """Keeps a few labels of each class and takes the others away.

    Args:
        y: int array of shape `(n,)`; -1 is "unlabelled".
        labels_per_class: int > 0. How many rows of each class keep theirs, at most.
        seed: int or `None`. With `None` the first rows of each class keep
            theirs; with a seed, rows at random.
        class_names: names of the classes, for the notice; numbers without.

    Returns:
        A copy of `y` with -1 in all other rows.

        A class of fewer labelled rows keeps all, and a `UserWarning` names it.

    Raises:
        ValueError: if `labels_per_class` is not positive.
    """
    if labels_per_class < 1:
        raise ValueError(
            "`labels_per_class` must be positive. "
            f"Received: labels_per_class={labels_per_class}."
        )
    order = np.arange(len(y))
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(y))
    masked = np.full(len(y), -1, np.int64)
    short = []
    for code in np.unique(y[y >= 0]):
        rows = order[y[order] == code]
        masked[rows[:labels_per_class]] = code
        if len(rows) < labels_per_class:
            name = repr(class_names[code]) if len(class_names) else code
            short.append(f"class {name} has {len(rows)}")
    if short:
        warnings.warn(
            f"labels_per_class={labels_per_class} is more labelled rows than some "
            f"classes have, which keep all of theirs: {listed(short)}",
            stacklevel=2,
        )
    return masked


def relabel(dataset: Dataset, holdout_classes: Sequence[str | int]) -> Dataset:
    """Renumbers the labels over the classes that are not held out.

    Args:
        dataset: `Dataset`.
        holdout_classes: names (str) or numbers (int) of classes.

    Returns:
        A `Dataset` of the same rows, with labels from 0 over the classes that
        are left and -1 in rows of those held out.

    Raises:
        ValueError: if a class is unknown, or fewer than two are left.
    """
    held_out = class_codes(dataset.class_names, holdout_classes)
    kept = [code for code in range(dataset.num_classes) if code not in held_out]
    table = np.full(dataset.num_classes + 1, -1, np.int64)
    table[kept] = np.arange(len(kept))
    class_names = tuple(dataset.class_names[code] for code in kept)
    schema = dataset.schema
    if schema is not None:
        schema = dataclasses.replace(schema, class_names=class_names)
    # A label of -1 reads the last entry of the table, which is -1.
    return dataclasses.replace(
        dataset, y=table[dataset.y], class_names=class_names, schema=schema
    )
