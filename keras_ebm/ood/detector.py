"""A network, a score and a threshold: the decision that is served."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from keras_ebm import rows
from keras_ebm.layers import TableEncoder
from keras_ebm.models import BaseEnergyModel
from keras_ebm.ood.combined import make_score
from keras_ebm.ood.conformal import ConformalDetector, Rate
from keras_ebm.ood.output_scores import Energy
from keras_ebm.ood.outputs import network_outputs, output_function
from keras_ebm.ood.score import Score

#: Score of a row with a cell far outside its column's range, above any other's.
FAR = np.float32(1e30)
#: What a decision gives for a reason, beside "outside the training range: COLUMN".
ACCEPTED, UNLIKE = "accepted", "unlike the training rows"
MISSING, NOT_FINITE = "a number is missing", "not a finite number"
NO_SUCH_RATE = "target_fpr is below what the calibration rows can keep"
#: Share of known inputs refused where no other is asked for.
DEFAULT_RATE = 0.01


class Detector:
    """Answers, and says when not to: class, energy, p-value and accept flag.

    Use `Detector.calibrate`; the constructor joins parts that are fitted already.

    Args:
        model: an `EnergyModel`.
        score: a fitted `Score`.
        conformal: `ConformalDetector` calibrated on this score.
        target_fpr: float, share of known inputs that may be refused.
        guard: bool, whether a row with a cell far outside its column's range in
            training (see `TableEncoder.far`) scores above all others, whatever the
            network makes of it. The calibration rows must have been scored so too, as
            `calibrate` does; then the false-alarm rate holds.
    """

    def __init__(
        self,
        model: BaseEnergyModel,
        score: Score,
        conformal: ConformalDetector,
        target_fpr: float,
        guard: bool = False,
    ):
        conformal.check_rate(target_fpr)
        self.model = model
        self.score = score
        self.conformal = conformal
        self.target_fpr = float(target_fpr)
        self.guard = bool(guard)
        self._outputs = output_function(model, score.requires)
        self._batch_size = model.rows_at_a_time()
        self._compiled: dict[tuple, Callable] = {}

    def __reduce__(self):
        # What it compiles cannot be pickled, and is made of these.
        parts = self.model, self.score, self.conformal, self.target_fpr, self.guard
        return Detector, parts

    @classmethod
    def calibrate(
        cls,
        model: BaseEnergyModel,
        calibration: Any,
        *,
        score: str | Score = "energy",
        target_fpr: float | None = None,
        train: Any | None = None,
        validation: Any | None = None,
        per_class: bool = False,
        guard: bool = True,
    ) -> "Detector":
        """Makes a detector: fits a score and calibrates its threshold.

        Args:
            model: a trained `EnergyModel`.
            calibration: raw known rows that neither training nor the choice
                of the model saw; `1 / target_fpr - 1` of them at least, of
                each predicted class with `per_class`. An array, of several inputs a
                dict of arrays, a frame, or a `tf.data.Dataset` of batches, whose
                labels are left out; see `keras_ebm.rows.as_rows`.
            score: name for `make_score`, or a `Score`, which is fitted. Choose it
                before looking at foreign data.
            target_fpr: float in (0, 1), share of known inputs that may be
                refused. It holds on average over calibration sets, for inputs
                exchangeable with the calibration rows. None: 0.01, or the
                smallest that few of them can keep, which a `UserWarning` names.
            train: `(x, y)` raw training rows, for scores that are fitted.
            validation: `(x, y)` known rows, for a sum of scores.
            per_class: bool, calibrate within each predicted class (Mondrian).
            guard: bool, refuse rows of a table that are far outside the range of
                training in a column, as often as the rate allows; see `Detector`.

        Returns:
            A `Detector`.

        Raises:
            ValueError: if the rate needs more calibration rows, they are no rows of
                one array, or the score lacks the rows it is fitted on.

        A `UserWarning` tells of a score that is the same on all of them.
        """
        scorer = make_score(score) if isinstance(score, str) else score
        name = scorer.name
        calibration = rows.as_rows(calibration, "calibration", model.raw_spec())
        # Refuse a rate that cannot be had before anything is computed.
        if target_fpr is not None:
            ConformalDetector(np.zeros(rows.num_rows(calibration))).check_rate(
                target_fpr
            )
        if scorer.fitted_names:
            scorer.fit(
                cls._known(model, scorer, train, "train"),
                cls._known(model, scorer, validation, "validation")
                if "+" in name
                else None,
            )
        outputs = network_outputs(model, calibration, requires=scorer.requires)
        classes = None
        if per_class:
            classes = np.argmax(model.offset(outputs["logits"]), axis=-1)
        scores = scorer.predict(outputs)
        _tell_constant(scores, name)
        far = _far_cells(model, calibration) if guard else None
        if far is not None:
            scores = _above_all(scores, far).numpy()
        conformal = ConformalDetector(
            scores,
            calibration_classes=classes,
            num_classes=model.num_classes if per_class else None,
        )
        if target_fpr is None:
            target_fpr = _default_rate(conformal)
        return cls(model, scorer, conformal, target_fpr, guard)

    @classmethod
    def fit(cls, model, calibration: np.ndarray, **settings) -> "Detector":
        """The earlier name of `calibrate`, of which it is an alias."""
        return cls.calibrate(model, calibration, **settings)

    @staticmethod
    def _known(model, scorer, rows, name):
        if rows is None:
            raise ValueError(
                f"`{name}` must be given as (x, y) for score={scorer.name!r}, which "
                f"is fitted. Received: {name}=None."
            )
        x, y = rows
        if model.num_classes < 2:
            # All rows are of the one kind that the model knows, and none has a label.
            y = None
        return network_outputs(model, x, y, requires=scorer.requires)

    def decide(self, x: Any, target_fpr: Rate | None = None):
        """Decides on a batch, in TensorFlow operations.

        Args:
            x: raw inputs `(batch, ...)`, of several inputs a dict by name.
            target_fpr: float or tensor `(batch,)`; defaults to the detector's. A
                tensor's rate that the calibration rows cannot keep accepts nothing.

        Returns:
            Dict of tensors with leading axis `batch`: `energy` (nats),
            `ood_score`, `p_value`, `accept` (bool), `reason` (string, "accepted" or
            why a row is not); of a `TableEncoder`'s rows `filled`
            (string, the numeric columns whose cells are missing, so that their means
            stand for them, joined by ", "; empty if there are none); and, with
            classes, `class_id` (int64), `label` (string) and `probabilities`
            `(batch, K)`, at the model's temperature.
        """
        rate = self.target_fpr if target_fpr is None else target_fpr
        return judge(self.measure(x), self.conformal, rate)

    def measure(self, x: Any) -> dict[str, tf.Tensor]:
        """What a decision rests on, whatever the calibration and the rate.

        Args:
            x: raw inputs `(batch, ...)`, of several inputs a dict by name.

        Returns:
            What `decide` gives but for `p_value` and `accept`, as `judge` takes it:
            `reason` is why a row would be refused.
        """
        outputs = self._outputs(x)
        logits = outputs["logits"]
        score = self.score(outputs)
        sound = tf.math.is_finite(score)
        if not isinstance(self.score, Energy):
            energy = self.model.to_energy(logits)
            sound &= tf.math.is_finite(energy)
        # Nothing is accepted of which a number is infinite.
        score = tf.where(sound, score, float("nan"))
        if isinstance(self.score, Energy):
            energy = score
        far = _far_cells(self.model, x) if self.guard else None
        if far is not None:
            score = _above_all(score, far)
        reason = self._refusal(x, score, far)
        measured = {"energy": energy, "ood_score": score, "reason": reason}
        if isinstance(self.model.preprocessor, TableEncoder):
            measured["filled"] = _filled_columns(self.model.preprocessor, x)
        if self.model.num_classes > 1:
            class_id = tf.argmax(self.model.offset(logits), axis=-1)
            measured["class_id"] = class_id
            measured["label"] = tf.gather(tf.constant(self.class_names), class_id)
            measured["probabilities"] = self.model.to_probabilities(logits)
        return measured

    def _refusal(self, x, score, far):
        """Why rows would be refused, strings `(batch,)`."""
        # Each operation counts in a request of one row: texts are joined as scalars.
        reason = tf.constant(UNLIKE)
        if far is not None:
            encoder = self.model.preprocessor
            names = encoder.column_names
            columns = encoder.entry_columns[: encoder.num_numeric]
            texts = [f"outside the training range: {names[j]}" for j in columns]
            first = tf.argmax(tf.cast(far, tf.int32), axis=1)
            outside = tf.gather(tf.constant([*texts, UNLIKE]), first)
            reason = tf.where(tf.reduce_any(far, axis=1), outside, reason)
        is_table = isinstance(self.model.preprocessor, TableEncoder)
        nothing = NOT_FINITE if is_table else _not_finite(x)
        return tf.where(tf.math.is_nan(score), nothing, reason)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; their numbers where the model has none."""
        default = [str(index) for index in range(self.model.num_classes)]
        return list(self.model.class_names or default)

    def predict(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """`decide` on numpy rows, in batches, as numpy arrays.

        Rows may be none, and of another type at every call; they come in as
        `calibrate` takes them.

        Args:
            x: raw rows.
            batch_size: int, rows in one pass; None: 256, or fewer of large
                images, see `BaseEnergyModel.rows_at_a_time`.
        """
        x = rows.as_rows(x, "x", self.model.raw_spec())
        size = rows.num_rows(x)
        batch_size = batch_size or self._batch_size
        decide = self._compile(x)
        # Some operations fail on no rows: the answers to one are cut to none.
        known = x if size else rows.blank(x)
        parts = []
        for start in range(0, max(size, 1), batch_size):
            part = rows.tensors(rows.take(known, slice(start, start + batch_size)))
            parts.append(decide(part))
        return {key: np.concatenate([p[key] for p in parts])[:size] for key in parts[0]}

    def _compile(self, x):
        """`decide` as a graph for rows like `x`; traced anew for other settings."""
        spec = rows.batch_spec(x)
        settings = self.target_fpr, self.conformal, tuple(self.class_names)
        key = (*tree.flatten(spec), settings)
        if key not in self._compiled:
            decide = tf.function(lambda x: self.decide(x), autograph=False)
            self._compiled[key] = decide.get_concrete_function(spec)
        return self._compiled[key]


def judge(
    measured: dict[str, tf.Tensor], conformal: ConformalDetector, rate: Rate
) -> dict[str, tf.Tensor]:
    """The decision on rows that were measured, in TensorFlow operations.

    Args:
        measured: what `Detector.measure` gives.
        conformal: `ConformalDetector`, calibrated on such scores.
        rate: float or tensor `(batch,)`. A tensor's rate that the calibration rows
            cannot keep accepts nothing.

    Returns:
        Dict of tensors with leading axis `batch`, as `Detector.decide` gives it.
    """
    score = measured["ood_score"]
    groups = measured["class_id"] if conformal.by_class else None
    accept, reason = conformal.accept(score, rate, groups), measured["reason"]
    if tf.is_tensor(rate):
        # A request cannot be answered with an error: it fails closed instead.
        kept = conformal.keeps(rate, groups)
        accept &= kept
        reason = tf.where(kept, reason, NO_SUCH_RATE)
    return measured | {
        "p_value": conformal.p_value(score, groups),
        "accept": accept,
        "reason": tf.where(accept, ACCEPTED, reason),
    }


def _not_finite(x):
    """Of raw inputs whose score is no number: `MISSING` if a number of theirs is.

    Returns:
        A string, or strings `(batch,)`.
    """
    reason = NOT_FINITE
    for part in tree.flatten(x):
        if part.dtype.is_floating:
            absent = tf.math.is_nan(tf.reshape(part, [tf.shape(part)[0], -1]))
            reason = tf.where(tf.reduce_any(absent, axis=1), MISSING, reason)
    return reason


def _far_cells(model, x):
    """`TableEncoder.far` of raw rows; None for a model of other inputs."""
    encoder = model.preprocessor
    return encoder.far(x) if isinstance(encoder, TableEncoder) else None


def _filled_columns(encoder: TableEncoder, x):
    """Names of the numeric columns that lack a cell, strings `(batch,)`."""
    columns = encoder.entry_columns[: encoder.num_numeric]
    if not len(columns):
        return tf.fill(tf.shape(x)[:1], "")
    # The end of the list takes the last comma away with it.
    texts = tf.constant([f"{encoder.column_names[column]}, " for column in columns])
    parts = tf.where(encoder.absent(x), texts, "")
    return tf.strings.regex_replace(tf.strings.reduce_join(parts, axis=1), ", $", "")


def _above_all(scores, far):
    """Scores `(batch,)`, `FAR` in rows with a far cell; NaN stays NaN."""
    known = tf.math.is_nan(scores) | ~tf.reduce_any(far, axis=1)
    return tf.where(known, scores, FAR)


def _tell_constant(scores: np.ndarray, name: str) -> None:
    """Warns of a score that cannot tell one row from another."""
    if len(scores) > 1 and np.all(scores == scores[0]):
        warnings.warn(
            f"the score {name!r} is {scores[0]:.6g} on all {len(scores)} calibration "
            "rows: it refuses nothing that scores the same; choose another, or look at "
            "what the network gives for these rows",
            stacklevel=3,
        )


def _default_rate(conformal: ConformalDetector) -> float:
    """The default rate, or the smallest that the calibration rows can keep."""
    num_rows = int(conformal.sizes.min())
    smallest = 1.0 / (num_rows + 1)
    # Without any row of a class no rate can be kept, which the detector says.
    if smallest <= DEFAULT_RATE or not num_rows:
        return DEFAULT_RATE
    where = " of the rarest predicted class" if conformal.by_class else ""
    warnings.warn(
        f"target_fpr is {smallest:.3g} in place of {DEFAULT_RATE:g}, the smallest that "
        f"{num_rows} calibration row(s){where} can keep",
        stacklevel=3,
    )
    return smallest
