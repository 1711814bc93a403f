"""Training batches whose order is a function of the seed and the epoch."""

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_choice
from keras_ebm.data.augment import crop_and_flip

AUGMENTATIONS = ("none", "crop", "crop_flip")


def training_batches(
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    first_step: int = 0,
    labelled_share: float = 0.5,
    augment: str = "none",
    keep_plain: bool = False,
):
    """Builds an endless stream of shuffled batches for `fit`.

    Epoch `e` visits the rows in an order keyed by `(seed, e)` alone, so a run
    resumed at epoch `e` sees what the uninterrupted run would have seen. The
    last partial batch of an epoch is dropped: replicas need equal shares.

    Where some rows are unlabelled, `labelled_share` of each batch is drawn
    from the labelled rows and the rest from all rows, so that few labels
    still reach every step; an epoch is then one pass over all rows.

    Args:
        x: raw rows `(n, ...)`.
        y: labels `(n,)`, -1 unlabelled.
        batch_size: int, rows a step.
        seed: int.
        first_epoch: int, where a resumed run starts.
        first_step: int, and after how many steps of that epoch.
        labelled_share: float in (0, 1); unused where all rows or none are
            labelled.
        augment: `"none"`, `"crop"`: images are moved by up to 4 pixels, or
            `"crop_flip"`: half of them are mirrored too.
        keep_plain: bool, makes the inputs of a batch a pair: the augmented images,
            which are for the classifier, and the same as they are, for the density.

    Returns:
        `(dataset, steps_per_epoch)`; pass both to `fit`.

    Raises:
        ValueError: if a batch is larger than the data, `labelled_share` is not
            between 0 and 1, or rows that are no images are to be augmented.
    """
    check_choice("augment", augment, AUGMENTATIONS)
    if augment != "none" and x.ndim != 4:
        raise ValueError(
            f"`augment` {augment} needs images. Received: rows of shape {x.shape[1:]}."
        )
    labelled = np.flatnonzero(y >= 0)
    per_all, per_labelled = _rows_a_step(y, batch_size, labelled_share)
    steps = len(y) // per_all
    order = _order(np.arange(len(y)), steps * per_all, seed, first_epoch)
    indices = order.batch(per_all, drop_remainder=True).skip(first_step)
    if per_labelled:
        few = _order(labelled, steps * per_labelled, seed + 1, first_epoch)
        few = few.batch(per_labelled, drop_remainder=True).skip(first_step)
        indices = tf.data.Dataset.zip(indices, few)
        indices = indices.map(lambda a, b: tf.concat([a, b], 0))
    x, y = tf.constant(x), tf.constant(y.astype(np.int32))
    batches = indices.map(lambda rows: (tf.gather(x, rows), tf.gather(y, rows)))
    if augment != "none":
        begin = first_epoch * steps + first_step
        batches = _augmented(batches, seed, begin, augment, keep_plain)
    return batches.prefetch(tf.data.AUTOTUNE), steps


def rows_of_worker(batches, batch_size: int, index: int, count: int):
    """A worker's share of each batch, for a strategy of several workers.

    Such a strategy cuts a worker's batches into `count` steps of its own. So that a
    step over all workers is one batch of `batches`, each batch made here holds this
    worker's rows of `count` batches, one after the other.

    Args:
        batches: dataset of `(x, y)` batches of `batch_size` rows, the same on all.
        batch_size: int, a multiple of `count`.
        index: int, number of the worker.
        count: int, number of workers.
    """
    share = batch_size // count
    rows = slice(index * share, (index + 1) * share)
    own = batches.map(
        lambda *batch: tf.nest.map_structure(lambda part: part[rows], batch)
    ).rebatch(batch_size)
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    return own.with_options(options)


def steps_per_epoch(y, batch_size: int, labelled_share: float = 0.5) -> int:
    """Steps of one pass over rows with labels `y`; see `training_batches`."""
    per_all, _ = _rows_a_step(y, batch_size, labelled_share)
    return len(y) // per_all


def _augmented(batches, seed, first_step, augment, keep_plain):
    def change(step, batch):
        images, labels = batch
        key = tf.stack([tf.constant(seed, tf.int64), step])
        changed = crop_and_flip(images, key, flip=augment == "crop_flip")
        return ((changed, images) if keep_plain else changed), labels

    numbered = batches.enumerate(first_step)
    return numbered.map(change, num_parallel_calls=tf.data.AUTOTUNE)


def _rows_a_step(y, batch_size, labelled_share):
    """Rows of a batch drawn from all rows, and from the labelled ones besides."""
    if not 0.0 < labelled_share < 1.0:
        raise ValueError(
            "`labelled_share` must be above 0 and below 1. "
            f"Received: labelled_share={labelled_share}."
        )
    mixed = 0 < np.sum(y >= 0) < len(y)
    per_labelled = max(1, round(batch_size * labelled_share)) if mixed else 0
    per_all = batch_size - per_labelled
    if per_all < 1 or per_all > len(y):
        raise ValueError(
            "`batch_size` must be at least 1 (2 with unlabelled rows) and at most "
            f"the number of training rows. Received: batch_size={batch_size} for "
            f"{len(y)} rows."
        )
    return per_all, per_labelled


def _order(rows, length, seed, first_epoch):
    """Endless stream of row indices, `length` an epoch, reshuffled each epoch."""
    rows = tf.constant(rows.astype(np.int64))
    repeats = -(-length // int(rows.shape[0]))

    def one_epoch(epoch):
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        parts = [
            tf.random.experimental.stateless_shuffle(
                rows, key + tf.constant([0, part << 32], tf.int64), alg="philox"
            )
            for part in range(repeats)
        ]
        return tf.data.Dataset.from_tensor_slices(tf.concat(parts, 0)[:length])

    return tf.data.Dataset.range(first_epoch, 2**31).flat_map(one_epoch)
