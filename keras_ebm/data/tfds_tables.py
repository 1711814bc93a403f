"""Tables from TensorFlow Datasets whose files are downloaded by hand."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import listed
from keras_ebm.data.builders import SOURCES, builder_class
from keras_ebm.data.builders.source import find_file
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.optional import require
from keras_ebm.data.schema import Column, TableSchema

READ_BATCH = 8192


def read_tfds_table(
    name: str,
    data_dir: str | os.PathLike | None = None,
    schema: TableSchema | None = None,
) -> Dataset:
    """Reads HEPMASS, HUMAN or CROP, and prepares it first where it is not stored yet.

    The files to prepare it from are expected in `data_dir/downloads/manual`; once
    prepared they are not looked at again. A million rows of 26 columns took 40 s to
    prepare, and 1.5 s to read, on one core.

    The columns have the names of the source, so that a served model tells which of
    the original's columns it wants where some were dropped. The rows are those of
    the splits train, validation and test, in this order. Only the test is kept
    apart: `make_splits` cuts validation and calibration rows of its own out of the
    other two, by its seed, which calibration needs and the builder's validation,
    the same for every seed, cannot give. Whoever wants that one takes the rows
    before the last `num_test`, or `tfds.load(name, split="validation")`.

    Args:
        name: str, one of `hepmass`, `human` and `crop`.
        data_dir: where sets are stored. Defaults to that package's own folder.
        schema: `TableSchema` of the table that a model was trained on. Its columns
            are taken by name, in its order; others are left out.

    Returns:
        `Dataset` of kind `"table"`, raw values, the test split at its end.

    Raises:
        ImportError: if tensorflow_datasets is not installed.
        ValueError: if it is not stored and a file is absent or not of its form,
            or a column of the schema is not in it or not numeric.
    """
    tfds = require("tensorflow_datasets")
    tfds.disable_progress_bar()
    builder = builder_class(name)(data_dir=data_dir, file_format="tfrecord")
    if not builder.info.splits:  # `is_prepared` warns where there is nothing.
        _prepare(builder)
    parts = [_read_split(builder, split) for split in ("train", "validation", "test")]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    columns = tuple(builder.info.metadata["columns"])
    if schema is not None:
        x, columns = _choose(x, columns, schema, name)
    class_names = SOURCES[name].class_names
    return Dataset(
        x=x,
        y=y,
        kind="table",
        class_names=class_names,
        schema=TableSchema(
            tuple(Column(column, "numeric") for column in columns), "label", class_names
        ),
        num_test=len(parts[-1][0]),
        name=f"tfds:{name}",
    )


def _prepare(builder) -> None:
    tfds = require("tensorflow_datasets")
    # DIR/NAME/VERSION: the folder that holds all sets is two above.
    downloads = pathlib.Path(builder.data_dir).parents[1] / "downloads"
    manual = downloads / "manual"
    source = SOURCES[builder.name]
    try:
        for candidates in source.files:
            find_file(manual, candidates)
    except FileNotFoundError as error:
        raise ValueError(
            f"tfds:{builder.name}: the set is not prepared in `data_dir`, and to "
            f"prepare it its files must lie in {manual}. Received: no file {error}. "
            f"{source.instructions}"
        ) from error
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    builder.download_and_prepare(download_dir=downloads, download_config=config)


def _read_split(builder, split: str):
    """`(x, y)` of a split, in the order stored.

    `as_dataset` parses row by row, which takes seven times as long as by batches.
    """
    width = len(builder.info.metadata["columns"])
    form = {
        "features": tf.io.FixedLenFeature([width], tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    files = [os.fspath(path) for path in builder.info.splits[split].filepaths]
    rows = tf.data.TFRecordDataset(files).batch(READ_BATCH)
    rows = rows.map(lambda records: tf.io.parse_example(records, form))
    batches = list(rows.as_numpy_iterator())
    x = np.concatenate([batch["features"] for batch in batches])
    y = np.concatenate([batch["label"] for batch in batches])
    return x, y.astype(np.int64)


def _choose(x, columns, schema, name):
    wanted = [column.name for column in schema.columns]
    unfit = [
        column.name
        for column in schema.columns
        if column.name not in columns or column.kind != "numeric"
    ]
    if unfit:
        raise ValueError(
            f"tfds:{name}: every column of the schema must be one of its numeric "
            f"columns. Received: {listed(unfit)}. It has: "
            f"{listed(columns)}."
        )
    return x[:, [columns.index(column) for column in wanted]], tuple(wanted)
