"""Rows, labels and what they mean, and the checks they must pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_ebm.data.inputs import check_inputs, shapes_of
from keras_ebm.data.schema import TableSchema
from keras_ebm.rows import num_rows

KINDS = ("image", "vector", "table", "inputs")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Raw rows as models take them, with their labels.

    Args:
        x: the rows. Images: uint8 of shape `(n, height, width, channels)`.
            Vectors: float32 of shape `(n, d)`. Tables: float32 of shape
            `(n, columns)`. Both are float64 where float32 would merge numbers. A
            numeric cell is its value, a categorical cell the position of its
            category in the schema's vocabulary, or -1 for a category that is not
            in there; NaN is a missing cell of either. Inputs: any other array of
            numbers or strings, or a dict of arrays, one for each input of a network.
        y: int64 of shape `(n,)`, the class of each row; -1 is "unlabelled".
        kind: `"image"`, `"vector"`, `"table"` or `"inputs"`.
        class_names: tuple of str, the classes 0, 1, ...; empty for a density.
        schema: `TableSchema` of a table, else `None`.
        num_test: int. How many rows at the end are the official test split of
            the source; 0 when it has none.
        name: str, where the rows came from.
    """

    x: Any
    y: np.ndarray
    kind: str
    class_names: tuple[str, ...]
    schema: TableSchema | None = None
    num_test: int = 0
    name: str = ""

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 for a pure density."""
        return len(self.class_names)

    @property
    def input_shape(self) -> Any:
        """Shape of one row, without the batch axis; of several inputs by name."""
        return shapes_of(self.x)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return num_rows(self.x)


def validate(dataset: Dataset, *, allow_one_class: bool = False) -> None:
    """Refuses data that no model could be trained on.

    Args:
        dataset: `Dataset`.
        allow_one_class: bool. Set it for rows that only go through a model
            trained elsewhere, which may well share one class.

    Raises:
        ValueError: if there are no rows; if a feature is not finite (a missing
            cell of a table may be NaN); if images are not uint8 of rank 4 with
            1 or 3 channels; if a label is not -1 or a class; or if all
            labelled rows are of one class.
    """
    if dataset.kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: {dataset.kind!r}.")
    if dataset.num_rows == 0:
        raise ValueError(
            f"{_name(dataset)}: there must be at least one row. "
            f"Received: {_told(dataset.x)}. Check that the source is "
            "not empty."
        )
    if dataset.kind == "image":
        _check_images(dataset)
    elif dataset.kind == "inputs":
        check_inputs(dataset.x, _name(dataset))
    else:
        _check_features(dataset)
    _check_labels(dataset, allow_one_class)


def _name(dataset: Dataset) -> str:
    return dataset.name or "the dataset"


def _told(x) -> str:
    return (
        "no rows of several inputs" if isinstance(x, dict) else f"x of shape {x.shape}"
    )


def _check_images(dataset: Dataset) -> None:
    x = dataset.x
    if x.ndim != 4 or x.dtype != np.uint8 or x.shape[-1] not in (1, 3):
        raise ValueError(
            f"{_name(dataset)}: images must be uint8 of shape "
            "(n, height, width, channels) with 1 or 3 channels. "
            f"Received: {x.dtype} of shape {x.shape}. Convert them first."
        )


def _check_features(dataset: Dataset) -> None:
    x = dataset.x
    is_table = dataset.kind == "table"
    if x.ndim != 2:
        raise ValueError(
            f"{_name(dataset)}: a {dataset.kind} dataset must be of shape "
            f"(n, features). Received: shape {x.shape}."
        )
    bad = np.isinf(x) if is_table else ~np.isfinite(x)
    if not bad.any():
        return
    row, column = (int(place[0]) for place in np.nonzero(bad))
    named = repr(dataset.schema.columns[column].name) if dataset.schema else column
    remedy = "" if is_table else ", or use a CSV file, where a cell may be missing"
    raise ValueError(
        f"{_name(dataset)}: every feature must be finite. Received: "
        f"{x[row, column]} in column {named}, first in row {row} (counted from "
        f"0). Correct or drop such rows{remedy}."
    )


def _check_labels(dataset: Dataset, allow_one_class: bool) -> None:
    y, num_classes = dataset.y, dataset.num_classes
    if y.shape != (dataset.num_rows,) or y.dtype.kind != "i":
        raise ValueError(
            f"{_name(dataset)}: `y` must hold one integer a row. Received: "
            f"{y.dtype} of shape {y.shape} for {dataset.num_rows} rows."
        )
    bad = (y < -1) | (y >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{_name(dataset)}: a label must be -1 (unlabelled) or less than the "
            f"number of classes, {num_classes}. Received: {y[row]} in row {row} "
            "(counted from 0). Renumber the labels from 0."
        )
    present = np.unique(y[y >= 0])
    if len(present) == 1 and not allow_one_class:
        raise ValueError(
            f"{_name(dataset)}: labelled rows must be of two classes or more. "
            f"Received: class {dataset.class_names[present[0]]!r} alone. Add "
            "another class, or leave the labels out to learn a density."
        )
