"""Keras metrics of detection: exact, because they keep every score."""

import keras
import tensorflow as tf

from keras_ebm.metrics.checked_rows import as_vector
from keras_ebm.metrics.detection import check_recall
from keras_ebm.saveable import Saveable


class _ScoreMetric(keras.metrics.Metric):
    """Gathers the scores of known and of foreign rows in two vectors.

    A curve over all thresholds has no running sums, and binned ones are wrong
    in the tails that matter here. Memory is 4 bytes a row, and every `result`
    sorts what has been seen.
    """

    def __init__(self, name: str, **kwargs):
        super().__init__(name=name, **kwargs)
        # Made by TensorFlow itself, since a Keras variable has a fixed shape.
        with tf.init_scope():
            self._known = _growing_vector("known")
            self._foreign = _growing_vector("foreign")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: tensor of shape `(batch,)` or `(batch, 1)`: 1 for a foreign
                row, 0 for a known one. Anything else is an error.
            y_pred: float tensor of shape `(batch,)` or `(batch, 1)`: scores,
                higher is more foreign.
            sample_weight: must be `None`.

        Raises:
            ValueError: if `sample_weight` is given, or a shape is another.
            InvalidArgumentError: if a label is neither 0 nor 1, or the two
                sizes differ.
        """
        if sample_weight is not None:
            raise ValueError(
                f"`{type(self).__name__}` ranks rows and has no weighted form, "
                "so `sample_weight` must be None. Received: "
                f"sample_weight={sample_weight!r}. List it under `metrics`, "
                "not under `weighted_metrics`."
            )
        labels = _from_all_replicas(tf.cast(as_vector("y_true", y_true), tf.float32))
        scores = _from_all_replicas(tf.cast(as_vector("y_pred", y_pred), tf.float32))
        is_foreign = tf.equal(labels, 1.0)
        check = tf.debugging.Assert(
            tf.reduce_all(is_foreign | tf.equal(labels, 0.0)),
            ["`y_true` must be 1 (foreign) or 0 (known). Received:", labels],
        )
        with tf.control_dependencies([] if check is None else [check]):
            _append(self._known, tf.boolean_mask(scores, ~is_foreign))
            _append(self._foreign, tf.boolean_mask(scores, is_foreign))

    def result(self):
        known = tf.sort(self._known.read_value())
        foreign = self._foreign.read_value()
        value = tf.cast(self._statistic(known, foreign), tf.float32)
        # Neither sorting nor comparing carries nan along.
        missing = tf.reduce_any(tf.math.is_nan(tf.concat([known, foreign], 0)))
        missing |= tf.equal(tf.size(known), 0) | tf.equal(tf.size(foreign), 0)
        return tf.where(missing, float("nan"), value)

    def reset_state(self):
        self._known.assign(tf.zeros([0]))
        self._foreign.assign(tf.zeros([0]))

    def _statistic(self, known, foreign):
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_ebm")
class AUROC(_ScoreMetric):
    """Area under the ROC curve, foreign rows positive; exact, with ties.

    `keras.metrics.AUC` bins scores that must lie in [0, 1]; energies do not.
    Not for XLA, which has no vectors that grow: on a GPU pass `jit_compile=False`
    to `compile`, whose default is XLA there.

    Args:
        name: string. Defaults to `"auroc"`.
        **kwargs: forwarded to `keras.metrics.Metric`.

    Call arguments:
        y_true: tensor of shape `(batch,)`: 1 foreign, 0 known.
        y_pred: float tensor of shape `(batch,)`: scores, higher is more
            foreign, such as energies.

    Returns:
        A float32 scalar in [0, 1]; `nan` if a score was, or if either kind of
        row has not been seen.

    Example:

    >>> metric = AUROC()
    >>> metric.update_state([0, 0, 1, 1], [-3.0, -1.0, -2.0, 5.0])
    >>> float(metric.result())
    0.75

    References:
        - Hanley and McNeil (1982), "The meaning and use of the area under a
          receiver operating characteristic (ROC) curve".
    """

    def __init__(self, name: str = "auroc", **kwargs):
        super().__init__(name=name, **kwargs)
        self._direction = "up"

    def _statistic(self, known, foreign):
        below = tf.searchsorted(known, foreign, side="left")
        upto = tf.searchsorted(known, foreign, side="right")
        wins = tf.cast(below, tf.float64) + tf.cast(upto, tf.float64)
        pairs = tf.cast(tf.size(known), tf.float64)
        return 0.5 * tf.reduce_mean(wins) / pairs


@keras.saving.register_keras_serializable(package="keras_ebm")
class FPRAtRecall(Saveable, _ScoreMetric):
    """Share of foreign rows accepted when `recall` of the known ones are.

    Exact; the rule at the threshold is that of
    `keras_ebm.metrics.fpr_at_recall`. Not for XLA; see `AUROC`.

    Args:
        recall: float in (0, 1], of the known rows. Defaults to `0.95`.
        name: string. Defaults to `"fpr95"`.
        **kwargs: forwarded to `keras.metrics.Metric`.

    Call arguments:
        y_true: tensor of shape `(batch,)`: 1 foreign, 0 known.
        y_pred: float tensor of shape `(batch,)`: scores, higher is more
            foreign, such as energies.

    Returns:
        A float32 scalar in [0, 1]; `nan` if a score was, or if either kind of
        row has not been seen.

    References:
        - Liang et al. (2018), "Enhancing the reliability of
          out-of-distribution image detection in neural networks", section 4.3.
    """

    _values = ("recall",)

    def __init__(self, recall: float = 0.95, name: str = "fpr95", **kwargs):
        check_recall(recall)
        super().__init__(name=name, **kwargs)
        self.recall = recall
        self._direction = "down"

    def _statistic(self, known, foreign):
        size = tf.cast(tf.size(known), tf.float64)
        needed = tf.math.ceil(size * (self.recall * (1.0 - 1e-12)))
        # The padding is read only while no known row has been seen.
        padded = tf.concat([known, [0.0]], axis=0)
        last = tf.maximum(tf.cast(needed, tf.int32) - 1, 0)
        accepted = tf.less_equal(foreign, padded[last])
        return tf.reduce_mean(tf.cast(accepted, tf.float64))


def _growing_vector(name: str) -> tf.Variable:
    return tf.Variable(
        tf.zeros([0]),
        shape=[None],
        trainable=False,
        name=name,
        # Every replica assigns the same rows; see `_from_all_replicas`.
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def _from_all_replicas(values: tf.Tensor) -> tf.Tensor:
    """The rows of every replica, so that each keeps the same vectors."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_gather(values, axis=0)


def _append(vector: tf.Variable, values: tf.Tensor) -> None:
    vector.assign(tf.concat([vector.read_value(), values], axis=0))
