"""Digits stacked as colour channels: a data set whose modes can be counted."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.tfds_images import read_tfds

#: Images resized at once.
NUM_ROWS = 2048
CHANNELS = 3


def stack_digits(
    images: np.ndarray,
    labels: np.ndarray,
    num_rows: int,
    seed: int,
    *,
    image_size: int = 28,
    channels: int = CHANNELS,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws digits with replacement, one for each channel of an image.

    The label of an image whose channels show the digits `y_0, y_1, ...` is
    `sum_j y_j 10^(channels - 1 - j)`, the number that they spell; the same rule
    as `keras_ebm.metrics.count_modes`.

    Args:
        images: uint8 array of shape `(n, height, width, 1)`, grey digits.
        labels: int array of shape `(n,)`, 0 to 9.
        num_rows: int >= 1. How many images to make.
        seed: int >= 0.
        image_size: int >= 1, side of the images; see `resize_images`.
        channels: int >= 1, digits an image.

    Returns:
        `(x, y)`: uint8 of shape `(num_rows, image_size, image_size, channels)`
        and int64 of shape `(num_rows,)`, from 0 to `10 ** channels - 1`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Metz et al. (2017), "Unrolled generative adversarial networks",
          https://arxiv.org/abs/1611.02163, section 3.3.1: a thousand modes.
    """
    for name, value in (("num_rows", num_rows), ("channels", channels)):
        check_size(name, value)
    _check_digits(images, labels)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(images), size=(num_rows, channels))
    stacked = np.stack([images[rows, ..., 0] for rows in drawn.T], axis=-1)
    places = 10 ** np.arange(channels - 1, -1, -1)
    y = labels[drawn].astype(np.int64) @ places
    return resize_images(stacked, image_size), y


def resize_images(images: np.ndarray, image_size: int) -> np.ndarray:
    """Resizes images bilinearly to a square, rounding to whole pixel values.

    Args:
        images: uint8 array of shape `(n, height, width, channels)`.
        image_size: int >= 1, the side wanted.

    Returns:
        uint8 array of shape `(n, image_size, image_size, channels)`.
    """
    check_size("image_size", image_size)
    if images.shape[1:3] == (image_size, image_size):
        return images
    shape = (len(images), image_size, image_size, images.shape[-1])
    resized = np.empty(shape, np.uint8)
    for start in range(0, len(images), NUM_ROWS):
        rows = images[start : start + NUM_ROWS]
        pixels = tf.image.resize(rows, [image_size, image_size], "bilinear")
        resized[start : start + NUM_ROWS] = np.rint(pixels.numpy())
    return resized


def read_stacked(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    num_rows: int = 20_000,
    seed: int = 0,
) -> Dataset:
    """Makes a data set of three stacked digits; unlabelled, for densities.

    Where the source has a test split, the last sixth of the rows stacks its digits
    and is the test split here; no digit is on both sides.

    Args:
        name: str, `NAME` or `NAME@SIZE`: a set of grey digits of TensorFlow
            Datasets, such as `"mnist@64"`, and the side of the images. Without
            a size it is that of the digits, which must then be square.
        data_dir: where the sets are stored; see `read_tfds`.
        num_rows: int >= 1, rows in all.
        seed: int >= 0, of the digits drawn.

    Returns:
        `Dataset` of kind `"image"`, without classes.

    Raises:
        ValueError: if the name has another form, the set cannot be read, or
            does not hold grey digits.
    """
    source, _, size = name.partition("@")
    if not source or (size and not size.isdecimal()) or name.endswith("@"):
        raise ValueError(
            "A set of stacked digits is named stacked:NAME or stacked:NAME@SIZE, "
            f"such as stacked:mnist@64. Received: stacked:{name}."
        )
    digits = read_tfds(source, data_dir)
    height, width, _ = digits.input_shape
    if not size and height != width:
        raise ValueError(
            f"stacked:{name}: digits that are not square need a size. Received: "
            f"{height} x {width}; write stacked:{source}@{height}."
        )
    options = {"image_size": int(size or height), "channels": CHANNELS}
    num_train = len(digits.x) - digits.num_test
    # All rows are of the one split where there is only one.
    num_test = num_rows // 6 if digits.num_test else 0
    num_test = num_test if num_train else num_rows
    parts = []
    for rows, count, part in (
        (slice(0, num_train), num_rows - num_test, 0),
        (slice(num_train, None), num_test, 1),
    ):
        if count:
            part_seed = 2 * seed + part
            x, y = digits.x[rows], digits.y[rows]
            parts.append(stack_digits(x, y, count, part_seed, **options)[0])
    return Dataset(
        x=np.concatenate(parts),
        y=np.full(num_rows, -1, np.int64),
        kind="image",
        class_names=(),
        num_test=num_test,
        name=f"stacked:{name}",
    )


def _check_digits(images, labels) -> None:
    good = images.ndim == 4 and images.shape[-1] == 1 and images.dtype == np.uint8
    if not good or labels.shape != images.shape[:1] or not len(images):
        raise ValueError(
            "`images` must be grey, uint8 of shape (n, height, width, 1), with one "
            f"label each. Received: {images.dtype} of shape {images.shape} and "
            f"labels of shape {labels.shape}."
        )
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(
            "`labels` must be digits from 0 to 9. Received: labels from "
            f"{labels.min()} to {labels.max()}; leave other classes out."
        )
