"""How estimators build and train their models, and read energies off them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import listed
from keras_ebm.data import TableSchema, frames
from keras_ebm.data.batches import training_batches
from keras_ebm.entropy import LogVolume
from keras_ebm.estimators.sklearn_base import (
    check_consistent_length,
    check_is_fitted,
    check_random_state,
    validate_data,
)
from keras_ebm.generators import GaussianGenerator
from keras_ebm.layers import TableEncoder
from keras_ebm.models import VERA, EnergyModel
from keras_ebm.networks import mlp_decoder, mlp_energy
from keras_ebm.precision import float32_merges, warn_of_merged_integers

#: Latents of a generator at most; fewer where there are fewer entries.
MAX_LATENTS = 16
#: Rows of a batch at prediction. The last batch is filled up to it, as the same row
#: in a batch of another size differs in the last bits.
PREDICTION_BATCH = 256


class TakesGaps:
    """What both estimators ask of rows: numbers or a frame, with missing cells."""

    #: Of the estimator.
    random_state: int | np.random.RandomState | None
    #: Of the frame that it was fitted on; None where that held numbers alone.
    schema_: TableSchema | None

    def encode(self, X: Any) -> np.ndarray:
        """Rows as the fitted model, its detector and its explainer take them.

        Args:
            X: rows as of `fit`.

        Returns:
            Float array `(n, columns)`, not preprocessed: numbers, and of a frame with
            words (see `schema_`) the positions of these in their column's vocabulary,
            -1 for one that is not in it, and NaN where a cell is missing.

        Raises:
            ValueError: if the columns are not those of `fit`, or cells not of their
                kind.
        """
        check_is_fitted(self)
        return self._rows(X, reset=False, encoder=self._encoder())

    def _encoder(self) -> TableEncoder:
        """The encoder of the fitted model."""
        raise NotImplementedError

    def _rows(self, X, *arrays, encoder=None, **options):
        """Rows (and labels) as `validate_data` checks them, in the type that serves.

        That is float32, or float64 where `encoder`, or without one a column of the
        rows themselves, needs it. Without an encoder `schema_` is set.
        """
        has_words = frames.is_frame(X) and frames.has_words(X)
        if encoder is None:
            self.schema_ = None
        schema = None if encoder is None else encoder.schema
        if has_words if encoder is None else schema is not None:
            return self._table(X, *arrays, schema=schema, **options)
        if encoder is None:
            warn_of_merged_integers(X)
        if frames.is_frame(X) and not has_words:
            X = frames.without_na(X)
        with _naming_words(X, has_words):
            checked = validate_data(
                self,
                X,
                *arrays,
                dtype=[np.float64, np.float32],
                ensure_all_finite="allow-nan",
                **options,
            )
        if not arrays:
            return _in_type(checked, encoder)
        return _in_type(checked[0], encoder), *checked[1:]

    def _table(self, X, *arrays, schema, ensure_min_samples=1, reset=True):
        """`_rows` of a frame with words, by `schema` or, if it is None, one to find."""
        validate_data(self, X, *arrays, reset=reset, skip_check_array=True)
        if not frames.is_frame(X):
            raise ValueError(
                "`X` must be a pandas frame, as in `fit`, whose columns hold words, "
                f"categories or booleans. Received: {type(X).__name__}."
            )
        check_consistent_length(X, *arrays)
        if len(X) < ensure_min_samples:
            raise ValueError(
                f"`X` must have at least {ensure_min_samples} row(s). Received: "
                f"n_samples = {len(X)}."
            )
        if schema is None:
            self.schema_ = found = frames.infer_frame(X)
        else:
            found = TableSchema.from_config(schema)
        rows = frames.encode_frame(X, found)
        return (rows, *arrays) if arrays else rows

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


@contextlib.contextmanager
def _naming_words(X, has_words: bool):
    """Says of rows with words, which fail inside the block, what to do about them."""
    try:
        yield
    except ValueError as error:
        word = _first_word(X)
        if word is None:
            raise
        remedy = (
            "those of `fit` did; rewrite such cells"
            if has_words
            else "pass a pandas frame, whose columns may hold words, as in "
            "pandas.DataFrame(X, columns=[...]).infer_objects()"
        )
        raise ValueError(
            f"`X` must hold numbers. Received: {word!r} (could not convert string to "
            f"float); {remedy}."
        ) from error


def _first_word(X) -> str | None:
    """A text among rows that is no number; None without one."""
    try:
        cells = np.asarray(X, object).ravel()
    except ValueError:
        return None
    for cell in cells:
        if isinstance(cell, str):
            try:
                float(cell)
            except ValueError:
                return str(cell)
    return None


def _in_type(x: np.ndarray, encoder) -> np.ndarray:
    if encoder is None:
        wide = any(float32_merges(column) for column in x.T)
        dtype = "float64" if wide else "float32"
    else:
        dtype = encoder.input_dtype
    with np.errstate(over="ignore", under="ignore"):
        rows = x.astype(dtype)
    infinite = np.isinf(rows)
    if infinite.any():
        row, column = (int(place[0]) for place in np.nonzero(infinite))
        raise ValueError(
            f"`X` must be finite in {dtype}, or NaN where a cell is missing. Received: "
            f"{x[row, column]} in row {row}, feature {column} (counted from 0)."
        )
    return rows


@contextlib.contextmanager
def seeded(seed: int):
    """Seeds Keras's initial weights, and leaves Python's and numpy's draws alone."""
    python, numpy = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def build_encoder(
    x: np.ndarray,
    transform: str,
    bounded: bool = False,
    schema: TableSchema | None = None,
    drop_constant: bool = False,
    categories: str = "one_hot",
) -> TableEncoder:
    """A `TableEncoder` adapted to rows `(n, columns)`, of numbers without a schema."""
    encoder = TableEncoder(
        schema,
        transform=transform,
        bounded=bounded,
        drop_constant=drop_constant,
        categories=categories,
    )
    encoder.adapt(x)
    if encoder.dropped_columns:
        warnings.warn(
            "`X`: dropped, as nearly all rows hold one value: "
            f"{listed(encoder.dropped_columns)}",
            stacklevel=3,
        )
    return encoder


def without_unseen(
    schema: TableSchema, train: np.ndarray, *others: np.ndarray
) -> tuple[TableSchema, list[np.ndarray]]:
    """A schema of the words in training rows alone, to which others are unknown.

    So words that only the other rows have count as those of rows to come will.

    Args:
        schema: `TableSchema` of all rows.
        train: encoded rows `(n, columns)`.
        *others: more of them.

    Returns:
        `(schema, rows)`: the shorter schema, and all the rows by it.
    """
    rows = [part.copy() for part in (train, *others)]
    columns = list(schema.columns)
    for place, column in enumerate(columns):
        if column.kind != "categorical":
            continue
        words = range(len(column.vocabulary))
        seen = np.isin(words, train[:, place])
        seen[0] |= not seen.any()  # A column has a word at least.
        columns[place] = dataclasses.replace(
            column, vocabulary=tuple(np.array(column.vocabulary, object)[seen])
        )
        codes = np.where(seen, np.cumsum(seen) - 1, -1)
        for part in rows:
            known = part[:, place] >= 0
            part[known, place] = codes[part[known, place].astype(int)]
    return dataclasses.replace(schema, columns=tuple(columns)), rows


def build_network(
    encoder: TableEncoder, num_outputs: int, estimator: Any, initial_gain: float
) -> keras.Model:
    """The energy network of an estimator, by its `hidden` and `dropout`."""
    return mlp_energy(
        (encoder.num_entries,),
        num_outputs,
        hidden=tuple(estimator.hidden),
        dropout=estimator.dropout,
        initial_gain=initial_gain,
    )


def build_model(
    encoder: TableEncoder,
    network: keras.Model,
    estimator: Any,
    *,
    with_generator: bool,
    seed: int,
    **arguments,
):
    """An uncompiled `VERA`, or an `EnergyModel` without a generator."""
    arguments |= {"preprocessor": encoder, "seed": seed}
    if not with_generator:
        return EnergyModel(network, **arguments)
    size = encoder.num_entries
    latent_dim = estimator.latent_dim or min(MAX_LATENTS, size)
    decoder = mlp_decoder(latent_dim, (size,), hidden=tuple(estimator.generator_hidden))
    return VERA(
        network,
        GaussianGenerator(decoder),
        entropy=LogVolume("iterative", num_iterations=5),
        entropy_weight=estimator.entropy_weight,
        **arguments,
    )


def averaging_adam(estimator: Any) -> keras.optimizers.Optimizer:
    """Adam at a constant rate, whose weights end as their averages.

    The averages' momentum is .99, or that of a tenth of the steps where it is less.
    """
    momentum = min(0.99, 1.0 - 1.0 / max(2.0, estimator.steps / 10.0))
    return keras.optimizers.Adam(
        estimator.learning_rate,
        0.5,
        0.99,
        epsilon=1e-8,
        weight_decay=1e-4,
        use_ema=True,
        ema_momentum=momentum,
    )


def decaying_adam(estimator: Any) -> keras.optimizers.Optimizer:
    """Adam whose rate falls to 0 over the steps, along a cosine."""
    schedules = keras.optimizers.schedules
    rate = schedules.CosineDecay(estimator.learning_rate, estimator.steps)
    return keras.optimizers.Adam(rate, 0.9, 0.99, weight_decay=1e-4)


def train(
    model: EnergyModel,
    optimizer: keras.optimizers.Optimizer,
    x: np.ndarray,
    y: np.ndarray,
    estimator: Any,
    seed: int,
    guessed: np.ndarray | None = None,
) -> None:
    """Trains a model for the steps of an estimator.

    Args:
        model: `EnergyModel`.
        optimizer: Keras optimizer.
        x: rows `(n, columns)`.
        y: labels `(n,)`, -1 for none.
        estimator: what has the settings.
        seed: int, of the order of the rows.
        guessed: `(n,)` labels of unlabelled rows, or None.

    Raises:
        RuntimeError: if the weights do not stay finite.
    """
    more = {}
    if model.generator is not None:
        more["generator_optimizer"] = keras.optimizers.Adam(
            estimator.learning_rate, 0.5, 0.99, epsilon=1e-8
        )
    model.compile(optimizer, **more, run_eagerly=estimator.run_eagerly)
    batch_size = min(estimator.batch_size, len(x) // 2 * 2 or 1)
    batches, _ = training_batches(
        x, y, batch_size=batch_size, seed=seed, guessed=guessed
    )
    model.fit(
        batches,
        steps_per_epoch=estimator.steps,
        shuffle=False,
        verbose=estimator.verbose,
    )
    check_finite(model)


def check_finite(model: EnergyModel) -> None:
    """Raises RuntimeError if training has left weights that are not finite."""
    if not all(np.isfinite(weight).all() for weight in model.network.get_weights()):
        raise RuntimeError(
            "Training diverged: the network has weights that are not finite. Lower "
            "`learning_rate` or `energy_weight`."
        )


def entries_of(model: EnergyModel, x: np.ndarray) -> np.ndarray:
    """Preprocessed rows `(n, d)`."""
    parts = [model.preprocess(x[i : i + 4096]) for i in range(0, len(x), 4096)]
    return np.concatenate([np.asarray(part) for part in parts])


def logits_of(model: EnergyModel, x: np.ndarray) -> np.ndarray:
    """Logits `(n, K)` of raw rows, each the same whatever rows stand beside it."""
    rows = padded(x)
    parts = np.split(rows, len(rows) // PREDICTION_BATCH)
    # Eagerly: a graph would be traced at every call, and could not be pickled.
    return np.concatenate([model.logits(tf.constant(part)) for part in parts])[: len(x)]


def padded(x: np.ndarray) -> np.ndarray:
    """Rows `x` and zeros below them, up to whole batches of `PREDICTION_BATCH`."""
    count = math.ceil(len(x) / PREDICTION_BATCH) * PREDICTION_BATCH
    rows = np.zeros((count, x.shape[1]), x.dtype)
    rows[: len(x)] = x
    return rows
