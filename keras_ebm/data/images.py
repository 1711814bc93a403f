"""Encoded images: their bytes, and folders of such files."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_ebm.data.dataset import Dataset
from keras_ebm.data.tfds_images import middle_square

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")


def decode_images(encoded: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Decodes PNG, JPEG, BMP or GIF bytes to uint8 images of one shape.

    An image of another size is resized with antialiasing.

    Args:
        encoded: string tensor `(batch,)`.
        shape: `(height, width, channels)`.

    Returns:
        uint8 tensor `(batch, height, width, channels)`.
    """
    height, width, channels = shape

    def decode(content):
        image = tf.io.decode_image(content, channels, expand_animations=False)
        image.set_shape((None, None, channels))
        image = tf.image.resize(image, (height, width), antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)

    return tf.map_fn(decode, encoded, fn_output_signature=tf.uint8)


def read_images(
    folder: str | os.PathLike, shape: tuple[int, int, int] | None = None
) -> np.ndarray:
    """Reads all images of a folder, in the order of their names.

    Args:
        folder: which holds PNG, JPEG, BMP or GIF files; others are passed over.
        shape: `(height, width, channels)` that they are brought to; None: their
            own, in colour, the same for all.

    Returns:
        uint8 array `(n, height, width, channels)`.

    Raises:
        ValueError: if there is no such folder, it has no images, one cannot be
            decoded, or without `shape` their sizes differ.
    """
    folder = Path(folder).expanduser()
    images = [_read_image(path, shape) for path in image_paths(folder)]
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise ValueError(
            f"images:{folder}: all images must be of one size. Received: "
            f"{', '.join(f'{h}x{w}' for h, w, _ in sorted(sizes))}; name one, as "
            "images:DIR@SIZE."
        )
    return np.stack(images)


def image_paths(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their names; at least one."""
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(
            f"images:{folder}: there must be a folder with image files "
            f"({', '.join(SUFFIXES)}). Received: none."
        )
    return paths


def _read_image(path: Path, shape):
    content = tf.constant(path.read_bytes())
    try:
        if shape is not None:
            return decode_images(content[None], shape)[0].numpy()
        return tf.io.decode_image(content, 3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"images:{path.parent}: {path.name} is no image.") from error


def read_image_folder(name: str) -> Dataset:
    """Reads a folder of images, or of one folder for each class.

    Args:
        name: str, `DIR` or `DIR@SIZE`: squares of so many pixels are cut out of the
            middle of each image, its shorter side brought to them. Images are read
            in colour; folders within `DIR` are classes, by their names in order.

    Returns:
        `Dataset` of kind `"image"`; unlabelled where there are no such folders.

    Raises:
        ValueError: see `read_images`.
    """
    folder, classes, size = _find_classes(name)
    parts = [_read_squares(one, size) for one in classes or [folder]]
    x = np.concatenate(parts)
    names = tuple(p.name for p in classes)
    codes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    y = codes if classes else np.full(len(x), -1)
    return Dataset(x, y.astype(np.int64), "image", names, name=f"images:{name}")


def image_files(name: str) -> list[str]:
    """Paths below `DIR` of the images that `read_image_folder` reads, in its order."""
    folder, classes, _ = _find_classes(name)
    return [
        str(path.relative_to(folder))
        for one in classes or [folder]
        for path in image_paths(one)
    ]


def _find_classes(name: str) -> tuple[Path, list[Path], int]:
    """The folder of `DIR[@SIZE]`, those of its classes, and the size or 0."""
    path, at, size = name.rpartition("@")
    if not at or not size.isdecimal():
        path, size = name, "0"
    folder = Path(path).expanduser()
    return folder, sorted(p for p in folder.glob("*") if p.is_dir()), int(size)


def _read_squares(folder: Path, size: int) -> np.ndarray:
    if not size:
        return read_images(folder)
    images = (_read_image(path, None) for path in image_paths(folder))
    return np.stack([middle_square(tf.constant(i), size).numpy() for i in images])
