"""Negatives made from the batch itself: inputs that mix two of its rows."""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_ebm.negatives.base import BatchNegatives, ComputedInputs
from keras_ebm.protocols import RandomDraws


def partners(x: tf.Tensor):
    """Each row's neighbour in its pair: rows 0 and 1, 2 and 3, and so on.

    Batches are shuffled, so a neighbour is a random partner; and a pair never
    straddles two replicas, so their number does not change who meets whom.
    The last row of an odd batch meets the first.
    """
    size = tf.shape(x)[0]
    index = tf.range(size)
    neighbour = tf.bitwise.bitwise_xor(index, 1)
    return tf.gather(x, tf.where(neighbour < size, neighbour, 0))


@keras.saving.register_keras_serializable(package="keras_ebm")
class CutJoin(BatchNegatives):
    """Joins two inputs along a cut.

    Images `(batch, height, width, channels)` are cut along a random straight
    line through the middle half of the picture; vectors `(batch, entries)`
    take a random half of their entries from each parent. Of several inputs each is
    taken whole from either parent, and not all from the same one: each is an input as
    there are, strings and tokens too, while they no longer belong together.

    Call arguments:
        x: tensor, the batch; or a dict or list of tensors, several inputs.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        Tensor or tensors shaped like `x`.
    """

    def __call__(self, x: Any, random: RandomDraws):
        if tree.is_nested(x):
            return self._inputs_of_both(x, random)
        if len(x.shape) == 4:
            keep = self._half_planes(x, random)
        else:
            keep = random.uniform(tf.shape(x), "cut_mask") < 0.5
        return tf.where(keep, x, partners(x))

    def _inputs_of_both(self, x, random):
        """Whole inputs of a row or of its partner, one at least of each."""
        parts = tree.flatten(x)
        keys = random.uniform([tf.shape(parts[0])[0], len(parts)], "cut_inputs")
        keep = keys < 0.5
        # Where all would be of one parent, one is of the other.
        alike = tf.reduce_all(keep == keep[:, :1], axis=1, keepdims=True)
        last = tf.one_hot(tf.argmax(keys, axis=1), len(parts)) > 0.0
        keep = tf.math.logical_xor(keep, alike & last)
        joined = [
            tf.where(
                tf.reshape(keep[:, index], [-1, *[1] * (len(part.shape) - 1)]),
                part,
                partners(part),
            )
            for index, part in enumerate(parts)
        ]
        return tree.pack_sequence_as(x, joined)

    def _half_planes(self, x, random):
        size, (height, width) = tf.shape(x)[0], x.shape[1:3]
        angle = random.uniform([size], "cut_angle", 0.0, 2.0 * math.pi)
        offset = random.uniform([size], "cut_offset", -0.5, 0.5)
        rows = tf.linspace(-1.0, 1.0, height)[None, :, None]
        columns = tf.linspace(-1.0, 1.0, width)[None, None, :]
        angle, offset = angle[:, None, None], offset[:, None, None]
        side = tf.cos(angle) * rows + tf.sin(angle) * columns > offset
        return side[..., None]


@keras.saving.register_keras_serializable(package="keras_ebm")
class ColumnShuffle(BatchNegatives):
    """Deals the values of each column out among the rows anew.

    Every column keeps its values, and so its distribution, while what ties columns
    together is lost: an energy learns how they depend on each other. As values stay as
    they are, it serves codes and tokens too: resampled marginals, each value of the
    batch once. On several replicas each deals out the values of its own rows.

    Call arguments:
        x: tensor `(batch, entries)`, the batch.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        Tensor shaped like `x`.

    Raises:
        ValueError: if `x` holds no vectors.

    References:
        - Shi and Horvath (2006), "Unsupervised learning with random forest
          predictors", whose synthetic data these are.
    """

    def __call__(self, x: tf.Tensor, random: RandomDraws):
        if tree.is_nested(x) or len(x.shape) != 2:
            received = (
                f"a {type(x).__name__} of several inputs; use CutJoin for these."
                if tree.is_nested(x)
                else f"inputs of shape {tuple(x.shape)}; use CutAndBlend for images."
            )
            raise ValueError(
                "`negatives` ColumnShuffle takes vectors `(batch, entries)`. Received: "
                f"{received}"
            )
        keys = random.uniform([x.shape[1], tf.shape(x)[0]], "column_shuffle")
        dealt = tf.gather(tf.transpose(x), tf.argsort(keys, axis=1), batch_dims=1)
        return tf.reshape(tf.transpose(dealt), tf.shape(x))


@keras.saving.register_keras_serializable(package="keras_ebm")
class Blend(ComputedInputs, BatchNegatives):
    """Mixes two inputs: `w * x + (1 - w) * partner`, `w` uniform in `share`.

    Args:
        share: `(low, high)` of the first parent's weight. Default
            `(0.3, 0.7)`: both parents stay visible.
    """

    _values = ("share",)

    def __init__(self, share: tuple[float, float] = (0.3, 0.7)):
        low, high = share
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(
                "`share` must satisfy 0 <= low <= high <= 1. "
                f"Received: share={tuple(share)}."
            )
        self.share = (low, high)

    def __call__(self, x: tf.Tensor, random: RandomDraws):
        self.check_floats(x)
        shape = [tf.shape(x)[0], *[1] * (len(x.shape) - 1)]
        weight = random.uniform(shape, "blend", *self.share)
        return weight * x + (1.0 - weight) * partners(x)


@keras.saving.register_keras_serializable(package="keras_ebm")
class CutAndBlend(ComputedInputs, BatchNegatives):
    """Cuts and blends in turn: pairs alternate between the two.

    Neighbouring pairs of rows alternate between `CutJoin` and `Blend`.
    """

    def __init__(self):
        self.cut = CutJoin()
        self.blend = Blend()

    def __call__(self, x: tf.Tensor, random: RandomDraws):
        self.check_floats(x)
        index = tf.range(tf.shape(x)[0]) // 2 % 2
        first = tf.reshape(index == 0, [-1, *[1] * (len(x.shape) - 1)])
        return tf.where(first, self.cut(x, random), self.blend(x, random))


@keras.saving.register_keras_serializable(package="keras_ebm")
class Jitter(ComputedInputs, BatchNegatives):
    """Moves each input by Gaussian noise of a width of its own.

    The widths are log-uniform in `stddev`, from noise that hardly leaves the data to
    noise that covers its surroundings, so that an energy learns how far from the
    data an input is, near and far, as networks that guess the width do.

    Args:
        stddev: `(low, high)` with 0 < low < high, in units of preprocessed inputs.

    References:
        - Livernoche et al. (2024), "On diffusion modeling for anomaly detection",
          https://arxiv.org/abs/2305.18593, which guesses the width.
    """

    _values = ("stddev",)

    def __init__(self, stddev: tuple[float, float] = (0.05, 3.0)):
        low, high = stddev
        if not 0.0 < low < high:
            raise ValueError(
                "`stddev` must satisfy 0 < low < high. "
                f"Received: stddev={tuple(stddev)}."
            )
        self.stddev = (low, high)

    def __call__(self, x: tf.Tensor, random: RandomDraws):
        self.check_floats(x)
        low, high = (math.log(width) for width in self.stddev)
        shape = [tf.shape(x)[0], *[1] * (len(x.shape) - 1)]
        width = tf.exp(random.uniform(shape, "jitter_width", low, high))
        return x + width * random.normal(tf.shape(x), "jitter")
