"""Random crops and flips of images."""

import tensorflow as tf


def crop_and_flip(
    images: tf.Tensor, seed: tf.Tensor, *, padding: int = 4, flip: bool = True
):
    """Moves each image by up to `padding` pixels, and mirrors half of them.

    The border is filled by reflection, as wide residual networks are trained.

    Args:
        images: `(n, height, width, channels)`, any type.
        seed: int64 tensor `(2,)`, on which alone the draws depend.
        padding: int >= 0, below height and width.
        flip: bool, whether left and right change places in half of them.

    Returns:
        Images like those given.

    Raises:
        ValueError: if the images are known not to be larger than `padding`.
    """
    _check_padding(padding, images.shape[1:3])
    count, height, width = (tf.shape(images)[i] for i in range(3))
    offsets = tf.random.stateless_uniform(
        [2, count, 1], seed, 0, 2 * padding + 1, tf.int32, alg="philox"
    )
    # Reflection and mirroring are in the indices: moving the pixels thrice, by a
    # padded copy and a mirrored one, takes several times as long.
    rows = offsets[0] - padding + tf.range(height)
    columns = tf.range(width)[None]
    if flip:
        seed = tf.random.experimental.stateless_fold_in(seed, 1, alg="philox")
        mirrored = tf.random.stateless_uniform([count, 1, 1, 1], seed, alg="philox")
        columns = tf.where(mirrored[:, 0, 0] < 0.5, width - 1 - columns, columns)
    columns += offsets[1] - padding
    moved = tf.gather(images, _reflect(rows, height), axis=1, batch_dims=1)
    return tf.gather(moved, _reflect(columns, width), axis=2, batch_dims=1)


def _reflect(positions, size):
    """Positions less than `size` outside of `0..size-1`, reflected into it."""
    return size - 1 - tf.abs(size - 1 - tf.abs(positions))


def _check_padding(padding, sizes):
    if any(size is not None and padding >= size for size in sizes):
        raise ValueError(
            "`padding` must be below the images' height and width. Received: "
            f"padding={padding} for images of {sizes[0]}x{sizes[1]} pixels."
        )
