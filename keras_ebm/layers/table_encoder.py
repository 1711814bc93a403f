"""Raw table cells to a network's inputs, with the statistics inside the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ebm.arguments import check_choice
from keras_ebm.layers.category_codes import (
    CATEGORIES,
    code_length,
    embedded_codes,
    hashed_codes,
)
from keras_ebm.layers.numeric_columns import NumericColumns, warn_of_merged
from keras_ebm.layers.table_statistics import (
    LISTS,
    TRANSFORMS,
    check_lengths,
    check_rows,
    study_column,
)
from keras_ebm.precision import warn_of_merged_integers
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class TableEncoder(Saveable, keras.layers.Layer):
    """Turns the raw rows of a table into entries of comparable scale.

    A numeric cell becomes `(x - mean) / stddev`. A missing one (NaN) becomes 0, the
    mean, in any column; one that had missing cells when the layer was adapted has an
    indicator feature besides, which is then 1. In other columns nothing was learned of
    their absence, and nothing says that a cell was missing. A categorical cell becomes
    one feature for each category and a last one for "unknown or missing": a code that
    is no position in the vocabulary, or NaN. An infinite cell is never hidden.

    Columns that float32 would blur (times in milliseconds, long account numbers, see
    `keras_ebm.precision.float32_merges`) are centred and scaled in float64 before
    anything else. If they need their cells as float64, `input_dtype` is that, and rows
    of float32 are refused, as what told them apart is lost. **`fit` of arrays is such a
    case**, since Keras casts them to float32: give it a `tf.data.Dataset`.

    With `bounded=True` a cell further outside the column's range in training than that
    range is wide counts as one at this distance. A network's energy may fall without
    bound far from its training rows; so it cannot. `far` says which rows have such
    cells, whatever `bounded` is.

    With `transform="quantile"` a numeric cell becomes its normal score instead:
    the normal quantile of its mid-rank among the training cells (equal cells
    share a rank), standardised, piecewise linear between at most 100 knots. It
    spreads heavy tails and keeps atoms in place; beyond the training cells it goes
    on by the column's standard deviation, so that far cells stay far.
    `transform="blend"` is half of each, standardised again, in columns whose tails are
    heavier than a Gaussian's (kurtosis above 3), so that a tail keeps some of its
    length. Other columns are standardised, since normal scores would stretch their
    tails, and with them the distances between ordinary rows.

    With `categories="hashing"` or `"embedding"` a category becomes a short vector
    instead (`layers.category_codes`): a direction that its word draws, or one by what
    stands beside it in the training rows. A column has `1.6 n^0.56` entries for `n - 1`
    categories; one of so few that this is no fewer stays as it is.

    The entries are the numeric columns, then the indicators, then each
    categorical column's, in the order of the columns.

    Args:
        schema: `keras_ebm.data.TableSchema`, or what its `to_config` returns.
            With `None` all columns are numeric.
        mean: list of float, one a column, in units of the column. Set by
            `adapt`; categorical columns have 0.
        stddev: list of float > 0, likewise; 1 for constant and categorical
            columns.
        missing: list of bool, likewise; whether the column has an indicator.
        kept: list of bool, likewise; whether the column becomes entries at all.
        knots: list, likewise; `(values, scores)` of the quantile transform, None
            for columns that it leaves alone; None where there is no such transform.
            Values of a column with a center are in its standard deviations from it.
        transform: `"standardise"`, `"quantile"` or `"blend"`.
        drop_constant: bool, leaves out columns of which one value fills at least
            99.9 % of the known cells of training. Nothing is learned of them, so
            an unusual value there is not noticed either; `dropped_columns` names
            them.
        centers: list, one a column, or None: what is subtracted in float64, None for
            columns that float32 serves.
        wide: list of bool, likewise; whether a column's cells must come as float64.
        low: list, likewise, or None: the least cell of training, None for categorical
            columns and those without a number.
        high: likewise, the largest.
        bounded: bool, whether cells count as no further away than `far` begins.
        categories: `"one_hot"`, `"embedding"` or `"hashing"`.
        codes: list, one a column, or None where categories are one-hot: the vectors of
            its categories and, last, of "unknown or missing"; None for columns
            without.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: float tensor of shape `(batch, columns)`, computed on in float32 but
            for the columns that are centred.

    Returns:
        Preprocessed inputs of shape `(batch, num_entries)`.

    Raises:
        ValueError: if it was not adapted, or columns need their cells as float64 and
            the inputs have another type.

    Example:

    >>> encoder = TableEncoder()
    >>> encoder.adapt(np.array([[1.0], [3.0]]))
    >>> encoder(np.array([[5.0]])).numpy()
    array([[3.]], dtype=float32)
    """

    _values = (
        "schema",
        "mean",
        "stddev",
        "missing",
        "kept",
        "knots",
        "transform",
        "drop_constant",
        "centers",
        "wide",
        "low",
        "high",
        "bounded",
        "categories",
        "codes",
    )

    # The statistics are None before `adapt`, and lists to all that reads them.
    mean: Any
    kept: Any
    wide: Any

    def __init__(
        self,
        schema: Any = None,
        mean: Sequence[float] | None = None,
        stddev: Sequence[float] | None = None,
        missing: Sequence[bool] | None = None,
        kept: Sequence[bool] | None = None,
        knots: Sequence | None = None,
        transform: str = "standardise",
        drop_constant: bool = False,
        centers: Sequence[float | None] | None = None,
        wide: Sequence[bool] | None = None,
        low: Sequence[float | None] | None = None,
        high: Sequence[float | None] | None = None,
        bounded: bool = False,
        categories: str = "one_hot",
        codes: Sequence | None = None,
        **kwargs,
    ):
        # Keras would cast the inputs to bfloat16 under mixed precision, which
        # tells no two codes above 256 apart.
        super().__init__(autocast=False, **kwargs)
        self.schema = schema.to_config() if hasattr(schema, "to_config") else schema
        self.transform = check_choice("transform", transform, TRANSFORMS)
        self.drop_constant = bool(drop_constant)
        self.mean = mean
        self.stddev = stddev
        self.missing = missing
        self.kept = [True] * len(mean) if kept is None and mean is not None else kept
        self.knots = knots
        self.centers = centers
        self.wide = wide
        self.low, self.high = low, high
        self.bounded = bool(bounded)
        self.categories = check_choice("categories", categories, CATEGORIES)
        self.codes = codes
        if mean is not None:
            check_lengths(self._lists(), self.schema)
            self._prepare()

    def _lists(self) -> dict:
        """The statistics by name, each a list of one item a column, or None."""
        return {name: getattr(self, name) for name in LISTS}

    def adapt(self, x: np.ndarray) -> None:
        """Computes the statistics from training rows.

        Args:
            x: float array of shape `(n, columns)`.

        Raises:
            ValueError: if there are no rows, the number of columns is not the
                schema's, a numeric cell is infinite, or every column is dropped.

        A `UserWarning` counts the values of a column that its entries cannot tell
        apart, where they are more than one in a thousand.
        """
        given = np.asarray(x)
        warn_of_merged_integers(given)
        x = np.asarray(given, np.float64)
        expected = x.shape[-1] if self.schema is None else len(self.schema["columns"])
        numeric = self._is_numeric(expected)
        check_rows(x, expected, numeric)
        narrow = given.dtype in (np.float16, np.float32)
        columns = [
            study_column(
                x[:, j],
                is_numeric=numeric[j],
                narrow=narrow,
                transform=self.transform,
                drop_constant=self.drop_constant,
            )
            for j in range(expected)
        ]
        self.mean, self.stddev, self.missing, self.kept, knots, centers, wide, *ends = (
            list(values) for values in zip(*columns, strict=True)
        )
        self.low, self.high = ends
        self.knots = None if self.transform == "standardise" else knots
        centred = any(center is not None for center in centers)
        self.centers, self.wide = (centers, wide) if centred else (None, None)
        if not any(self.kept):
            raise ValueError(
                "`x` must have a column that varies. Received: "
                f"{expected} columns, each of one value in nearly all rows."
            )
        self.codes = None
        self._prepare()
        if self.categories != "one_hot":
            self.codes = self._find_codes(x)
        if self.centers is not None:
            entries = self._numeric.encode(x, self.bounded)[0]
            positions = self._numeric.positions
            warn_of_merged(x, entries, positions, self.centers, self.column_names)

    def _prepare(self):
        """What `call` reads again and again, out of the statistics."""
        is_numeric = self._is_numeric(len(self.mean))
        positions = np.flatnonzero(is_numeric & np.array(self.kept, bool))
        self._numeric = NumericColumns(positions, self._lists(), self.input_dtype)

    def _find_codes(self, x: np.ndarray) -> list | None:
        """`codes`, of training rows, while the layer's categories are one-hot."""
        shorter = {
            column: code_length(size)
            for column, size in self._categorical()
            if code_length(size) <= size
        }
        if not shorter:
            return None
        found: list = [None] * len(self.mean)
        columns = self.entry_columns
        rows = x if self.input_dtype == "float64" else x.astype(np.float32)
        entries = np.asarray(self(rows), np.float64)
        for column, length in shorter.items():
            if self.categories == "hashing":
                words = self.schema["columns"][column]["vocabulary"]
                codes = hashed_codes(words, length)
            else:
                own = columns == column
                codes = embedded_codes(entries[:, own], entries[:, ~own], length)
            found[column] = codes.tolist()
        return found

    @property
    def dropped_columns(self) -> list[str]:
        """Names of the columns that were left out; numbers without a schema."""
        self._require_statistics()
        names = self.column_names
        return [names[j] for j in np.flatnonzero(~np.array(self.kept, bool))]

    @property
    def column_names(self) -> list[str]:
        """Names of all columns; their numbers without a schema."""
        self._require_statistics()
        if self.schema is None:
            return [str(position) for position in range(len(self.mean))]
        return [column["name"] for column in self.schema["columns"]]

    def far(self, inputs: tf.Tensor):
        """Which numeric cells are further outside their column's range than it is wide.

        Args:
            inputs: as of a call.

        Returns:
            Bool tensor `(batch, num_numeric)` in the order of `entry_columns`; false
            where a cell is missing, and for an encoder of an earlier version.
        """
        self._require_statistics()
        return self._numeric.far(inputs)

    def absent(self, inputs: tf.Tensor):
        """Which numeric cells are missing, so that the column's mean stands for them.

        Args:
            inputs: as of a call.

        Returns:
            Bool tensor `(batch, num_numeric)` in the order of `entry_columns`.
        """
        self._require_statistics()
        return ops.isnan(self._numeric.cells(inputs))

    @property
    def input_dtype(self) -> str:
        """`"float64"` where a column needs its cells so, else `"float32"`."""
        return "float64" if any(self.wide or ()) else "float32"

    @property
    def entry_columns(self) -> np.ndarray:
        """The number of the column that each entry is made from, `(num_entries,)`."""
        self._require_statistics()
        numeric = self._numeric.positions
        indicated = numeric[self._numeric.indicated]
        own = [[column] * self._width(column, n) for column, n in self._categorical()]
        return np.concatenate([numeric, indicated, *own]).astype(np.int64)

    @property
    def num_numeric(self) -> int:
        """How many entries, the first ones, are values of numeric columns."""
        self._require_statistics()
        return len(self._numeric.positions)

    def decode_numeric(self, entries: tf.Tensor):
        """Values of the numeric columns that are kept, in their units.

        Args:
            entries: `(batch, num_numeric)`, the first entries of preprocessed rows.

        Returns:
            Tensor of that shape, of `input_dtype`.
        """
        return self._numeric.decode(entries)

    @property
    def num_entries(self) -> int:
        """How many entries a row becomes."""
        return len(self.entry_columns)

    # Earlier names, from when what a row becomes was called its features.
    num_features = num_entries
    feature_columns = entry_columns

    def call(self, inputs):
        self._require_statistics()
        inputs = ops.convert_to_tensor(inputs)
        self._check_dtype(inputs)
        parts = self._numeric.encode(inputs, self.bounded) if self.num_numeric else []
        for column, size in self._categorical():
            part = _one_hot(ops.cast(inputs[:, column], "float32"), size)
            codes = self._codes_of(column)
            parts.append(part if codes is None else ops.matmul(part, codes))
        return ops.cast(ops.concatenate(parts, axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_entries)

    def _check_dtype(self, inputs) -> None:
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if self.input_dtype == "float32" or dtype == "float64" or "int" in dtype:
            return
        names = [
            name for name, w in zip(self.column_names, self.wide, strict=True) if w
        ]
        raise ValueError(
            f"`inputs` must be float64, as float32 merges the cells of {names[0]!r}"
            f"{f' and {len(names) - 1} other columns' if names[1:] else ''}. Received: "
            f"{dtype}. Keras casts arrays that `fit` and `predict` are given: give "
            "them a tf.data.Dataset of float64 rows."
        )

    def _is_numeric(self, num_columns: int) -> np.ndarray:
        if self.schema is None:
            return np.ones(num_columns, bool)
        return np.array([c["kind"] == "numeric" for c in self.schema["columns"]], bool)

    def _categorical(self) -> list[tuple[int, int]]:
        """Position and vocabulary size of each categorical column that is kept."""
        if self.schema is None:
            return []
        return [
            (position, len(column["vocabulary"]))
            for position, column in enumerate(self.schema["columns"])
            if column["kind"] != "numeric" and self.kept[position]
        ]

    def _codes_of(self, column: int) -> np.ndarray | None:
        """Vectors `(categories + 1, length)` of a column; None where it has none."""
        codes = None if self.codes is None else self.codes[column]
        return None if codes is None else np.asarray(codes, np.float32)

    def _width(self, column: int, size: int) -> int:
        """Entries of a column of so many categories."""
        codes = self._codes_of(column)
        return size + 1 if codes is None else codes.shape[1]

    def _require_statistics(self) -> None:
        if self.mean is None:
            raise ValueError(
                f"The layer {self.name!r} must know the mean and spread of the "
                "columns before it is used. Call `adapt(x)` with the training rows."
            )


def _one_hot(codes, size: int):
    known = ops.equal(codes[:, None], np.arange(size, dtype=np.float32))
    known = ops.cast(known, "float32")
    other = 1.0 - ops.sum(known, axis=-1, keepdims=True)
    other = ops.where(ops.isinf(codes)[:, None], np.float32("nan"), other)
    return ops.concatenate([known, other], axis=-1)
