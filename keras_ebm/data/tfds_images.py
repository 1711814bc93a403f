"""Image classification sets from TensorFlow Datasets."""

from __future__ import annotations

import os

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.optional import require

DECODE_BATCH = 1024
#: Largest set that is read into memory.
MAX_BYTES = 16e9


def read_tfds(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Reads the train and test splits of an image set, in stored order.

    All of it is read into memory.

    Args:
        name: str, as TensorFlow Datasets knows it, such as `"mnist"` or
            `"mnist:3.0.1"`. `NAME@SIZE`: every image's shorter side is brought to
            so many pixels and its middle square cut out, which sets of images of
            several sizes need. `NAME#FEATURE`: another feature than "label" holds
            the classes, such as `dsprites#label_shape`.
        data_dir: where the sets are stored. Defaults to that package's own
            folder. A set that is not there is downloaded into it.

    Returns:
        `Dataset` of kind `"image"`, the test split at its end; without classes
        where the set has no labels. Binary images get the values 0 and 255. Either
        split may be absent; others are not read.

    Raises:
        ValueError: if the set is unknown and cannot be downloaded, has no
            feature "image" or not the named one, is above `MAX_BYTES`, or has
            images of several sizes and no size is named.
    """
    spec = f"tfds:{name}"
    name, size, feature = _parts(name)
    builder = _prepared_builder(name, data_dir)
    class_names = _check_features(builder, feature)
    splits = [
        split
        for split in ("train", "test")
        if split in builder.info.splits and builder.info.splits[split].num_examples
    ]
    if not splits:
        raise ValueError(
            f"tfds:{name}: there must be a split 'train' or 'test'. "
            f"Received: {listed(builder.info.splits) or 'no split'}."
        )
    _check_bytes(builder, splits, size)
    label = (feature or "label") if class_names else None
    parts = [_read_split(builder, split, size, label) for split in splits]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if images.max(initial=0) == 1:
        images *= 255
    return Dataset(
        x=images,
        y=labels.astype(np.int64),
        kind="image",
        class_names=class_names,
        num_test=len(parts[-1][0]) if splits[-1] == "test" else 0,
        name=spec,
    )


def _parts(name: str) -> tuple[str, int, str]:
    """`NAME`, the size or 0, and the feature or ""."""
    source, _, feature = name.partition("#")
    source, at, size = source.partition("@")
    if not source or (at and not size.isdecimal()) or (at and int(size) < 1):
        raise ValueError(
            "A set of images is named tfds:NAME, tfds:NAME@SIZE or tfds:NAME#FEATURE, "
            f"such as tfds:imagenet2012@128. Received: tfds:{name}."
        )
    return source, int(size or 0), feature


def _check_bytes(builder, splits, size):
    height, width, channels = builder.info.features["image"].shape
    height, width = (size, size) if size else (height or 0, width or 0)
    rows = sum(builder.info.splits[split].num_examples for split in splits)
    total = rows * height * width * (channels or 3)
    if total > MAX_BYTES:
        raise ValueError(
            f"tfds:{builder.name}: a set must fit into memory, {MAX_BYTES / 1e9:.0f} "
            f"GB at most. Received: {rows} images of {height}x{width} pixels, "
            f"{total / 1e9:.0f} GB; take a smaller size, or train with a loop over "
            "tf.data of your own."
        )


def middle_square(image: np.ndarray, size: int):
    """The middle square of an image whose shorter side is brought to `size`.

    Args:
        image: uint8 `(height, width, channels)`.
        size: int, side of the square in pixels.

    Returns:
        uint8 `(size, size, channels)`.
    """
    tf = require("tensorflow")
    shape = tf.shape(image)[:2]
    scale = size / tf.reduce_min(shape)
    sides = tf.maximum(
        tf.cast(tf.round(tf.cast(shape, scale.dtype) * scale), tf.int32), size
    )
    resized = tf.image.resize(image, sides, antialias=True)
    top, left = (sides[0] - size) // 2, (sides[1] - size) // 2
    square = resized[top : top + size, left : left + size]
    square = tf.ensure_shape(square, (size, size, image.shape[-1]))
    return tf.cast(tf.round(tf.clip_by_value(square, 0.0, 255.0)), tf.uint8)


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


def _check_features(builder, feature: str) -> tuple[str, ...]:
    """The names of the classes; none where the set has no labels."""
    features = dict(builder.info.features)
    wanted = feature or "label"
    names = getattr(features.get(wanted), "names", None)
    absent = wanted not in features and not feature
    if "image" not in features or (names is None and not absent):
        raise ValueError(
            f"tfds:{builder.name}: it must have the feature 'image', and class names "
            f"in {wanted!r}. Received: {listed(features)}. Name another feature as "
            "tfds:NAME#FEATURE, or save the set as a .npz file and use npz:PATH."
        )
    return tuple(names or ())


def _read_split(builder, split: str, size: int, label: str | None):
    """Images and labels of a split, the labels -1 where there are none."""
    tf = require("tensorflow")
    tfds = require("tensorflow_datasets")

    def read(row):
        image = middle_square(row["image"], size) if size else row["image"]
        return image, row[label] if label else tf.constant(-1, tf.int64)

    rows = builder.as_dataset(
        split=split,
        shuffle_files=False,
        # One file after the other, so that rows come in the order stored.
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    ).map(read, num_parallel_calls=tf.data.AUTOTUNE)
    try:
        batches = list(rows.batch(DECODE_BATCH).as_numpy_iterator())
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"tfds:{builder.name}: all images must be of one size. Received: "
            f"images declared as {builder.info.features['image'].shape} whose sizes "
            f"differ in the {split} split. Give them one, as tfds:NAME@SIZE."
        ) from error
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)
