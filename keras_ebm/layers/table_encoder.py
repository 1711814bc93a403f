"""Raw table cells to features, with the statistics inside the model."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_ebm")
class TableEncoder(keras.layers.Layer):
    """Turns the raw rows of a table into features of comparable scale.

    A numeric cell becomes `(x - mean) / stddev`. A missing one (NaN) becomes
    0, the mean, and sets an indicator feature to 1; this holds for columns
    that had missing cells when the layer was adapted. **A missing cell in any
    other column stays NaN**, and so does the energy of its row, since nothing
    was learned of its absence. A categorical cell becomes one feature for each
    category and a last one for "unknown or missing": a code that is no position
    in the vocabulary, or NaN. An infinite cell is never hidden either.

    The features are the numeric columns, then the indicators, then each
    categorical column's, in the order of the columns.

    Args:
        schema: `keras_ebm.data.TableSchema`, or what its `to_config` returns.
            With `None` all columns are numeric.
        mean: list of float, one a column, in units of the column. Set by
            `adapt`; categorical columns have 0.
        stddev: list of float > 0, likewise; 1 for constant and categorical
            columns.
        missing: list of bool, likewise; whether the column has an indicator.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: float tensor of shape `(batch, columns)`, computed on in float32.

    Returns:
        Features of shape `(batch, num_features)`.

    Example:

    >>> encoder = TableEncoder()
    >>> encoder.adapt(np.array([[1.0], [3.0]]))
    >>> encoder(np.array([[5.0]])).numpy()
    array([[3.]], dtype=float32)
    """

    def __init__(self, schema=None, mean=None, stddev=None, missing=None, **kwargs):
        # Keras would cast the inputs to bfloat16 under mixed precision, which
        # tells no two codes above 256 apart.
        super().__init__(autocast=False, **kwargs)
        self.schema = schema.to_config() if hasattr(schema, "to_config") else schema
        self.mean = mean
        self.stddev = stddev
        self.missing = missing
        if mean is not None:
            self._check_statistics()

    def adapt(self, x: np.ndarray) -> None:
        """Computes the statistics from training rows.

        Args:
            x: float array of shape `(n, columns)`.

        Raises:
            ValueError: if there are no rows, the number of columns is not the
                schema's, or a numeric cell is infinite.
        """
        x = np.asarray(x, np.float64)
        expected = x.shape[-1] if self.schema is None else len(self.schema["columns"])
        if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] != expected:
            raise ValueError(
                "`x` must have one row or more, and one column for each of the "
                f"schema's {expected}. Received: x of shape {x.shape}."
            )
        numeric = self._is_numeric(expected)
        if np.isinf(x[:, numeric]).any():
            raise ValueError(
                "`x` must not be infinite in numeric columns. Received: infinite "
                f"cells in column {np.argmax(np.isinf(x).any(0) & numeric)} (counted "
                "from 0). Correct or drop such rows."
            )
        statistics = [
            _column_statistics(x[:, j]) if numeric[j] else (0.0, 1.0, False)
            for j in range(expected)
        ]
        self.mean, self.stddev, self.missing = (
            list(values) for values in zip(*statistics, strict=True)
        )

    @property
    def num_features(self) -> int:
        """How many features a row becomes."""
        self._require_statistics()
        numeric = self._is_numeric(len(self.mean))
        return int(
            numeric.sum()
            + np.sum(self.missing)
            + sum(size + 1 for _, size in self._categorical())
        )

    def call(self, inputs):
        self._require_statistics()
        inputs = ops.cast(inputs, "float32")
        numeric = np.flatnonzero(self._is_numeric(len(self.mean)))
        parts = []
        if len(numeric):
            parts += self._encode_numeric(inputs, numeric)
        for column, size in self._categorical():
            parts.append(_one_hot(inputs[:, column], size))
        return ops.cast(ops.concatenate(parts, axis=-1), self.compute_dtype)

    def _encode_numeric(self, inputs, columns):
        mean = np.array(self.mean, np.float32)[columns]
        stddev = np.array(self.stddev, np.float32)[columns]
        missing = np.array(self.missing, bool)[columns]
        values = ops.take(inputs, columns, axis=1)
        absent = ops.isnan(values)
        # Replaced before the arithmetic, for 0 * NaN in its gradient is NaN.
        filled = ops.where(ops.logical_and(absent, missing), mean, values)
        parts = [(filled - mean) / stddev]
        if missing.any():
            indicators = ops.take(absent, np.flatnonzero(missing), axis=1)
            parts.append(ops.cast(indicators, "float32"))
        return parts

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_features)

    def get_config(self):
        return {
            **super().get_config(),
            "schema": self.schema,
            "mean": _as_list(self.mean),
            "stddev": _as_list(self.stddev),
            "missing": _as_list(self.missing),
        }

    def _is_numeric(self, num_columns: int) -> np.ndarray:
        if self.schema is None:
            return np.ones(num_columns, bool)
        return np.array([c["kind"] == "numeric" for c in self.schema["columns"]], bool)

    def _categorical(self) -> list[tuple[int, int]]:
        """Position and vocabulary size of each categorical column."""
        if self.schema is None:
            return []
        return [
            (position, len(column["vocabulary"]))
            for position, column in enumerate(self.schema["columns"])
            if column["kind"] == "categorical"
        ]

    def _require_statistics(self) -> None:
        if self.mean is None:
            raise ValueError(
                f"The layer {self.name!r} must know the mean and spread of the "
                "columns before it is used. Call `adapt(x)` with the training rows."
            )

    def _check_statistics(self) -> None:
        lengths = {
            "mean": len(self.mean),
            "stddev": len(self.stddev or ()),
            "missing": len(self.missing or ()),
        }
        if self.schema is not None:
            lengths["schema"] = len(self.schema["columns"])
        if len(set(lengths.values())) > 1:
            raise ValueError(
                "`mean`, `stddev`, `missing` and `schema` must have one entry a "
                f"column. Received: {lengths} entries."
            )


def _column_statistics(values: np.ndarray) -> tuple[float, float, bool]:
    present = values[~np.isnan(values)]
    missing = len(present) < len(values)
    if len(present) == 0:
        return 0.0, 1.0, missing
    # Rounding gives a constant column a spread that is tiny but not 0.
    if present.min() == present.max():
        return float(present[0]), 1.0, missing
    return float(present.mean()), float(present.std()), missing


def _one_hot(codes, size: int):
    known = ops.equal(codes[:, None], np.arange(size, dtype=np.float32))
    known = ops.cast(known, "float32")
    other = 1.0 - ops.sum(known, axis=-1, keepdims=True)
    other = ops.where(ops.isinf(codes)[:, None], np.float32("nan"), other)
    return ops.concatenate([known, other], axis=-1)


def _as_list(values):
    return None if values is None else list(values)
