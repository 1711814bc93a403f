"""Explanations of the energies of a table's rows."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_ebm.explain import columns
from keras_ebm.explain.integrated_gradients import integrated_gradients
from keras_ebm.explain.level import Level
from keras_ebm.explain.moves import Moves
from keras_ebm.explain.nearest import Place, nearest_acceptable
from keras_ebm.explain.typical import typical_row
from keras_ebm.layers import TableEncoder
from keras_ebm.ood import Detector, Energy


class Contributions(NamedTuple):
    """What each column adds to a row's energy.

    `contributions` is `(batch, columns)`, `energy` and `baseline_energy` `(batch,)`,
    all in nats.
    """

    contributions: tf.Tensor
    energy: tf.Tensor
    baseline_energy: tf.Tensor

    @property
    def error(self) -> tf.Tensor:
        """What the quadrature left unexplained, `(batch,)` nats."""
        explained = tf.reduce_sum(self.contributions, axis=-1)
        return self.energy - self.baseline_energy - explained


class Change(NamedTuple):
    """The smallest change found that makes a row acceptable.

    `rows` is `(batch, columns)`, raw; `changed` bool of that shape; `found` bool
    `(batch,)`; `distance` `(batch,)`, the L2 norm of the change in feature space, 0
    for a row that was acceptable and infinite where nothing was found; `energy`
    `(batch,)`, nats, of `rows`. Where nothing was found the row is as it came. The
    distance is NaN where the energy is.
    """

    rows: tf.Tensor
    changed: tf.Tensor
    found: tf.Tensor
    distance: tf.Tensor
    energy: tf.Tensor


class Explainer:
    """Explains the energies of a table's rows, and what would make them acceptable.

    Use `Explainer.for_detector`; the constructor joins parts that are known already.

    A change moves numeric columns alone, those in `bounds`, and of them only cells
    that are not missing. Its size is measured in feature space: columns count by
    their spread in training. All that is in `bounds` ends within them, so that a
    cell outside of its bounds is part of every change. The search is local (see
    `nearest_acceptable`): it may miss a nearer change, or all of them.

    Args:
        detector: `keras_ebm.ood.Detector` with the score `"energy"`, of a model
            whose preprocessor is a `TableEncoder`. A row must pass its threshold at
            `target_fpr`, that of the predicted class if it has one for each.
        baseline: raw row `(columns,)` that contributions are relative to.
        bounds: dict from the names of the columns that may move to `(low, high)` in
            their units. Without a schema, names are numbers: `"0"`.

    Raises:
        ValueError: if an argument breaks its rule.

    Example:

    >>> explainer = Explainer.for_detector(detector, train_rows, fixed=["age"])
    >>> explainer.contributions(rows).contributions
    >>> explainer.acceptable(rows).rows
    """

    def __init__(
        self,
        detector: Detector,
        baseline: np.ndarray,
        bounds: Mapping[str, tuple[float, float]],
    ):
        self.detector = detector
        self.encoder = _encoder_of(detector)
        self.column_names = self.encoder.column_names
        self.bounds = columns.check_bounds(self.encoder, bounds)
        self._level = Level(detector)
        self.baseline = self._check_baseline(baseline)
        limits = [
            self.bounds.get(name, (np.nan, np.nan))
            for name in columns.movable_names(self.encoder)
        ]
        dtype = self.encoder.input_dtype
        self._low, self._high = np.array(limits, dtype).reshape(-1, 2).T
        spec = tf.TensorSpec((None, len(self.column_names)), dtype)
        # Compiled: eager loops would take a hundred times as long.
        self._contributions, self._acceptable = (
            tf.function(function, input_signature=[spec], autograph=False)
            for function in (self._attribute, self._search)
        )

    @classmethod
    def for_detector(
        cls,
        detector: Detector,
        train_rows: np.ndarray,
        *,
        baseline: np.ndarray | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        fixed: Iterable[str] = (),
    ) -> "Explainer":
        """Makes an explainer: finds the baseline and the bounds in training rows.

        Args:
            detector: see `Explainer`.
            train_rows: raw rows `(n, columns)` that the model was trained on.
            baseline: raw row `(columns,)`, or None for `typical_row`: of the half
                of the training rows with the lower energies, the nearest to the
                mean of all in feature space.
            bounds: dict from names of numeric columns to `(low, high)` in their
                units; the others have the range of their training cells.
            fixed: names of columns that must not change. Categorical columns never
                do, nor columns that the encoder dropped or never saw a number in.

        Returns:
            An `Explainer`.

        Raises:
            ValueError: if the detector has another score, its model no
                `TableEncoder`, the rows another shape, a name is of no column or of
                one that cannot move, or no row has a finite energy.
        """
        encoder = _encoder_of(detector)
        bounds = columns.check_bounds(encoder, {} if bounds is None else bounds)
        rows = columns.check_rows(encoder, "train_rows", train_rows)
        fixed = columns.check_fixed(encoder, fixed, bounds)
        if baseline is None:
            baseline = typical_row(detector.model, rows)
        found = columns.ranges(encoder, rows) | bounds
        room = {name: pair for name, pair in found.items() if name not in fixed}
        return cls(detector, baseline, room)

    @classmethod
    def fit(cls, detector: Detector, train_rows: np.ndarray, **settings) -> "Explainer":
        """The earlier name of `for_detector`, of which it is an alias."""
        return cls.for_detector(detector, train_rows, **settings)

    def contributions(self, x: np.ndarray) -> Contributions:
        """Integrated gradients of the energy, from the baseline to each row.

        The entries of a column (an indicator, categories) are summed. A dropped
        column contributes 0; all of a row whose energy is NaN contribute NaN.

        Args:
            x: raw rows `(batch, columns)`, taken in the encoder's `input_dtype`.

        Returns:
            `Contributions`; `sum(contributions) = energy - baseline_energy - error`.

        Raises:
            ValueError: if `x` has another number of columns.
        """
        return self._contributions(_checked(self.encoder, x))

    def acceptable(self, x: np.ndarray) -> Change:
        """The smallest change found with which the detector accepts each row.

        Rows that it accepts come back unchanged.

        Args:
            x: raw rows `(batch, columns)`, taken in the encoder's `input_dtype`.

        Returns:
            `Change`.

        Raises:
            ValueError: if `x` has another number of columns.
        """
        return self._acceptable(_checked(self.encoder, x))

    def _check_baseline(self, baseline):
        row = columns.check_rows(self.encoder, "baseline", np.atleast_2d(baseline))
        baseline = np.asarray(baseline, self.encoder.input_dtype)
        energy = self._level.energy(self.detector.model.preprocess(row)).numpy()
        if baseline.ndim != 1 or not np.isfinite(energy).all():
            raise ValueError(
                "`baseline` must be one raw row whose energy is finite. Received: "
                f"shape {baseline.shape}, energy {energy}."
            )
        return baseline

    def _attribute(self, x):
        inputs = self.detector.model.preprocess(x)
        baseline = self.detector.model.preprocess(self.baseline[None])
        energy = self._level.energy(inputs)
        by_entry = integrated_gradients(self._level.energy, inputs, baseline)
        by_column = tf.math.unsorted_segment_sum(
            tf.transpose(by_entry),
            self.encoder.entry_columns,
            len(self.column_names),
        )
        # A gradient may be 0 beside a NaN, as that of ReLU is.
        unknown = tf.math.is_nan(energy)[:, None]
        by_column = tf.where(unknown, float("nan"), tf.transpose(by_column))
        baseline_energy = tf.repeat(self._level.energy(baseline), tf.shape(x)[0])
        return Contributions(by_column, energy, baseline_energy)

    def _search(self, x):
        inputs = self.detector.model.preprocess(x)
        energy, excess, _ = self._level.excess(inputs)
        found, distance = self._nearest(x, self._position(inputs))
        accepted = (excess <= 0.0) & ~self._is_far(x)
        moved = tf.math.is_finite(distance) & ~accepted & ~self._is_far(found)
        rows = tf.where(moved[:, None], found, x)
        # NaN, a missing cell, is no equal of itself.
        changed = (rows != x) & ~tf.math.is_nan(x)
        distance = tf.where(moved, distance, float("inf"))
        distance = tf.where(accepted, 0.0, distance)
        distance = tf.where(tf.math.is_nan(energy), float("nan"), distance)
        energy = self._level.energy(self.detector.model.preprocess(rows))
        return Change(rows, changed, accepted | moved, distance, energy)

    def _is_far(self, x):
        """Which rows the detector refuses whatever their energy, `(batch,)`."""
        if not self.detector.guard:
            return tf.zeros(tf.shape(x)[:1], tf.bool)
        return tf.reduce_any(self.encoder.far(x), axis=1)

    def _nearest(self, x, start):
        """The nearer of two searches: rows `(batch, columns)`, distance `(batch,)`.

        Where the surroundings of a row lead nowhere, those of a typical one may.
        """
        typical = self.detector.model.preprocess(self.baseline[None])
        typical = tf.zeros_like(start) + self._position(typical)
        twice = tf.concat([start, start], axis=0)
        moves = Moves(
            self.encoder, tf.concat([x, x], axis=0), twice, self._low, self._high
        )
        position, distance = nearest_acceptable(
            lambda wished: self._visit(moves, wished),
            twice,
            tf.concat([start, typical], axis=0),
            slack=self._level.slack,
        )
        own, other = tf.split(moves.rows(position), 2)
        near, far = tf.split(distance, 2)
        rows = tf.where((near <= far)[:, None], own, other)
        return rows, tf.minimum(near, far)

    def _visit(self, moves, wished):
        """Where a wish leads: what a raw row becomes, as only that can be had."""
        rows = moves.rows(wished)
        inputs = self.detector.model.preprocess(rows)
        _, excess, gradient = self._level.excess(inputs)
        gradient = moves.free(rows, self._position(gradient))
        return Place(self._position(inputs), excess + self._level.slack, gradient)

    def _position(self, inputs):
        return inputs[:, : self.encoder.num_numeric]


def _encoder_of(detector: Detector) -> TableEncoder:
    if not isinstance(detector, Detector):
        raise ValueError(
            "`detector` must be a keras_ebm.ood.Detector. Received: a "
            f"{type(detector).__name__}; make one by Detector.calibrate."
        )
    encoder = detector.model.preprocessor
    if not isinstance(encoder, TableEncoder):
        raise ValueError(
            "`detector` must hold a model of table rows, whose preprocessor is a "
            f"TableEncoder. Received: a preprocessor {type(encoder).__name__}."
        )
    if not isinstance(detector.score, Energy):
        raise ValueError(
            "`detector` must have the score 'energy', which is what is explained. "
            f"Received: score {detector.score.name!r}; fit a detector with "
            "score='energy' for the explanations."
        )
    return encoder


def _checked(encoder, x):
    # In a graph the specs of the compiled functions check it.
    if tf.is_tensor(x) and not tf.executing_eagerly():
        return x
    # A tensor of the right type stays where it is, once its shape is checked.
    rows = columns.check_rows(encoder, "x", x)
    return x if tf.is_tensor(x) and x.dtype == rows.dtype else rows
