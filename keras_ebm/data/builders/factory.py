"""Builders of TensorFlow Datasets for the tables that are downloaded by hand."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from keras_ebm.data.builders import crop, hepmass, human
from keras_ebm.data.optional import require

SOURCES = {module.SOURCE.name: module.SOURCE for module in (hepmass, human, crop)}


@functools.cache
def builder_class(name: str):
    """The builder of a table, registered so that `tfds.load(name)` knows it.

    It is made when first asked for, as tensorflow_datasets is optional, and once,
    as that package refuses a name that it has. Rows are `{"features", "label"}`, in
    the order of the source, in the splits `train`, `validation` and `test`;
    `info.metadata["columns"]` names the columns. Where columns are dropped by
    their values, their number is declared as `None`: it depends on the file, and
    the declaration must also hold where a prepared set is read without the file.

    Args:
        name: str, one of `SOURCES`.

    Returns:
        A subclass of `tfds.core.GeneratorBasedBuilder`.

    Raises:
        ImportError: if tensorflow_datasets is not installed.
    """
    tfds: Any = require("tensorflow_datasets")
    builder: Any = tfds.core.GeneratorBasedBuilder
    source = SOURCES[name]

    class ManualTable(builder):
        """A `Source` as a builder; `name` is what it is registered by."""

        name = source.name
        VERSION = tfds.core.Version("1.0.0")
        MANUAL_DOWNLOAD_INSTRUCTIONS = source.instructions

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                description=source.description,
                features=_features(tfds, source),
                homepage=source.homepage,
                citation=source.citation,
                metadata=tfds.core.MetadataDict(),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            table = source.read(dl_manager.manual_dir)
            self.info.metadata["columns"] = list(table.columns)
            return {
                split: self._generate_examples(*rows)
                for split, rows in table.splits.items()
            }

        def _generate_examples(self, x, y):
            for key, (features, label) in enumerate(zip(x, y, strict=True)):
                yield key, {"features": features, "label": int(label)}

    return ManualTable


def _features(tfds, source):
    return tfds.features.FeaturesDict(
        {
            "features": tfds.features.Tensor(
                shape=(source.num_columns,), dtype=np.float32
            ),
            "label": tfds.features.ClassLabel(names=list(source.class_names)),
        }
    )
