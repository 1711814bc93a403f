"""Units of states: standardised inside of models, raw outside."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.saveable import Saveable

#: Spreads below this share of the largest value are rounding, not movement.
ROUNDING = 1e-6


@keras.saving.register_keras_serializable(package="keras_ebm")
class StateScale(Saveable, keras.layers.Layer):
    """Standardises states, and holds the range in which they were seen.

    Args:
        mean: `(state,)` numbers, in units of the states.
        stddev: `(state,)` numbers above 0.
        low: `(state,)` numbers, the smallest values seen.
        high: `(state,)` numbers, the largest.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: states `(..., state)`.

    Returns:
        `(inputs - mean) / stddev`.

    Raises:
        ValueError: if the four do not have one length, or break their rules.
    """

    _values = ("mean", "stddev", "low", "high")

    def __init__(
        self,
        mean: Sequence,
        stddev: Sequence,
        low: Sequence,
        high: Sequence,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        parts = {"mean": mean, "stddev": stddev, "low": low, "high": high}
        for name, value in parts.items():
            setattr(self, name, np.asarray(value, np.float32))
        shapes = {getattr(self, name).shape for name in parts}
        if len(shapes) != 1 or self.mean.ndim != 1 or not np.all(self.stddev > 0):
            raise ValueError(
                "`mean`, `stddev`, `low` and `high` must be vectors of one length, and "
                f"stddev above 0. Received: shapes {sorted(shapes)}, smallest stddev "
                f"{self.stddev.min(initial=np.inf)}."
            )
        if not np.all(self.low <= self.high):
            raise ValueError(
                "`low` must be at most `high`. Received: "
                f"low={self.low}, high={self.high}."
            )
        self.built = True

    @classmethod
    def of(cls, states: np.ndarray) -> StateScale:
        """The scale of episodes `(n, states, state)`; what never moves keeps its unit.

        Args:
            states: float array.
        """
        rows = np.asarray(states, np.float64).reshape(-1, np.shape(states)[-1])
        stddev = rows.std(axis=0)
        moves = stddev > ROUNDING * np.maximum(np.abs(rows).max(axis=0), ROUNDING)
        low, high = rows.min(axis=0), rows.max(axis=0)
        columns = (rows.mean(axis=0), np.where(moves, stddev, 1.0), low, high)
        return cls(*(column.tolist() for column in columns))

    def call(self, inputs):
        return (inputs - self.mean) / self.stddev

    def raw(self, states: tf.Tensor) -> tf.Tensor:
        """States in their own units from standardised ones `(..., state)`."""
        return states * self.stddev + self.mean

    def hold(self, states: tf.Tensor) -> tf.Tensor:
        """Standardised states, each entry held in its range; what is NaN stays so."""
        return tf.clip_by_value(states, self(self.low), self(self.high))

    def compute_output_shape(self, input_shape):
        return input_shape
