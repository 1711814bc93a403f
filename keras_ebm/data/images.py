"""Encoded images: their bytes, and folders of such files."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

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


def read_images(folder: str | os.PathLike, shape: tuple[int, int, int]) -> np.ndarray:
    """Reads all images of a folder, in the order of their names.

    Args:
        folder: which holds PNG, JPEG, BMP or GIF files; others are passed over.
        shape: `(height, width, channels)` that they are brought to.

    Returns:
        uint8 array `(n, height, width, channels)`.

    Raises:
        ValueError: if there is no such folder, it has no images, or one cannot
            be decoded.
    """
    folder = Path(folder).expanduser()
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(
            f"images:{folder}: there must be a folder with image files "
            f"({', '.join(SUFFIXES)}). Received: none."
        )
    images = []
    for path in paths:
        try:
            images.append(decode_images(tf.constant([path.read_bytes()]), shape)[0])
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"images:{folder}: {path.name} is no image.") from error
    return np.stack(images)
