"""Random crops and flips of images."""

import tensorflow as tf


def crop_and_flip(images, seed, *, padding: int = 4, flip: bool = True):
    """Moves each image by up to `padding` pixels, and mirrors half of them.

    The border is filled by reflection, as wide residual networks are trained.

    Args:
        images: `(n, height, width, channels)`, any type.
        seed: int64 tensor `(2,)`, on which alone the draws depend.
        padding: int >= 0, below height and width.
        flip: bool, whether left and right change places in half of them.

    Returns:
        Images like those given.
    """
    count, height, width = (tf.shape(images)[i] for i in range(3))
    around = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    padded = tf.pad(images, around, "REFLECT")
    offsets = tf.random.stateless_uniform(
        [2, count, 1], seed, 0, 2 * padding + 1, tf.int32, alg="philox"
    )
    rows = offsets[0] + tf.range(height)
    columns = offsets[1] + tf.range(width)
    moved = tf.gather(padded, rows, axis=1, batch_dims=1)
    moved = tf.gather(moved, columns, axis=2, batch_dims=1)
    if not flip:
        return moved
    seed = tf.random.experimental.stateless_fold_in(seed, 1, alg="philox")
    mirrored = tf.random.stateless_uniform([count, 1, 1, 1], seed, alg="philox") < 0.5
    return tf.where(mirrored, moved[:, :, ::-1], moved)
