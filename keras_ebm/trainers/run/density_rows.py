"""The rows that `keras-ebm train-likelihood` trains on, and its batches of them."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_ebm.data.batches import steps_per_epoch, training_batches
from keras_ebm.trainers.settings.data import RunData
from keras_ebm.trainers.settings.density import dequantise


@dataclasses.dataclass(frozen=True)
class Rows:
    """Raw training rows; validation and test rows dequantised once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(run: RunData) -> Rows:
    """The rows of a run as a density is trained on them.

    A density has no threshold: the validation rows are trained on, and the
    calibration rows validate.
    """
    train = np.concatenate([run.rows("train")[0], run.rows("validation")[0]])
    parts = [run.rows("calibration")[0], run.rows("test")[0]]
    if run.dataset.kind == "image":
        rng = np.random.default_rng(run.settings.seed)
        parts = [dequantised_once(x, rng) for x in parts]
    return Rows(train, *parts)


def dequantised_once(x, rng) -> np.ndarray:
    return np.asarray(dequantise(x, rng.random(x.shape, dtype=np.float32)))


def batches_of(rows: Rows, kind: str, batch_size: int, seed: int, first_step: int = 0):
    """Endless training batches; images get fresh noise at every step.

    Args:
        rows: `Rows`.
        kind: of the dataset.
        batch_size: int, rows a step.
        seed: int.
        first_step: int, steps that a resumed run has behind it.

    Raises:
        ValueError: if a batch is larger than the data.
    """
    labels = np.full(len(rows.train), -1, np.int64)
    steps = steps_per_epoch(labels, batch_size)
    batches, _ = training_batches(
        rows.train,
        labels,
        batch_size=batch_size,
        seed=seed,
        first_epoch=first_step // steps,
        first_step=first_step % steps,
    )
    if kind != "image":
        return batches.map(lambda x, _: x)

    def add_noise(step, row):
        key = tf.stack([tf.constant(seed, tf.int64), step])
        uniform = tf.random.stateless_uniform(tf.shape(row[0]), key, alg="philox")
        return dequantise(row[0], uniform)

    return batches.enumerate(first_step).map(add_noise)
