"""Negatives out of rows that a user has."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.negatives.base import Negatives, NegativeSource
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class Bank(Saveable, NegativeSource, keras.layers.Layer):
    """Rows of the user's own, such as images of something else, as negatives.

    As many as the batch has rows are drawn each step, each row with the same chance and
    put back. The rows are a weight that nothing trains, so that they are saved in the
    model's file with its other weights and make it larger by themselves. A
    configuration holds their shape alone: what is built from a configuration without
    weights has zeros for rows.

    Args:
        rows: array `(count, ...)` of at least one row, preprocessed as the network
            takes them: numbers in units of preprocessed inputs (kept in float32), or
            codes and tokens (in int64). Their scale is not compared with the data's,
            as foreign rows may have any.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if `rows` is no such array, or a value is not finite; on drawing, if
            the batch has rows of another shape or kind.
    """

    def __init__(self, rows: Any, **kwargs):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        array = _checked(rows)
        self.rows = keras.Variable(
            array, dtype=array.dtype.name, trainable=False, name="rows"
        )
        self.built = True

    def get_config(self) -> dict:
        shape, dtype = list(self.rows.shape), self.rows.dtype
        return {**super().get_config(), "rows": {"shape": shape, "dtype": dtype}}

    @classmethod
    def from_config(cls, config: dict):
        """A bank of zeros, in place of which the saved rows are loaded as weights."""
        rows = config["rows"]
        return cls(**{**config, "rows": np.zeros(rows["shape"], rows["dtype"])})

    def draw(
        self,
        energy_fn: EnergyFn,
        x: tf.Tensor,
        random: RandomDraws,
        labels: tf.Tensor | None = None,
        training: bool = False,
        *,
        start: tf.Tensor | None = None,
        last_steps: int = 0,
    ) -> Negatives:
        """As many rows of the bank as there are data; see `NegativeSource.draw`.

        Raises:
            ValueError: if the data have another shape or kind than the bank's rows.
        """
        del energy_fn, labels, training, start, last_steps
        self._check_like(x)
        which = random.integers([tf.shape(x)[0]], "bank", self.rows.shape[0])
        return Negatives(tf.cast(tf.gather(self.rows, which), x.dtype), None, {})

    @property
    def _floats(self) -> bool:
        return tf.as_dtype(self.rows.dtype).is_floating

    def _check_like(self, x):
        """Raises ValueError unless the bank's rows may stand for those of `x`."""
        own = f"rows of shape {tuple(self.rows.shape[1:])} in {self.rows.dtype}"
        if not hasattr(x, "dtype"):
            received = f"a {type(x).__name__} of several inputs"
        else:
            kind = tf.as_dtype(x.dtype)
            alike = kind.is_floating == self._floats and (
                kind.is_floating or kind.is_integer
            )
            if alike and x.shape[1:].is_compatible_with(self.rows.shape[1:]):
                return
            received = f"data of shape {tuple(x.shape[1:])} in {kind.name}"
        raise ValueError(
            "`rows` of Bank must be like the preprocessed data, which the network "
            f"takes. Received: {own} for {received}; pass preprocessed rows, such as "
            "`preprocessor(rows)`."
        )


def _checked(rows: Any) -> np.ndarray:
    """`rows` as float32 or int64, or a ValueError that says what they lack."""
    array = np.asarray(rows)
    if array.dtype.kind not in "fiu" or array.ndim < 2 or not len(array):
        raise ValueError(
            "`rows` must be an array of numbers (count, ...) of at least one row. "
            f"Received: shape {array.shape} of {array.dtype}."
        )
    if len(array) > 2**23:
        raise ValueError(
            f"`rows` must be at most {2**23}. Received: {len(array)} rows; pass a "
            "random part of them."
        )
    array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            "`rows` must be finite in float32. Received: another value in row "
            f"{int(np.argmin(finite))}; leave such rows out."
        )
    return array
