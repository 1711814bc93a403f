"""Data sets named by a string, which programs and tests share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.dataset import Dataset, validate
from keras_ebm.data.label_rule import is_binary, is_whole, plain
from keras_ebm.data.parsing import parse_spec
from keras_ebm.data.schema import TableSchema
from keras_ebm.data.sources import find_source


def load(
    spec: str,
    *,
    data_dir: str | os.PathLike | None = None,
    target: str | None = None,
    ignore_columns: Sequence[str] = (),
    schema: TableSchema | None = None,
    missing: Sequence[str] | None = None,
    class_names: tuple[str, ...] | None = None,
    num_rows: int = 20_000,
    seed: int = 0,
    dtype: str | None = None,
    skip_broken_images: bool = False,
) -> Dataset:
    """Loads and checks the data set that `spec` names.

    | spec | what |
    |---|---|
    | `digits` | scikit-learn's 1,797 handwritten digits, 8x8 grey |
    | `toy:NAME` | points in the plane, see `toy.DENSITIES` |
    | `tfds:NAME` | an image set of TensorFlow Datasets, see `read_tfds`, or |
    | | `hepmass`, `human`, `crop`: tables from files that you download, see |
    | | `read_tfds_table` |
    | `images:DIR` | a folder of images or of class folders, `read_image_folder` |
    | `csv:PATH` | a table with a header line, see `read_csv` |
    | `npz:PATH` | arrays "x" and perhaps "y", see `read_npz` |
    | `stacked:NAME` | three digits of `tfds:NAME` an image, see `read_stacked` |
    | `sprites:ATTRIBUTE` | figures drawn here, labelled by `shape`, `size` or |
    | | `position`, see `draw_sprites` |
    | `python:MODULE:FUNCTION` | what a function of yours returns, see `read_python` |

    Args:
        spec: str, as in the table.
        data_dir: where sets of TensorFlow Datasets are stored, and where
            `downloads/manual` holds the files that are downloaded by hand.
        target: str, the column of a `csv:` file that holds the classes.
            Defaults to the last one; `""` if there is none.
        ignore_columns: columns of a `csv:` file to leave out.
        schema: `TableSchema` of the table that a model was trained on, which
            a `csv:` file, or a table of TensorFlow Datasets, must then fit.
        missing: texts of a `csv:` file that stand for "no value", see `read_csv`.
        class_names: tuple of str, the classes of a model trained elsewhere,
            in its order. Labels are renumbered to it by name, which for a number of
            a `npz:` file or a function is that number. Where the model's classes have
            other names than numbers, those labels are places among them.
        num_rows: int > 0. How many points of a `toy:` density, or images of a
            `stacked:` or `sprites:` set.
        seed: int >= 0, of those points or images.
        dtype: `"float32"` or `"float64"`, of the vectors of a `npz:` file or a
            function, such as a model trained elsewhere takes; None: as `read_npz` finds
            right.
        skip_broken_images: bool. Whether files of an `images:` folder that cannot be
            decoded are left out, with a `UserWarning`. Defaults to `False`.

    Returns:
        `Dataset`.

    Raises:
        ImportError: if the source needs a package that is not installed.
        ValueError: if the spec is of none of these forms, the source cannot be
            read, or `validate` refuses what is in it. With `schema` or
            `class_names`, rows of one class alone are let through.
    """
    dataset = read(
        spec,
        data_dir=data_dir,
        target=target,
        ignore_columns=ignore_columns,
        schema=schema,
        missing=missing,
        num_rows=num_rows,
        seed=seed,
        dtype=dtype,
        skip_broken_images=skip_broken_images,
    )
    if class_names is not None:
        dataset = _recode(dataset, tuple(class_names))
    known_classes = schema is not None or class_names is not None
    validate(dataset, allow_one_class=known_classes)
    return dataset


def read(
    spec: str,
    *,
    data_dir: str | os.PathLike | None = None,
    target: str | None = None,
    ignore_columns: Sequence[str] = (),
    schema: TableSchema | None = None,
    missing: Sequence[str] | None = None,
    num_rows: int = 20_000,
    seed: int = 0,
    dtype: str | None = None,
    skip_broken_images: bool = False,
) -> Dataset:
    """Does what `load` does, but for checking the result; see there."""
    options = {
        "data_dir": data_dir,
        "target": target,
        "ignore_columns": ignore_columns,
        "schema": schema,
        "missing": missing,
        "num_rows": num_rows,
        "seed": seed,
        "dtype": dtype,
        "skip_broken_images": skip_broken_images,
    }
    source = find_source(spec)
    taken = {argument: options[argument] for argument in source.takes}
    return source.read(parse_spec(spec).name, **taken)


def _recode(dataset: Dataset, class_names: tuple[str, ...]) -> Dataset:
    """Renumbers the labels by name so that they count in `class_names`."""
    dataset = _without_minus_one(dataset, class_names)
    y, schema = dataset.y, dataset.schema
    places = {plain(name): place for place, name in enumerate(class_names)}
    places |= {name: place for place, name in enumerate(class_names)}
    numbered = _is_numbered(dataset)
    if numbered and not all(map(is_whole, class_names)):
        # The numbers of classes that have names of their own.
        places = {str(place): place for place in range(len(class_names))}
    present = np.unique(y[y >= 0])
    unknown = [dataset.class_names[code] for code in present]
    unknown = [name for name in unknown if name not in places]
    if unknown:
        raise ValueError(
            f"{dataset.name}: every class must be one of {listed(places)}"
            f". Received: {listed(unknown)}. Drop those rows first."
        )
    table = np.full(dataset.num_classes + 1, -1, np.int64)
    for code in present:
        table[code] = places[dataset.class_names[code]]
    if schema is not None:
        schema = dataclasses.replace(schema, class_names=class_names)
    # A label of -1 reads the last entry of the table, which is -1.
    return dataclasses.replace(
        dataset, y=table[y], schema=schema, class_names=class_names
    )


def _is_numbered(dataset: Dataset) -> bool:
    """Whether labels were numbers of classes, as in `npz:` files and of functions."""
    source = parse_spec(dataset.name).source
    if source == "python":
        return all(map(is_whole, dataset.class_names))
    return source == "npz"


def _without_minus_one(dataset: Dataset, class_names: tuple[str, ...]) -> Dataset:
    """Where 1 and -1 are numbers of classes: -1 is none to other classes."""
    if (
        not _is_numbered(dataset)
        or not is_binary(dataset.class_names)
        or is_binary(class_names)
    ):
        return dataset
    y = np.where(dataset.y == 1, 0, -1)
    return dataclasses.replace(dataset, y=y, class_names=("1",))
