"""Image classification sets from TensorFlow Datasets."""

from __future__ import annotations

import os

import numpy as np

from keras_ebm.data.dataset import Dataset
from keras_ebm.data.optional import require

DECODE_BATCH = 1024


def read_tfds(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Reads the train and test splits of an image set, in stored order.

    Args:
        name: str, as TensorFlow Datasets knows it, such as `"mnist"` or
            `"mnist:3.0.1"`.
        data_dir: where the sets are stored. Defaults to that package's own
            folder. A set that is not there is downloaded into it.

    Returns:
        `Dataset` of kind `"image"`, the test split at its end. Either split
        may be absent; others are not read.

    Raises:
        ValueError: if the set is unknown and cannot be downloaded, has no
            features "image" and "label", or has images of several sizes.
    """
    builder = _prepared_builder(name, data_dir)
    class_names = _check_features(builder)
    splits = [
        split
        for split in ("train", "test")
        if split in builder.info.splits and builder.info.splits[split].num_examples
    ]
    if not splits:
        raise ValueError(
            f"tfds:{name}: there must be a split 'train' or 'test'. "
            f"Received: {', '.join(builder.info.splits) or 'no split'}."
        )
    parts = [_read_split(builder, split) for split in splits]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Dataset(
        x=images,
        y=labels.astype(np.int64),
        kind="image",
        class_names=class_names,
        num_test=len(parts[-1][0]) if splits[-1] == "test" else 0,
        name=f"tfds:{name}",
    )


def _prepared_builder(name: str, data_dir):
    tfds = require("tensorflow_datasets")
    tfds.disable_progress_bar()
    # Whatever goes wrong here (an unknown name, no network, no disk) is told
    # by many types of exception, which share no base but this one.
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.is_prepared():
            builder.download_and_prepare()
    except Exception as error:
        cause = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"tfds:{name}: the set is not stored in data_dir={data_dir}, and it "
            "could not be downloaded. Check the name and the network, or give the "
            "folder that holds it as `data_dir`. The cause: "
            f"{type(error).__name__}: {cause[:300]}"
        ) from error
    return builder


def _check_features(builder) -> tuple[str, ...]:
    features = builder.info.features
    names = getattr(dict(features).get("label"), "names", None)
    if "image" not in features or names is None:
        raise ValueError(
            f"tfds:{builder.name}: it must have the features 'image' and 'label', "
            f"the latter with class names. Received: {', '.join(features)}. "
            "Save it as a .npz file and use npz:PATH."
        )
    return tuple(names)


def _read_split(builder, split: str) -> tuple[np.ndarray, np.ndarray]:
    tf = require("tensorflow")
    tfds = require("tensorflow_datasets")
    rows = builder.as_dataset(
        split=split,
        shuffle_files=False,
        # One file after the other, so that rows come in the order stored.
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    ).map(lambda row: (row["image"], row["label"]))
    try:
        batches = list(rows.batch(DECODE_BATCH).as_numpy_iterator())
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"tfds:{builder.name}: all images must be of one size. Received: "
            f"images declared as {builder.info.features['image'].shape} whose sizes "
            f"differ in the {split} split. Resize them, save them as a .npz file "
            "and use npz:PATH."
        ) from error
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)
