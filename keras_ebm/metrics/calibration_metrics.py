"""Keras metrics of calibration: running sums over labelled rows."""

import keras
import tensorflow as tf
from keras import ops

from keras_ebm.metrics.calibration import check_num_bins, inner_edges
from keras_ebm.metrics.checked_rows import (
    as_vector,
    not_on_simplex,
    refuse_rows,
    span,
    tolerance,
)
from keras_ebm.saveable import Saveable


class _CalibrationMetric(Saveable, keras.metrics.Metric):
    """Shares the reading of a batch, and the count of labelled rows.

    Sums are kept in float64: single precision drifts by a part in 10,000 over
    a million rows that come one by one.
    """

    _values = ("from_logits",)

    def __init__(self, from_logits: bool, name: str, **kwargs):
        super().__init__(name=name, **kwargs)
        self.from_logits = from_logits
        self.count = self.add_variable((), "zeros", dtype="float64", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: int tensor of shape `(batch,)` or `(batch, 1)`; rows
                labelled -1 are left out, whatever their prediction.
            y_pred: float tensor of shape `(batch, num_classes)`; of shape
                `(batch, 1)` or `(batch,)` the probabilities, or logits, of class 1
                of two.
            sample_weight: optional float tensor of shape `(batch,)`.

        Raises:
            ValueError: if a shape is another; eagerly also if a row that counts is
                labelled otherwise, or is no probability.
            InvalidArgumentError: of such a row in a graph. Under XLA, which has no
                errors, the result is not finite. So it always is of a nan.
        """
        predictions = self._columns(y_pred)
        given = as_vector("y_true", y_true)
        _check_sizes(given, predictions)
        weight = ops.cast(ops.not_equal(given, -1), "float64")
        if sample_weight is not None:
            weight *= ops.reshape(ops.cast(sample_weight, "float64"), (-1,))
        counted = weight != 0
        labels, predictions = _checked_labels(given, predictions, counted)
        probabilities = self._probabilities(predictions, y_pred, counted)
        # No row of a batch counts where one is refused.
        with tf.control_dependencies([probabilities]):
            self.count.assign_add(ops.sum(weight))
            self._add(labels, probabilities, weight)

    def _columns(self, y_pred):
        y_pred = ops.cast(y_pred, self.dtype)
        if len(y_pred.shape) not in (1, 2):
            raise ValueError(
                "`y_pred` must have shape `(batch, num_classes)`, or `(batch, 1)` or "
                "`(batch,)` of two classes. Received: shape "
                f"{tuple(y_pred.shape)}."
            )
        return y_pred if len(y_pred.shape) == 2 else y_pred[:, None]

    def _probabilities(self, predictions, y_pred, counted):
        """Probabilities `(batch, num_classes)` of at least two classes."""
        single = predictions.shape[-1] == 1
        if self.from_logits:
            if single:
                predictions = ops.pad(predictions, [[0, 0], [1, 0]])
            return ops.softmax(predictions, axis=-1)
        if single:
            predictions = _checked_column(predictions, counted)
            return ops.concatenate([1.0 - predictions, predictions], axis=-1)
        given = getattr(y_pred, "dtype", self.dtype)
        gap = tolerance(keras.backend.standardize_dtype(given), self.dtype)
        bad, received = not_on_simplex(predictions, gap)
        rule = (
            "`y_pred` must be non-negative with rows that sum to 1; apply a softmax to "
            "logits first, or set `from_logits=True`."
        )
        return refuse_rows(predictions, bad & counted, rule, received)

    def _add(self, labels, probabilities, weight):
        raise NotImplementedError


def _check_sizes(labels, predictions):
    """Raises where one label would be read as that of every row."""
    if not labels.shape.is_compatible_with(predictions.shape[:1]):
        raise ValueError(
            "`y_true` must have a label for each row of `y_pred`. Received: "
            f"{labels.shape[0]} labels for {predictions.shape[0]} rows."
        )


def _checked_labels(given, predictions, counted):
    """Labels as int32, and the predictions, refused where a label is no class."""
    num_classes = max(2, predictions.shape[-1])
    if given.dtype == tf.bool:
        given = tf.cast(given, tf.int32)
    labels = tf.cast(given, tf.int32)
    is_class = tf.equal(tf.cast(labels, given.dtype), given)
    is_class &= (labels >= 0) & (labels < num_classes)
    bad = counted & ~is_class
    rule = (
        f"`y_true` must hold classes 0 to {num_classes - 1}, or -1 for an unlabelled "
        "row."
    )
    return labels, refuse_rows(predictions, bad, rule, ["labels", *span(given, bad)])


def _checked_column(predictions, counted):
    """One column of probabilities, refused where it is none."""
    column = predictions[:, 0]
    bad = counted & ((column < 0.0) | (column > 1.0))
    rule = (
        "`y_pred` of one column, the probability of class 1, must lie in [0, 1]; apply "
        "a sigmoid to logits first, or set `from_logits=True`."
    )
    return refuse_rows(predictions, bad, rule, ["values", *span(column, bad)])


@keras.saving.register_keras_serializable(package="keras_ebm")
class ExpectedCalibrationError(_CalibrationMetric):
    """Mean gap between confidence and accuracy over bins of confidence.

    Bins have equal width and own their right edge, as in
    `keras_ebm.metrics.expected_calibration_error`, to which this is equal.

    Args:
        num_bins: int >= 1. Defaults to `15`.
        from_logits: bool, whether `y_pred` holds logits. Defaults to `False`.
        name: string. Defaults to `"ece"`.
        **kwargs: forwarded to `keras.metrics.Metric`.

    Call arguments:
        y_true: int tensor of shape `(batch,)`; -1 for an unlabelled row.
        y_pred: float tensor of shape `(batch, num_classes)`; `(batch, 1)` or
            `(batch,)` of two classes, for class 1.

    Returns:
        A scalar in [0, 1]; `nan` if no labelled row has been seen.

    References:
        - Guo et al. (2017), "On calibration of modern neural networks",
          equation 3.
    """

    _values = ("num_bins",)

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        name: str = "ece",
        **kwargs,
    ):
        check_num_bins(num_bins)
        super().__init__(from_logits=from_logits, name=name, **kwargs)
        self.num_bins = num_bins
        self._direction = "down"
        self.gap = self.add_variable((num_bins,), "zeros", dtype="float64", name="gap")

    def _add(self, labels, probabilities, weight):
        confidence = ops.max(probabilities, axis=-1)
        edges = ops.convert_to_tensor(inner_edges(self.num_bins), confidence.dtype)
        bins = ops.searchsorted(edges, confidence, side="left")
        likeliest = ops.cast(ops.argmax(probabilities, axis=-1), "int32")
        hit = ops.cast(ops.equal(likeliest, labels), "float64")
        # A row without weight is left out even where its prediction is nan.
        gap = ops.cast(confidence, "float64") - hit
        gap = ops.where(weight != 0, weight * gap, ops.zeros_like(gap))
        self.gap.assign_add(ops.segment_sum(gap, bins, self.num_bins))

    def result(self):
        return ops.cast(ops.sum(ops.abs(self.gap)) / self.count, self.dtype)


@keras.saving.register_keras_serializable(package="keras_ebm")
class BrierScore(_CalibrationMetric):
    """Mean over rows of the squared error summed over the classes.

    Equal to `keras_ebm.metrics.brier_score`.

    Args:
        from_logits: bool, whether `y_pred` holds logits. Defaults to `False`.
        name: string. Defaults to `"brier"`.
        **kwargs: forwarded to `keras.metrics.Metric`.

    Call arguments:
        y_true: int tensor of shape `(batch,)`; -1 for an unlabelled row.
        y_pred: float tensor of shape `(batch, num_classes)`; `(batch, 1)` or
            `(batch,)` of two classes, for class 1.

    Returns:
        A scalar in [0, 2]; `nan` if no labelled row has been seen.

    References:
        - Brier (1950), "Verification of forecasts expressed in terms of
          probability", equation 2.
    """

    def __init__(self, from_logits: bool = False, name: str = "brier", **kwargs):
        super().__init__(from_logits=from_logits, name=name, **kwargs)
        self.total = self.add_variable((), "zeros", dtype="float64", name="total")
        self._direction = "down"

    def _add(self, labels, probabilities, weight):
        num_classes = probabilities.shape[-1]
        target = ops.one_hot(labels, num_classes, dtype=probabilities.dtype)
        error = ops.sum(ops.square(probabilities - target), axis=-1)
        error = ops.cast(error, "float64")
        error = ops.where(weight != 0, weight * error, ops.zeros_like(error))
        self.total.assign_add(ops.sum(error))

    def result(self):
        return ops.cast(self.total / self.count, self.dtype)
