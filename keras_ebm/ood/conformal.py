"""Turns scores into decisions with a stated false-alarm rate."""

import numbers
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size
from keras_ebm.ood.conformal_rates import (
    check_in_unit_interval,
    num_refused,
    num_refused_of,
    rows_needed,
)

Rate: TypeAlias = float | tf.Tensor


class ConformalDetector:
    """Split-conformal p-values and decisions from scores of known rows.

    The p-value of an input is `(1 + #{calibration scores >= its own}) /
    (n + 1)`. If calibration rows and a new known row are exchangeable, it is
    at most `a` with probability at most `a`, whatever the network and the
    score: refusing inputs with p-values up to the target rate raises at most
    that share of false alarms. The calibration rows must have been used for
    nothing else, fitting the score included.

    The promise is on average over calibration sets; for one given set the
    rate scatters as `conformal_band` says. With `calibration_classes` the
    comparison is within a class and so is the promise (Mondrian conformal
    prediction). These must be the classes the model *predicts* for the
    calibration rows, not their true ones: a new input is compared with the
    rows of its own class, and only a function of the input is known for it.

    Everything is compared in float32, the type of the scores.

    Args:
        calibration_scores: float array of shape `(rows,)`, finite, higher for
            more foreign.
        calibration_classes: optional int array of shape `(rows,)`.
        num_classes: optional int, with `calibration_classes`. Defaults to the
            largest class plus 1. A class without calibration rows refuses
            nothing.

    Example:

    >>> detector = ConformalDetector(np.arange(99.0))
    >>> detector.accept(tf.constant([98.0, 98.5]), 0.01).numpy()
    array([ True, False])

    References:
        - Vovk, Gammerman and Shafer (2005), "Algorithmic learning in a random
          world", sections 2.2 and 4.5.
        - Bates et al. (2023), "Testing for outliers with conformal p-values",
          equation 3.
    """

    def __init__(
        self,
        calibration_scores: np.ndarray,
        *,
        calibration_classes: np.ndarray | None = None,
        num_classes: int | None = None,
    ):
        scores = _check_calibration(calibration_scores)
        self.by_class = calibration_classes is not None
        if self.by_class:
            classes = _check_classes(calibration_classes, len(scores), num_classes)
            self.num_classes = int(num_classes or classes.max() + 1)
        else:
            classes, self.num_classes = np.zeros(len(scores), int), 1
        order = np.lexsort((scores, classes))
        self.scores, self.classes = scores[order], classes[order]
        self.sizes = np.bincount(classes, minlength=self.num_classes)
        self.table = self._padded_table()

    def p_value(self, scores: tf.Tensor, classes: tf.Tensor | None = None) -> tf.Tensor:
        """Conformal p-values.

        Args:
            scores: float tensor of shape `(batch,)`.
            classes: int tensor of shape `(batch,)`, the predicted classes.
                Needed by a detector that compares within classes, and ignored
                by one that does not.

        Returns:
            Float32 tensor of shape `(batch,)`, from `1 / (n + 1)` to 1; small
            is foreign, and `nan` for a score of `nan`.
        """
        scores = _check_batch(scores)
        if self.by_class:
            above, sizes = self._count_at_least(scores, classes)
            p_value = tf.cast((1.0 + above) / (sizes + 1.0), tf.float32)
        else:
            # Looked up: this runs in every request, where each operation costs.
            num_rows = int(self.sizes[0])
            p_values = np.arange(num_rows + 1, 0, -1) / (num_rows + 1)
            below = _num_below(self.table, scores)
            p_value = tf.gather(tf.constant(p_values, tf.float32), below)
        return tf.where(tf.math.is_nan(scores), float("nan"), p_value)

    def accept(
        self,
        scores: tf.Tensor,
        target_fpr: Rate,
        classes: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Says which inputs pass as known.

        Args:
            scores: float tensor of shape `(batch,)`.
            target_fpr: the share of known inputs that may be refused: a
                float, which `check_rate` checks, or a float tensor of shape
                `()` or `(batch,)`. A tensor may differ from request to
                request and cannot be checked in a graph: a rate below
                `1 / (n + 1)` then refuses nothing, as no p-value is so small.
                `keeps` tells which rates those are.
            classes: as in `p_value`.

        Returns:
            Bool tensor of shape `(batch,)`; false for a score of `nan`.

        Raises:
            ValueError: if a float `target_fpr` cannot be kept.
        """
        if isinstance(target_fpr, numbers.Real):
            threshold = self.threshold(float(target_fpr))
            if self.by_class:
                threshold = tf.gather(tf.constant(threshold), _required(classes))
            return _check_batch(scores) <= threshold
        rate = tf.convert_to_tensor(target_fpr)
        if rate.shape.rank not in (None, 0, 1):
            raise ValueError(
                "`target_fpr` must be a float or a tensor of shape `()` or "
                f"`(batch,)`. Received: shape {rate.shape}."
            )
        scores = _check_batch(scores)
        above, sizes = self._count_at_least(scores, classes)
        passes = 1.0 + above > num_refused_of(rate, sizes)
        return passes & ~tf.math.is_nan(scores)

    def keeps(self, target_fpr: tf.Tensor, classes: tf.Tensor | None = None):
        """Says for which rates the calibration rows are enough.

        The smallest p-value is `1 / (n + 1)`: a lower rate, 0, or one below 0, could
        refuse nothing, and NaN is no rate.

        Args:
            target_fpr: float tensor of shape `()` or `(batch,)`.
            classes: as in `p_value`.

        Returns:
            Bool tensor of shape `()` or `(batch,)`.
        """
        sizes = tf.constant(self.sizes, tf.float64)
        sizes = tf.gather(sizes, _required(classes) if self.by_class else 0)
        return num_refused_of(tf.convert_to_tensor(target_fpr), sizes) >= 1.0

    def check_rate(self, target_fpr: float) -> None:
        """Raises `ValueError` unless the calibration rows can keep the rate.

        The smallest p-value is `1 / (n + 1)`, so a lower rate could refuse
        nothing. With classes, `n` is that of the smallest one.

        Args:
            target_fpr: float, the share of known inputs that may be refused.
        """
        check_in_unit_interval(target_fpr, "target_fpr")
        smallest = int(self.sizes.argmin())
        num_rows = int(self.sizes[smallest])
        if num_refused(target_fpr, num_rows) < 1:
            where = f" of predicted class {smallest}" if self.by_class else ""
            raise ValueError(
                f"`target_fpr` must be at least {1 / (num_rows + 1):.3g}, which "
                f"is 1 / (n + 1) for n = {num_rows} calibration rows{where}. "
                f"Received: target_fpr={target_fpr}, which needs "
                f"{rows_needed(target_fpr)} rows. Calibrate on more rows or allow "
                "more false alarms."
            )

    def threshold(self, target_fpr: float) -> float | np.ndarray:
        """The score above which inputs are refused.

        Args:
            target_fpr: float, the share of known inputs that may be refused.

        Returns:
            A float; with classes, a float32 array of shape `(num_classes,)`.

        Raises:
            ValueError: if the rate cannot be kept.
        """
        self.check_rate(target_fpr)
        ranks = [size - num_refused(target_fpr, size) for size in self.sizes.tolist()]
        thresholds = self.table[np.arange(self.num_classes), ranks]
        return thresholds if self.by_class else float(thresholds[0])

    def most_refused(self, target_fpr: float) -> float:
        """The promise: known rows are refused with at most this probability.

        That is `floor(target_fpr * (n + 1)) / (n + 1)` for the smallest class, or for
        all rows; exactly so where no scores are equal.

        Raises:
            ValueError: if the rate cannot be kept.
        """
        self.check_rate(target_fpr)
        return max(
            num_refused(target_fpr, size) / (size + 1) for size in self.sizes.tolist()
        )

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild it, as `numpy.savez` takes it."""
        state = {"calibration_scores": self.scores}
        if self.by_class:
            state["calibration_classes"] = self.classes
            state["num_classes"] = np.array(self.num_classes)
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> "ConformalDetector":
        """Rebuilds a detector from what `state()` gave."""
        if "fold_size" in state:
            sizes = len(state["calibration_scores"]), int(state["fold_size"])
            return CrossConformalDetector(*sizes)
        if "calibration_classes" not in state:
            return cls(state["calibration_scores"])
        return cls(
            state["calibration_scores"],
            calibration_classes=state["calibration_classes"],
            num_classes=int(state["num_classes"]),
        )

    def _padded_table(self) -> np.ndarray:
        """Ascending scores of each class in a row, filled up with `inf`."""
        table = np.full((self.num_classes, self.sizes.max()), np.inf, np.float32)
        columns = np.concatenate([np.arange(size) for size in self.sizes.tolist()])
        table[self.classes, columns] = self.scores
        return table

    def _count_at_least(self, scores, classes):
        """Calibration scores >= each score, and how many there are, float64."""
        if not self.by_class:
            below = _num_below(self.table, scores)
            sizes = tf.constant(self.sizes[0], tf.float64)
            return sizes - tf.cast(below, tf.float64), sizes
        classes = _required(classes)
        tiled = tf.tile(scores[None, :], [self.num_classes, 1])
        below = tf.transpose(tf.searchsorted(self.table, tiled, side="left"))
        below = tf.gather(below, tf.cast(classes, tf.int32), batch_dims=1)
        sizes = tf.gather(tf.constant(self.sizes, tf.float64), classes)
        return sizes - tf.cast(below, tf.float64), sizes


class CrossConformalDetector(ConformalDetector):
    """Cross-conformal p-values and decisions, from ranks that a `FoldScore` gives.

    Known rows stand in folds, and each is scored by a model that was fitted without
    its fold. A new row's p-value is `(1 + c) / (n + 1)`, where `c` counts the known
    rows that are at least as foreign as the new one, both scored by the model that did
    not see that row. No row is kept from fitting, which suits tables of few rows. The
    price is the promise. If the rows and a new known one are exchangeable, and models
    do not depend on the order of rows, refusing p-values up to `a` refuses the new one
    with probability at most

        (2 (r - 1) + m) / (n + m),    r = floor(a (n + 1)),

    `m` being the rows of a fold: less than `2 a + m / (n + m)`. This is the worst case
    of all models and distributions; where a few rows change the models little, the
    rate is about `a`. (Let the new row and `m - 1` like it be one more fold. A row is
    refused if it beats all but `r - 1` of the `n` rows of other folds, by models that
    saw neither's fold. Of `s` rows that do, each pair of different folds has one that
    is beaten, so `s (s - m) / 2 <= s (r - 1)`. The new row is any of all `n + m`.)

    Args:
        num_rows: int >= 1, `n`: the rows that stand in folds.
        fold_size: int >= 1, `m`, a divisor of `num_rows`.

    References:
        - Vovk (2015), "Cross-conformal predictors", equation 10.
        - Barber, Candes, Ramdas and Tibshirani (2021), "Predictive inference with the
          jackknife+", theorems 1 (`m = 1`) and 4, whose proof this is.
    """

    def __init__(self, num_rows: int, fold_size: int):
        check_size("num_rows", num_rows)
        self.fold_size = check_size("fold_size", fold_size)
        if num_rows % fold_size:
            raise ValueError(
                "`fold_size` must divide `num_rows`, as the promise is one of equal "
                f"folds. Received: num_rows={num_rows}, fold_size={fold_size}."
            )
        # A rank among n rows counts as its p-value does if it is compared with these.
        super().__init__(np.arange(1, num_rows + 1))

    def most_refused(self, target_fpr: float) -> float:
        """The promise: known rows are refused with at most this probability."""
        self.check_rate(target_fpr)
        num_rows = int(self.sizes[0])
        rank = num_refused(target_fpr, num_rows)
        return (2 * (rank - 1) + self.fold_size) / (num_rows + self.fold_size)

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), "fold_size": np.array(self.fold_size)}


def _required(classes):
    if classes is None:
        raise ValueError(
            "`classes` must be given to a detector that was calibrated by "
            "class. Received: classes=None. Pass the predicted classes."
        )
    return classes


def _num_below(table: np.ndarray, scores: tf.Tensor) -> tf.Tensor:
    """Entries of the one row of `table` below each score, int32 `(batch,)`."""
    # The operation itself: `tf.searchsorted` wraps it in eight on shapes.
    return tf.raw_ops.LowerBound(sorted_inputs=table, values=scores[None])[0]


def _check_batch(scores) -> tf.Tensor:
    scores = tf.cast(tf.convert_to_tensor(scores), tf.float32)
    if scores.shape.rank not in (None, 1):
        raise ValueError(
            f"`scores` must have shape `(batch,)`. Received: shape {scores.shape}."
        )
    return scores


def _check_calibration(scores) -> np.ndarray:
    scores = np.asarray(scores, np.float32)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(
            "`calibration_scores` must have shape `(rows,)` with at least one "
            f"row. Received: shape {scores.shape}."
        )
    finite = np.isfinite(scores)
    if not finite.all():
        raise ValueError(
            "`calibration_scores` must be finite. Received: nan or inf in "
            f"{(~finite).sum()} of {len(scores)} rows, the first of them row "
            f"{finite.argmin()}. Find the input that gave it; leaving the row "
            "out would void the false-alarm rate."
        )
    return scores


def _check_classes(classes, num_rows: int, num_classes: int | None) -> np.ndarray:
    classes = np.asarray(classes)
    if classes.shape != (num_rows,) or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            f"`calibration_classes` must be integers of shape ({num_rows},), "
            f"one per score. Received: {classes.dtype} of shape {classes.shape}."
        )
    limit = num_classes if num_classes is not None else classes.max() + 1
    if classes.min() < 0 or classes.max() >= limit:
        raise ValueError(
            f"`calibration_classes` must lie in [0, {limit}), as predicted "
            f"classes do. Received: from {classes.min()} to {classes.max()}."
        )
    return classes
