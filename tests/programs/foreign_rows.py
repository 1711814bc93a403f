"""Rows that tests load by `python:foreign_rows:FUNCTION`."""

import numpy as np
import tensorflow as tf


def several(count=120, seed=0):
    """Words, a number and tokens, which all tell of the label, as arrays."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    x = {
        "words": np.where(label, "good film", "bad film").astype(object),
        "age": rng.normal(label, 1.0, count),
        "tokens": rng.integers(0, 4, (count, 3)) + 4 * label[:, None],
    }
    return x, np.where(label, "yes", "no")


def others():
    """Others of the same kind, as batches of a dataset."""
    return tf.data.Dataset.from_tensor_slices(several(60, seed=1)).batch(16)


def three():
    """Three kinds of labels, of which one may be held out."""
    x, y = several(150, seed=2)
    return x, np.where(np.arange(150) % 3, y, "perhaps")


def shuffled():
    """Other rows at every call."""
    return several(120, seed=None)


def pictures(count=120, seed=0):
    """Pictures of 8 by 8 pixels, lighter for each of three classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    x = rng.integers(0, 90, (count, 8, 8, 1)) + 60 * y[:, None, None, None]
    return x.astype(np.uint8), y


def split_pictures():
    """With an official test split."""
    return {"train": pictures(), "test": pictures(40, seed=1)}


def points():
    """Points of two classes."""
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    return (rng.normal(size=(100, 3)) + y[:, None]).astype(np.float32), y
