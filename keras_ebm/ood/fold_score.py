"""A score of few rows: every one is scored by a model that did not see it."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm import mixtures
from keras_ebm.arguments import check_size
from keras_ebm.layers import TableEncoder
from keras_ebm.ood.conformal_rates import num_refused
from keras_ebm.ood.score import ROUNDING, Score

#: Folds that rows are dealt into: about as many, and the most.
FOLDS, MOST_FOLDS = 20, 100
#: Fewer rows leave nothing to fit a model to; more are too many to keep in all models.
FEWEST_ROWS, MOST_ROWS = 4, 500
PARTS = ("nearest", "mixture")
#: Standard deviations, or a share of more of them, that count as rounding of a score.
SLACK = 1e-4


class FoldScore(Score):
    """The rank of a row of a table among rows that models did not see.

    Rows are dealt into folds. Each fold has a model of the rows outside of it: a
    `TableEncoder`, the distance to the nearest of them and that in a mixture of
    Gaussians, or one of the two, in standard deviations. It scores the fold's own rows
    and a new row alike. The new row's score is the number of rows that it is more
    foreign than, each by the model that did not see that row, and a fraction, how far
    it is on the way to the next one; above all `n` rows, `n` and by how much it exceeds
    the nearest of these scores, in standard deviations.

    So scores compared with `1, 2, ..., n` count the rows that are at least as foreign,
    which is all that a cross-conformal p-value counts; see `CrossConformalDetector`.

    All models are kept, within a SavedModel too, which suits tables of few rows.

    Args:
        parts: of `"nearest"` and `"mixture"`, one or both.
        encoder: config of the `TableEncoder` that each fold's rows are encoded by; its
            statistics are not looked at.
        num_components: int >= 1, of a fold's mixture at most; there are no more than
            one for every 20 different rows.
        fold_size: int >= 1, rows of a fold; see the function of this name.
        fold_encoders: list of configs, set by `fit`.
    """

    _values = ("parts", "encoder", "num_components", "fold_size", "fold_encoders")

    name = "folds"
    requires = frozenset({"raw"})
    fitted_names = (
        *("columns", "rows", "centers", "whitenings", "white_means", "log_weights"),
        *("peaks", "part_means", "part_stds", "known", "folds"),
    )
    # A missing cell is no missing score: encoders know what to do about it.
    keeps_nan = True

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        encoder: dict | None = None,
        num_components: int = 10,
        fold_size: int = 1,
        fold_encoders: list[dict] | None = None,
    ):
        super().__init__()
        self.parts = tuple(parts)
        if not self.parts or not set(self.parts) <= set(PARTS):
            raise ValueError(
                f"`parts` must be of {', '.join(PARTS)}, one or both. Received: "
                f"{parts}."
            )
        self.encoder = _plain(encoder or TableEncoder().get_config())
        self.num_components = check_size("num_components", num_components)
        self.fold_size = check_size("fold_size", fold_size)
        self.fold_encoders = list(fold_encoders or [])
        self._beside: TableEncoder | None = None

    def __getstate__(self):
        # A layer made of the configs, and made again.
        return {**self.__dict__, "_beside": None}

    def fit(
        self, train: Mapping[str, Any], validation: Mapping[str, Any] | None = None
    ) -> FoldScore:
        """Fits the models of all folds.

        Args:
            train: `{"raw": rows}` `(n, columns)`, as the encoder takes them, in an
                order that chance has made: neighbours make a fold, and the last that
                make no whole one stand in none.
            validation: not looked at.

        Returns:
            The score itself. `arrays["known"]` has the scores of the rows that stand
            in a fold, by its model.

        Raises:
            ValueError: if there are fewer than 4 rows, or more than 500.
        """
        rows = np.asarray(train["raw"])
        folds = deal(len(rows), self.fold_size)
        num_folds = int(folds.max()) + 1
        outside = [np.flatnonzero(folds != fold) for fold in range(num_folds)]
        with warnings.catch_warnings():
            # The encoder of all rows has told what there is to tell.
            warnings.simplefilter("ignore", UserWarning)
            self.fold_encoders = [self._adapted(rows[part]) for part in outside]
        self._beside = None
        columns = self._entry_columns()
        self.arrays = {"columns": columns, "folds": folds[folds >= 0]}
        entries = self._entries(tf.constant(rows)).numpy()
        # In an order of their own, as the promise is one of models that know no order.
        self._fit_models(
            [_sorted(entries[part, fold]) for fold, part in enumerate(outside)]
        )
        by_fold = self._by_fold(entries[folds >= 0]).numpy()
        known = np.take_along_axis(by_fold, self.arrays["folds"][:, None], axis=1)
        # A new row that rounding sets apart from a known one is as foreign as that,
        # on every machine.
        slack = SLACK * np.maximum(1.0, np.abs(known[:, 0]))
        self.arrays["known"] = known[:, 0] + slack.astype(np.float32)
        return self

    def _adapted(self, rows) -> dict:
        encoder = TableEncoder(
            self.encoder["schema"],
            transform=self.encoder["transform"],
            bounded=self.encoder["bounded"],
        )
        encoder.adapt(rows)
        return _plain(encoder.get_config())

    def _entry_columns(self) -> np.ndarray:
        """Which entries of the encoders side by side are a fold's, `(folds, dim)`.

        A fold with fewer of them than others is filled up with a column of zeros.
        """
        own = self._encoder().entry_columns // len(self.fold_encoders[0]["mean"])
        places = [
            np.flatnonzero(own == fold) for fold in range(len(self.fold_encoders))
        ]
        columns = np.full((len(places), max(map(len, places))), len(own), np.int32)
        for row, found in zip(columns, places, strict=True):
            row[: len(found)] = found
        return columns

    def _fit_models(self, rows: list[np.ndarray]) -> None:
        """Keeps each fold's rows `(n, dim)`, their mixture and the scales in it."""
        fits = [mixtures.fit_mixture(part, self.num_components) for part in rows]
        found = {"rows": np.stack(rows), "centers": np.stack([f.center for f in fits])}
        most = max(len(fit.log_weights) for fit in fits)
        for name in ("whitenings", "white_means", "log_weights"):
            # A component that is not there has no weight.
            fill = -np.inf if name == "log_weights" else 0.0
            found[name] = np.stack(
                [_filled(getattr(fit, name), most, fill) for fit in fits]
            )
        peaks = [fit.log_density(fit.means()).numpy().max() for fit in fits]
        self.arrays |= found | {"peaks": np.array(peaks, np.float32)}
        self._fit_scales(rows)

    def _fit_scales(self, rows: list[np.ndarray]) -> None:
        """What the parts are on the rows that they are fitted to, on the mean."""
        by_part = {
            "nearest": np.stack([_nearest_others(part) for part in rows]),
            "mixture": self._in_mixture(np.stack(rows, axis=1)).numpy().T,
        }
        values = np.stack([by_part[part] for part in self.parts]).astype(np.float64)
        means, stds = values.mean(axis=-1), values.std(axis=-1)
        # A part that is the same for all rows tells nothing, and is left out.
        stds[stds <= ROUNDING * np.abs(values).max(axis=-1)] = np.inf
        stds[0, np.isinf(stds).all(axis=0)] = 1.0
        scales = {"part_means": means, "part_stds": stds}
        self.arrays |= {key: v.astype(np.float32) for key, v in scales.items()}

    def _encoder(self) -> TableEncoder:
        if self._beside is None:
            self._beside = encoders_beside(self.fold_encoders)
        return self._beside

    def _entries(self, raw) -> tf.Tensor:
        """Entries of raw rows by each fold's encoder, `(batch, folds, dim)`."""
        entries = self._encoder()(tf.tile(raw, [1, len(self.fold_encoders)]))
        entries = tf.pad(entries, [[0, 0], [0, 1]])
        return tf.gather(entries, self.arrays["columns"], axis=1)

    def _in_mixture(self, entries) -> tf.Tensor:
        """Distances in each fold's mixture, `(batch, folds)`; see `Mixture`."""
        fitted = self.arrays
        centred = entries - fitted["centers"]
        white = tf.einsum("bkd,kcde->bkce", centred, fitted["whitenings"])
        squared = tf.reduce_sum(tf.square(white - fitted["white_means"]), axis=-1)
        logs = fitted["log_weights"] - 0.5 * squared
        below = fitted["peaks"] - tf.reduce_logsumexp(logs, axis=-1)
        return tf.sqrt(2.0 * tf.where(below < 0.0, tf.zeros_like(below), below))

    def _to_nearest(self, entries) -> tf.Tensor:
        """Distances to the nearest of each fold's rows, `(batch, folds)`."""
        rows = tf.constant(self.arrays["rows"])
        # As of `Nearest`: found in float64, measured by differences.
        wide = tf.cast(rows, tf.float64)
        products = tf.einsum("bkd,kmd->kbm", tf.cast(entries, tf.float64), wide)
        lengths = tf.reduce_sum(tf.square(wide), axis=-1)
        places = tf.argmax(2.0 * products - lengths[:, None], axis=-1)
        nearest = tf.gather(rows, places, batch_dims=1)
        return tf.norm(entries - tf.transpose(nearest, [1, 0, 2]), axis=-1)

    def _by_fold(self, entries) -> tf.Tensor:
        """The score of every fold's model, `(batch, folds)`."""
        distances = {"nearest": self._to_nearest, "mixture": self._in_mixture}
        values = [distances[part](entries) for part in self.parts]
        scales = self.arrays["part_means"], self.arrays["part_stds"]
        return sum(
            (value - mean) / std
            for value, mean, std in zip(values, *scales, strict=True)
        )

    def _read(self, outputs, key):
        if key not in outputs:
            raise ValueError(self._absent([key], outputs))
        return tf.convert_to_tensor(outputs[key])

    def _score(self, inputs):
        by_fold = self._by_fold(self._entries(inputs["raw"]))
        return rank_among(
            tf.gather(by_fold, self.arrays["folds"], axis=1) - self.arrays["known"]
        )


def fold_size(num_rows: int, target_fpr: float) -> int:
    """How many rows shall stand in a fold.

    A twentieth, or for low rates the number of rows that may pass for foreign, as what
    is promised rises with the size of a fold; at least a hundredth.

    Args:
        num_rows: int, of all folds.
        target_fpr: float, the share of known rows that may be refused.
    """
    refused = max(1, num_refused(target_fpr, num_rows))
    return max(math.ceil(num_rows / MOST_FOLDS), min(num_rows // FOLDS, refused), 1)


def deal(num_rows: int, size: int) -> np.ndarray:
    """The fold of each row, int `(num_rows,)`; -1 for the last that make no whole fold.

    Raises:
        ValueError: if there are fewer than 4 rows, or more than 500.
    """
    if not FEWEST_ROWS <= num_rows <= MOST_ROWS:
        raise ValueError(
            f"`X` must have {FEWEST_ROWS} to {MOST_ROWS} rows, to score each by a "
            "model of the others and to keep these models. Received: "
            f"{num_rows} rows; take calibration='split' for more."
        )
    folds = np.arange(num_rows) // size
    folds[num_rows // size * size :] = -1
    return folds


def encoders_beside(configs: Sequence[dict]) -> TableEncoder:
    """One encoder of several, for rows repeated side by side as often.

    Args:
        configs: of adapted `TableEncoder`s of the same columns.
    """
    first, num_columns = dict(configs[0]), len(configs[0]["mean"])
    joined = {
        key: [config[key] for config in configs]
        for key in ("mean", "stddev", "missing", "kept", "knots", "centers", "wide")
        if any(config[key] is not None for config in configs)
    }
    absent = {"centers": None, "wide": False, "knots": None}
    for key, lists in joined.items():
        filled = [part or [absent.get(key)] * num_columns for part in lists]
        first[key] = [value for part in filled for value in part]
    for key in ("low", "high"):
        first[key] = [value for config in configs for value in config[key]]
    if first["schema"] is not None:
        columns = first["schema"]["columns"] * len(configs)
        first["schema"] = {**first["schema"], "columns": columns}
    # Those of an earlier version lack some.
    values = {key: first[key] for key in TableEncoder._values if key in first}
    return TableEncoder(**values)


def rank_among(margins: tf.Tensor) -> tf.Tensor:
    """What `FoldScore` makes of how much a row's score exceeds each known row's.

    Args:
        margins: float tensor `(batch, n)`.

    Returns:
        `(batch,)`: greater than `n - c` and at most `n - c + 1`, where `c` margins are
        not above 0, and rising with every margin; above `n` for `c = 0`; NaN where a
        margin is.
    """
    num_rows, infinity = margins.shape[-1], tf.constant(np.inf, margins.dtype)
    passed = margins > 0.0
    at_least = tf.reduce_sum(tf.cast(~passed, margins.dtype), axis=-1)
    last = tf.reduce_max(tf.where(passed, -infinity, margins), axis=-1)
    following = tf.reduce_min(tf.where(passed, margins, infinity), axis=-1)
    share = tf.where(
        tf.math.is_inf(following), 1.0 / (1.0 - last), following / (following - last)
    )
    share = tf.where(at_least == 0.0, following, share)
    rank = num_rows - at_least + share
    missing = tf.reduce_any(tf.math.is_nan(margins), axis=-1)
    return tf.where(missing, tf.constant(np.nan, rank.dtype), rank)


def _plain(config: dict) -> dict:
    """A config without the lists of Keras's own, which no pickle takes."""
    return json.loads(json.dumps(config))


def _filled(array: np.ndarray, count: int, fill: float) -> np.ndarray:
    """`array` with `count` entries along the first axis."""
    widths = [(0, count - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths, constant_values=fill)


def _sorted(rows: np.ndarray) -> np.ndarray:
    """The rows by their first number, then the second, and so on."""
    return rows[np.lexsort(rows.T[::-1])]


def _nearest_others(rows: np.ndarray) -> np.ndarray:
    """The distance of each row to the nearest of the others, `(n,)`."""
    squared = np.square(rows[:, None].astype(np.float64) - rows).sum(axis=-1)
    np.fill_diagonal(squared, np.inf)
    return np.sqrt(squared.min(axis=1))
