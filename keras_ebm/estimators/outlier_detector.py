"""A density of normal rows with a threshold at a stated false-alarm rate."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence

import numpy as np

from keras_ebm.arguments import check_choice, check_positive, check_share, check_size
from keras_ebm.estimators import training
from keras_ebm.estimators.sklearn_base import (
    BaseEstimator,
    OutlierMixin,
)
from keras_ebm.layers import with_mixture_base
from keras_ebm.mixtures import select_mixture
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import MixtureSamples
from keras_ebm.ood import Detector
from keras_ebm.ood.conformal_rates import rows_needed

#: What None stands for where there are rows enough.
DEFAULT_RATE, DEFAULT_SHARE = 0.05, 0.2
PARTS = ("energy", "nearest", "mixture")
SCORES = tuple(
    "+".join(parts)
    for count in range(1, len(PARTS) + 1)
    for parts in itertools.combinations(PARTS, count)
)


class EnergyOutlierDetector(training.TakesGaps, OutlierMixin, BaseEstimator):
    """Learns an energy of normal rows, and refuses others at a stated rate.

    A mixture of Gaussians is fitted, and a network learns to tell rows from samples of
    it. The energy is minus the sum of the mixture's log-density and the network's
    log-ratio, in nats (noise contrastive estimation, see `layers.MixtureBase`). Some
    rows are kept from both: for the threshold (split conformal prediction), and a tenth
    of the others, which choose the mixture and put two scores on one scale.
    For rows exchangeable with those of `fit` the expected share refused is at most
    `target_fpr`.

    Rows are an array of numbers, or a pandas frame that may hold words, categories,
    booleans and missing cells (NaN, None, NA). What a frame's columns are is found out
    by the rules for csv files (`keras_ebm.data.read_csv`, with its notices and
    refusals). A word that no training row has is unknown, among the rows that are kept
    from training too. Another frame must have the same columns in the same order. A
    frame of numbers alone is taken as an array.

    Args:
        target_fpr: float in (0, 1), share of normal rows that may be refused. None:
            0.05, or the smallest that few calibration rows can keep, which a
            `UserWarning` then names.
        calibration_share: float in (0, 1), share of rows that set the threshold;
            `1 / target_fpr - 1` rows at least. None: 0.2, or what the rate needs, half
            of the rows at most, and a `UserWarning`.
        ood_score: `"energy"`, `"nearest"` (distance to the nearest training row),
            `"mixture"` (distance in the mixture alone), neither of which needs the
            network, which then stays untrained, or some of them joined by `+`, in that
            order: their sum in standard deviations.
        feature_transform: `"standardise"`, `"quantile"` (normal scores) or `"blend"`,
            the mean of the two where tails are heavy; see `layers.TableEncoder`.
        hidden: widths of the energy network's layers.
        dropout: float in [0, 1).
        num_components: int >= 1, of a fit of the mixture, of which there are five; no
            more than one for every 20 rows. Twice and four times as many are taken
            where other rows are likelier under them; see `mixtures.select_mixture`.
        steps: int, steps of training, each of `batch_size` rows.
        batch_size: int.
        learning_rate: float, of Adam.
        random_state: int, RandomState or None.
        verbose: as Keras's `fit`.
        run_eagerly: bool, without a graph: quick to start, slow to run.

    Attributes:
        detector_: the `keras_ebm.ood.Detector`; `keras_ebm.serving` takes it.
        target_fpr_: float, the rate that is kept.
        offset_: float, the threshold on `score_samples`.
        n_features_in_: int.
        feature_names_in_: `(n_features_in_,)`, of a frame whose names are all str.
        schema_: `keras_ebm.data.TableSchema` of a frame with words; else None.

    Example:

    >>> from sklearn.datasets import load_iris
    >>> x = load_iris().data
    >>> detector = EnergyOutlierDetector(target_fpr=0.1, random_state=0).fit(x)
    >>> detector.predict([[50.0, 1.0, 1.0, 1.0]])
    array([-1])
    """

    def __init__(
        self,
        target_fpr: float | None = None,
        *,
        calibration_share: float | None = None,
        ood_score: str = "energy+nearest",
        feature_transform: str = "blend",
        hidden: Sequence[int] = (256, 256, 256),
        dropout: float = 0.3,
        num_components: int = 10,
        steps: int = 1500,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        run_eagerly: bool = False,
    ):
        self.target_fpr = target_fpr
        self.calibration_share = calibration_share
        self.ood_score = ood_score
        self.feature_transform = feature_transform
        self.hidden = hidden
        self.dropout = dropout
        self.num_components = num_components
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.verbose = verbose
        self.run_eagerly = run_eagerly

    def fit(self, X, y=None):
        """Trains on normal rows `(n, columns)`, or a frame; `y` is not looked at.

        Raises:
            ValueError: if a parameter breaks its rule, all rows are the same, or the
                rate needs more calibration rows.
        """
        self._check()
        X = self._rows(X, ensure_min_samples=2)
        if not (X != X[:1]).any():
            raise ValueError(
                "`X` must have rows that differ, to measure how far others are. "
                f"Received: {len(X)} rows of the same cells."
            )
        seed = self._draw_seed()
        train, scale, calibration = self._split(X, seed)
        if self.schema_ is not None:
            self.schema_, (train, scale, calibration) = training.without_unseen(
                self.schema_, train, scale, calibration
            )
        with training.seeded(seed):
            encoder = training.build_encoder(
                train, self.feature_transform, schema=self.schema_
            )
            model = self._train(encoder, train, scale, seed)
        if self.ood_score in ("nearest", "mixture"):
            train = np.concatenate([scale, train])  # No network has to have seen them.
        self.detector_ = Detector.calibrate(
            model,
            calibration,
            score=self.ood_score,
            target_fpr=self.target_fpr_,
            train=(train, None),
            validation=(scale, None),
            # Its mixture's energy grows far away by itself, and keeps an order there.
            guard=False,
        )
        self.offset_ = -float(
            np.asarray(self.detector_.conformal.threshold(self.target_fpr_))
        )
        return self

    def _train(self, encoder, train, held_out, seed) -> EnergyModel:
        """The energy of the mixture and, if it is asked for, what a network adds."""
        rows, others = (encoder(part).numpy() for part in (train, held_out))
        mixture = select_mixture(rows, others, self.num_components)
        network = training.build_network(encoder, 1, self, initial_gain=1 / 3)
        # The energy starts as the mixture's.
        logits = network.get_layer("logits")
        logits.set_weights([np.zeros_like(w) for w in logits.get_weights()])
        ratio = training.build_model(
            encoder,
            network,
            self,
            with_generator=False,
            seed=seed,
            objective="logistic",
            negatives=MixtureSamples(mixture),
        )
        if "energy" in self.ood_score:
            labels = np.full(len(train), -1)
            optimizer = training.decaying_adam(self)
            training.train(ratio, optimizer, train, labels, self, seed)
        return EnergyModel(with_mixture_base(network, mixture), preprocessor=encoder)

    def _check(self):
        for name in ("target_fpr", "calibration_share"):
            if getattr(self, name) is not None:
                check_share(name, getattr(self, name))
        check_choice("ood_score", self.ood_score, SCORES)
        check_size("steps", self.steps)
        check_size("batch_size", self.batch_size)
        check_positive("learning_rate", self.learning_rate)
        check_size("num_components", self.num_components)

    def _split(self, X, seed):
        """Rows to train on, to choose and scale by, and to calibrate with."""
        rows = X[np.random.default_rng(seed).permutation(len(X))]
        count = self._calibration_count(len(X))
        calibration, rows = rows[:count], rows[count:]
        count = max(2, len(rows) // 10)
        if len(rows) <= count:
            raise ValueError(
                "`calibration_share` must leave rows to train on. Received: "
                f"n_samples = {len(X)}, calibration_share={self.calibration_share}."
            )
        return rows[count:], rows[:count], calibration

    def _calibration_count(self, num_rows: int) -> int:
        """Rows that set the threshold, and in `target_fpr_` the rate they keep.

        Settings that are None give way where `num_rows` are few: first the share, up to
        a half, then the rate.
        """
        rate = DEFAULT_RATE if self.target_fpr is None else self.target_fpr
        needed = rows_needed(rate)
        share = self.calibration_share
        count = round((DEFAULT_SHARE if share is None else share) * num_rows)
        if count < needed and share is None:
            # Two rows are left to train on, and two to scale by.
            most = min(num_rows // 2, num_rows - 4)
            if most > count and (most >= needed or self.target_fpr is None):
                count = min(needed, most)
                self._tell("calibration_share", f"{count / num_rows:.3g}", num_rows)
        if count < needed and self.target_fpr is None and count > 0:
            rate = 1.0 / (count + 1)
            needed = count
            self._tell("target_fpr", f"{rate:.3g}", num_rows)
        if count < needed:
            raise ValueError(
                f"`target_fpr` {rate} needs {needed} calibration rows. Received: "
                f"n_samples = {num_rows}, of which calibration_share={share} leaves "
                f"{count}; raise one of the three."
            )
        self.target_fpr_ = rate
        return count

    def _tell(self, name: str, value: str, num_rows: int) -> None:
        warnings.warn(
            f"`{name}` is {value}, as there are only {num_rows} rows",
            stacklevel=5,
        )

    def score_samples(self, X: np.ndarray):
        """Minus the score, `(n,)`: higher is more like the rows of `fit`."""
        rows = self.encode(X)
        padded = training.padded(rows)
        decision = self.detector_.predict(padded, training.PREDICTION_BATCH)
        return -decision["ood_score"][: len(rows)].astype(np.float64)

    def _encoder(self):
        return self.detector_.model.preprocessor

    def decision_function(self, X: np.ndarray):
        """`score_samples` over the threshold, `(n,)`: below 0 is an outlier."""
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """1 for rows that pass as normal, -1 for outliers, `(n,)`."""
        return np.where(self.decision_function(X) >= 0, 1, -1)
