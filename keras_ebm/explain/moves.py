"""What the numeric cells of rows may become."""

import numpy as np
import tensorflow as tf

from keras_ebm.layers import TableEncoder


class Moves:
    """Rows of a batch whose numeric cells move within bounds.

    A position is the first entries of preprocessed rows, those of the numeric
    columns. Cells that are missing, infinite or without bounds stay as they are.

    Args:
        encoder: `TableEncoder`.
        x: raw rows `(batch, columns)`.
        start: the rows' position `(batch, num_numeric)`.
        low: float array `(num_numeric,)` in the columns' units; NaN where a column
            must not move.
        high: likewise.
    """

    def __init__(
        self,
        encoder: TableEncoder,
        x: tf.Tensor,
        start: tf.Tensor,
        low: np.ndarray,
        high: np.ndarray,
    ):
        self._decode = encoder.decode_numeric
        self._columns = encoder.entry_columns[: encoder.num_numeric]
        self._x, self._start, self._low, self._high = x, start, low, high
        self._cells = tf.gather(x, self._columns, axis=1)
        self._movable = tf.math.is_finite(self._cells) & np.isfinite(low)
        # Of all cells followed by the numeric ones, those that make a row.
        self._places = np.arange(x.shape[1])
        self._places[self._columns] = x.shape[1] + np.arange(len(self._columns))

    def rows(self, position: tf.Tensor) -> tf.Tensor:
        """Raw rows at the nearest position within the bounds."""
        values = self._decode(position)
        # Decoding would round a cell that was not moved.
        values = tf.where(position == self._start, self._cells, values)
        values = tf.clip_by_value(values, self._low, self._high)
        values = tf.where(self._movable, values, self._cells)
        return tf.gather(tf.concat([self._x, values], axis=1), self._places, axis=1)

    def free(self, rows: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """What a descent within the bounds can follow of an energy's gradient.

        Args:
            rows: raw rows `(batch, columns)` within the bounds.
            gradient: `(batch, num_numeric)`.

        Returns:
            The gradient, 0 where cells must stay and where it is a bound that
            stops them.
        """
        values = tf.gather(rows, self._columns, axis=1)
        stopped = (values <= self._low) & (gradient > 0.0)
        stopped |= (values >= self._high) & (gradient < 0.0)
        return tf.where(self._movable & ~stopped, gradient, 0.0)
