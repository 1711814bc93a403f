"""Training batches whose order is a function of the seed and the epoch."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_choice
from keras_ebm.data.augment import crop_and_flip
from keras_ebm.rows import tensors

AUGMENTATIONS = ("none", "crop", "crop_flip")


def training_batches(
    x: Any,
    y: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    first_step: int = 0,
    augment: str = "none",
    keep_plain: bool = False,
    guessed: np.ndarray | None = None,
    guessed_weight: float = 1.0,
):
    """Builds an endless stream of shuffled batches for `fit`.

    Epoch `e` visits the rows in an order keyed by `(seed, e)` alone, so a run
    resumed at epoch `e` sees what the uninterrupted run would have seen. The
    last partial batch of an epoch is dropped: replicas need equal shares.

    Where some rows are unlabelled, a batch is two halves apart: one drawn from the
    labelled rows, for the classifier, and one from all rows, for the density, so
    that few labels reach every step and yet weigh no more than others in `p(x)`.
    It is `((few_x, x), (few_y, y))`, and an epoch is one pass over all rows.

    With `guessed` labels half of the classifier's rows are unlabelled ones with theirs,
    and weights beside them have its loss be the mean cross-entropy of the labelled rows
    plus `guessed_weight` times that of the guessed ones.

    Args:
        x: raw rows `(n, ...)`, or a dict of them.
        y: labels `(n,)`, -1 unlabelled.
        batch_size: int, rows a step.
        seed: int.
        first_epoch: int, where a resumed run starts.
        first_step: int, and after how many steps of that epoch.
        augment: `"none"`, `"crop"`: images are moved by up to 4 pixels, or
            `"crop_flip"`: half of them are mirrored too.
        keep_plain: bool, leaves the images of the density as they are; the inputs
            of a batch are then a pair in any case, the augmented ones for the
            classifier first.
        guessed: `(n,)` labels of the unlabelled rows, -1 for none, or None; see
            `keras_ebm.estimators.PseudoLabels`.
        guessed_weight: float > 0.

    Returns:
        `(dataset, steps_per_epoch)`; pass both to `fit`.

    Raises:
        ValueError: if a batch is larger than the data, odd where it is of two
            halves, below 4 where labels are guessed, or rows that are no images are to
            be augmented.
    """
    check_choice("augment", augment, AUGMENTATIONS)
    if augment != "none" and getattr(x, "ndim", 0) != 4:
        told = "several inputs"
        if not isinstance(x, dict):
            told = f"rows of shape {x.shape[1:]}"
        raise ValueError(f"`augment` {augment} needs images. Received: {told}.")
    per_batch, halves = _rows_a_step(y, batch_size)
    steps = len(y) // per_batch
    order = _order(np.arange(len(y)), steps * per_batch, seed, first_epoch)
    x, labels = tensors(x), tf.constant(y.astype(np.int32))

    def read(rows):
        return tf.nest.map_structure(lambda part: tf.gather(part, rows), (x, labels))

    batches = order.batch(per_batch, drop_remainder=True).skip(first_step).map(read)
    guesses = _guesses(y, guessed, per_batch) if halves else None
    if halves:
        known = per_batch - (0 if guesses is None else per_batch // 2)
        few = np.flatnonzero(y >= 0)
        few = _order(few, steps * known, seed + 1, first_epoch)
        few = few.batch(known, drop_remainder=True).skip(first_step).map(read)
        batches = tf.data.Dataset.zip(few, batches)
        batches = batches.map(lambda a, b: ((a[0], b[0]), (a[1], b[1])))
    if guesses is not None:
        own = _order(guesses, steps * (per_batch // 2), seed + 2, first_epoch)
        own = own.batch(per_batch // 2, drop_remainder=True).skip(first_step)
        answers = tf.constant(np.asarray(guessed, np.int32))
        own = own.map(lambda rows: (read(rows)[0], tf.gather(answers, rows)))
        batches = _beside(batches, own, per_batch, guessed_weight)
    if augment != "none":
        begin = first_epoch * steps + first_step
        batches = _augmented(batches, seed, begin, augment, keep_plain)
    return batches.prefetch(tf.data.AUTOTUNE), steps


def rows_of_worker(batches: tf.data.Dataset, batch_size: int, index: int, count: int):
    """A worker's share of each batch, for a strategy of several workers.

    Such a strategy cuts a worker's batches into `count` steps of its own. So that a
    step over all workers is one batch of `batches`, each batch made here holds this
    worker's rows of `count` batches, one after the other.

    Args:
        batches: dataset of batches of one size, the same on all.
        batch_size: int, rows of each of their tensors, a multiple of `count`.
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


def steps_per_epoch(y: np.ndarray, batch_size: int) -> int:
    """Steps of one pass over rows with labels `y`; see `training_batches`."""
    per_batch, _ = _rows_a_step(y, batch_size)
    return len(y) // per_batch


def _guesses(y, guessed, per_batch: int) -> np.ndarray | None:
    """Numbers of the unlabelled rows with a guessed label; None where none has one."""
    if guessed is None:
        return None
    rows = np.flatnonzero((y < 0) & (np.asarray(guessed) >= 0))
    if not len(rows):
        return None
    if per_batch < 2:
        raise ValueError(
            "`batch_size` must be at least 4 with guessed labels, which half of the "
            f"labelled half have. Received: batch_size={2 * per_batch}."
        )
    return rows


def _beside(batches, guessed, per_batch: int, weight: float):
    """Batches of two halves with guessed rows in the classifier's, and weights."""
    share = per_batch // 2
    # Both means are over their own rows, and the loss is over all of `per_batch`.
    weights = np.full(per_batch, per_batch / (per_batch - share), np.float32)
    weights[per_batch - share :] = weight * per_batch / share
    pair = tf.constant(weights), tf.ones([per_batch])

    def join(batch, more):
        (few_x, x), (few_y, y) = batch
        first = tf.nest.map_structure(
            lambda a, b: tf.concat([a, b], 0), (few_x, few_y), more
        )
        return (first[0], x), (first[1], y), pair

    return tf.data.Dataset.zip(batches, guessed).map(lambda *both: join(*both))


def _augmented(batches, seed, first_step, augment, keep_plain):
    def move(images, key):
        return crop_and_flip(images, key, flip=augment == "crop_flip")

    def change(step, batch):
        images, *others = batch
        key = tf.stack([tf.constant(seed, tf.int64), step])
        few, images = images if isinstance(images, tuple) else (None, images)
        if keep_plain:
            return (move(images if few is None else few, key), images), *others
        if few is None:
            return move(images, key), *others
        other = tf.random.experimental.stateless_fold_in(key, 2, alg="philox")
        return (move(few, other), move(images, key)), *others

    numbered = batches.enumerate(first_step)
    return numbered.map(change, num_parallel_calls=tf.data.AUTOTUNE)


def _rows_a_step(y, batch_size):
    """Rows of a batch, or of each of its halves, and whether there are two."""
    halves = bool(0 < np.sum(y >= 0) < len(y))
    if batch_size < 1 or batch_size > len(y):
        raise ValueError(
            "`batch_size` must be at least 1 and at most the number of training "
            f"rows. Received: batch_size={batch_size} for {len(y)} rows."
        )
    if halves and batch_size % 2:
        raise ValueError(
            "`batch_size` must be even where some rows are unlabelled: half of a "
            f"batch has labels. Received: batch_size={batch_size}."
        )
    return batch_size // 2 if halves else batch_size, halves


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
