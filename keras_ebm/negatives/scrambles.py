"""Negatives out of single images, taken apart: in their phases or their places."""

from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_ebm.arguments import check_size
from keras_ebm.negatives.base import BatchNegatives, ComputedInputs
from keras_ebm.protocols import RandomDraws


def _check_images(x: Any, source: BatchNegatives) -> None:
    """Raises ValueError unless `x` are images `(batch, height, width, channels)`."""
    if tree.is_nested(x):
        received = f"a {type(x).__name__} of several inputs; use CutJoin for these."
    elif len(x.shape) != 4:
        received = (
            f"inputs of shape {tuple(x.shape)}; use ColumnShuffle or Jitter for rows "
            "of numbers."
        )
    else:
        return
    raise ValueError(
        f"`negatives` {type(source).__name__} takes images `(batch, height, width, "
        f"channels)`. Received: {received}"
    )


def _is_range(value: Any) -> bool:
    """Whether a value is two numbers, the first below the second."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    low, high = value
    return all(isinstance(v, int | float) for v in (low, high)) and low < high


@keras.saving.register_keras_serializable(package="keras_ebm")
class PhaseScramble(ComputedInputs, BatchNegatives):
    """Images with the Fourier amplitudes of each row, and random phases.

    The phases of white noise are added to a row's: its power spectrum stays, and with
    it how smooth it is, while edges and shapes are lost. Channels share the noise, so
    that they remain in step and colours go together. The mean stays too, so far as
    nothing is clipped. Such negatives lie far from the data and show an energy what
    negatives near the data leave it blind to.

    Args:
        value_range: `(low, high)` that values are clipped to, in units of
            preprocessed inputs, such as `(-1, 1)`; None: from the lowest value of each
            row to its highest.
        random_levels: bool, whether each row is stretched between two levels that are
            drawn uniformly, the first of which may be the higher: patterns of any
            brightness and contrast, dark on bright and bright on dark, which no row of
            the data may be. The levels lie in `value_range`; without one in the range
            of the batch.

    Call arguments:
        x: float tensor `(batch, height, width, channels)`, the batch.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        Tensor shaped like `x`.

    Raises:
        ValueError: if `value_range` is none, or `x` holds no images of floats.

    References:
        - Thomson (1999), "Visual coding and the phase structure of natural scenes",
          on what phases carry.
        - Oppenheim and Lim (1981), "The importance of phase in signals".
    """

    _values = ("value_range", "random_levels")

    def __init__(
        self,
        value_range: tuple[float, float] | None = None,
        random_levels: bool = False,
    ):
        if value_range is not None and not _is_range(value_range):
            raise ValueError(
                "`value_range` must be (low, high) with low below high, or None. "
                f"Received: value_range={value_range!r}."
            )
        self.value_range = None if value_range is None else tuple(value_range)
        self.random_levels = bool(random_levels)

    def __call__(self, x: tf.Tensor, random: RandomDraws):
        self.check_floats(x)
        _check_images(x, self)
        scrambled = self._scrambled(tf.cast(x, tf.float32), random)
        if self.random_levels:
            return tf.cast(self._stretched(scrambled, x, random), x.dtype)
        if self.value_range is None:
            low = tf.reduce_min(x, axis=(1, 2, 3), keepdims=True)
            high = tf.reduce_max(x, axis=(1, 2, 3), keepdims=True)
        else:
            low, high = (tf.cast(bound, x.dtype) for bound in self.value_range)
        return tf.clip_by_value(tf.cast(scrambled, x.dtype), low, high)

    def _stretched(self, scrambled, x, random):
        """Each row from one random level to another."""
        low, high = self.value_range or (tf.reduce_min(x), tf.reduce_max(x))
        low, high = (tf.cast(bound, tf.float32) for bound in (low, high))
        axes = {"axis": (1, 2, 3), "keepdims": True}
        least = tf.reduce_min(scrambled, **axes)
        spread = tf.reduce_max(scrambled, **axes) - least
        share = tf.math.divide_no_nan(scrambled - least, spread)
        levels = random.uniform([2, tf.shape(x)[0], 1, 1, 1], "phase_scramble_levels")
        first, last = tf.unstack(low + levels * (high - low))
        return first + (last - first) * share

    def _scrambled(self, x, random):
        """Images in float32 with the phases of noise added, before clipping."""
        size, height, width = tf.unstack(tf.shape(x)[:3])
        noise = random.normal([size, height, width], "phase_scramble")
        # That of real noise: what is added keeps the images real.
        phase = tf.math.angle(tf.signal.rfft2d(noise))
        # The lowest frequency is the mean, whose sign noise would turn.
        lowest = (tf.range(height) == 0)[:, None] & (tf.range(width // 2 + 1) == 0)
        phase = tf.where(lowest, 0.0, phase)[:, None]
        turn = tf.complex(tf.cos(phase), tf.sin(phase))
        spectrum = tf.signal.rfft2d(tf.transpose(x, [0, 3, 1, 2])) * turn
        made = tf.signal.irfft2d(spectrum, fft_length=[height, width])
        return tf.ensure_shape(tf.transpose(made, [0, 2, 3, 1]), x.shape)


@keras.saving.register_keras_serializable(package="keras_ebm")
class PatchShuffle(BatchNegatives):
    """Images whose patches change places, in each row otherwise.

    A grid of equal patches is laid over the image. Every order of them but the image's
    own is drawn, all alike for channels; values stay as they are, so that an energy
    learns how parts belong together.

    Args:
        patches: int >= 2, patches along each side, 2 for quadrants; or
            `(rows, columns)` of the grid, two patches or more.

    Call arguments:
        x: tensor `(batch, height, width, channels)`, the batch, of a known size that
            the grid divides.
        random: `keras_ebm.random.StepRandom`.

    Returns:
        Tensor shaped like `x`.

    Raises:
        ValueError: if `patches` breaks its rule, or `x` holds no images that the grid
            divides.

    References:
        - Noroozi and Favaro (2016), "Unsupervised learning of visual representations
          by solving jigsaw puzzles", https://arxiv.org/abs/1603.09246.
    """

    _values = ("patches",)

    def __init__(self, patches: int | tuple[int, int] = 2):
        self.patches = patches
        grid = list(patches) if isinstance(patches, tuple | list) else [patches] * 2
        for sides in grid:
            check_size("patches", sides)
        if len(grid) != 2 or max(grid) < 2:
            raise ValueError(
                "`patches` must be an integer of at least 2, or (rows, columns) of two "
                f"patches or more. Received: patches={patches!r}."
            )
        self._grid = tuple(grid)

    def __call__(self, x: tf.Tensor, random: RandomDraws):
        _check_images(x, self)
        rows, columns = self._grid
        height, width, channels = x.shape[1:]
        if height is None or width is None or height % rows or width % columns:
            raise ValueError(
                f"`patches` must divide images into equal parts, {rows} by {columns}. "
                f"Received: patches={self.patches!r} for images of {height} by {width} "
                "pixels; take divisors of these, or crop the images."
            )
        patch = [height // rows, width // columns]
        parts = tf.reshape(x, [-1, rows, patch[0], columns, patch[1], channels])
        parts = tf.transpose(parts, [0, 1, 3, 2, 4, 5])
        parts = tf.reshape(parts, [-1, rows * columns, *patch, channels])
        order = self._orders(tf.shape(x)[0], rows * columns, random)
        parts = tf.gather(parts, order, batch_dims=1)
        parts = tf.reshape(parts, [-1, rows, columns, *patch, channels])
        parts = tf.transpose(parts, [0, 1, 3, 2, 4, 5])
        return tf.ensure_shape(tf.reshape(parts, tf.shape(x)), x.shape)

    def _orders(self, size, count, random):
        """Orders of `count` patches for each row, none of which is the row's own."""
        keys = random.uniform([size, count], "patch_shuffle")
        order, own = tf.argsort(keys, axis=1), tf.range(count)
        unmoved = tf.reduce_all(order == own, axis=1, keepdims=True)
        # A row is no negative of itself.
        return tf.where(unmoved, tf.roll(own, 1, axis=0), order)
