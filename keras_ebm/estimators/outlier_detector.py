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
from keras_ebm.mixtures import Mixture, fit_mixture, select_mixture
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import MixtureSamples
from keras_ebm.networks import mlp_energy
from keras_ebm.ood import (
    CrossConformalDetector,
    Detector,
    Energy,
    FoldScore,
    Nearest,
    Score,
    SumScore,
)
from keras_ebm.ood import Mixture as MixtureScore
from keras_ebm.ood.conformal_rates import rows_needed
from keras_ebm.ood.fold_score import FEWEST_ROWS, MOST_ROWS, deal, fold_size

#: What None stands for where there are rows enough.
DEFAULT_RATE, DEFAULT_SHARE = 0.05, 0.2
#: Fewer have a model for each fold, unless a fifth of them has this many times the
#: rows that the rate needs: one row alone would set the threshold.
FEW_ROWS, ENOUGH = 190, 2
#: Without a network, which on most tables adds nothing to it.
DEFAULT_SCORE = "nearest+mixture"
PARTS = ("energy", "nearest", "mixture")
SCORES = tuple(
    "+".join(parts)
    for count in range(1, len(PARTS) + 1)
    for parts in itertools.combinations(PARTS, count)
)


class EnergyOutlierDetector(training.TakesGaps, OutlierMixin, BaseEstimator):
    """Learns what normal rows are like, and refuses others at a stated rate.

    A mixture of Gaussians is fitted to the rows. A row's score is its distance in the
    mixture and to the nearest row, each in standard deviations. No network is trained:
    10,000 rows of nine columns take two seconds of a core.

    An `ood_score` with `"energy"` in it has a network learn, besides, to tell rows from
    samples of the mixture. The energy is minus the sum of the mixture's log-density and
    the network's log-ratio, in nats (noise contrastive estimation, see
    `layers.MixtureBase`); `explain.Explainer` explains it. As a part of the score it
    takes half a minute and seldom pays. Mean AUROC, without it and with it in place of
    the mixture: 94.7 and 94.6 % on eight public sets (`benchmarks.anomaly`, five
    seeds), on no set .3 higher with it; 81.9 and 82.6 % on sixteen others
    (`anomaly_keel_fast` and `anomaly_keel` there, three seeds), which is 68.5 against
    80.2 on poker, whose cells are few whole numbers, .9 and .6 more on two tables of
    wines, and .1 less on the mean of the other thirteen.

    **The rate.** A fifth of the rows is kept from everything else, for the threshold
    (split conformal prediction), and a tenth of the others chooses the mixture and puts
    the scores on one scale. For rows exchangeable with those of `fit` the expected
    share refused is at most `target_fpr`.

    **Few rows**, less than 188 for a rate of .05, are all fitted, and each is scored by
    a model of the others (cross-conformal prediction), so that a rate `a` needs
    `1 / a - 1` rows in all. The expected share refused is then about `a` where some
    rows more or less change the model little, and whatever the rows and the model at
    most `false_alarm_bound_`, two or three times `a`: `(2 (r - 1) + m) / (n + m)` for
    `r = floor(a (n + 1))` and `n` rows in folds of `m`, see
    `ood.CrossConformalDetector` for the proof. The score is then a rank among the rows
    of `fit`, see `ood.FoldScore`, and the folds' models, twenty or more, are all kept
    and served.

    Rows are an array of numbers, or a pandas frame that may hold words, categories,
    booleans and missing cells (NaN, None, NA). What a frame's columns are is found out
    by the rules for csv files (`keras_ebm.data.read_csv`, with its notices and
    refusals). A word that no training row has is unknown, among the rows that are kept
    from training too. Another frame must have the same columns in the same order. A
    frame of numbers alone is taken as an array.

    Args:
        target_fpr: float in (0, 1), share of normal rows that may be refused. None:
            0.05, or the smallest that few rows can keep, which a `UserWarning` then
            names.
        calibration_share: float in (0, 1), share of rows that set the threshold;
            `1 / target_fpr - 1` rows at least. None: 0.2, or, of few rows that are
            split, what the rate needs, half of them at most, and a `UserWarning`.
        ood_score: `"energy"`, `"nearest"` (distance to the nearest training row),
            `"mixture"` (distance in the mixture alone), neither of which needs the
            network, which then is left out, or some of them joined by `+`, in that
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
        calibration: `"split"` keeps rows back for the threshold. `"cross"` scores each
            of at most 500 rows by a model of the others; it takes no `"energy"`, as it
            would train a network for each fold, and no `calibration_share`. `"auto"`:
            the second, which a `UserWarning` tells, of fewer than 190 rows, without
            either of the two, a fifth of which has less than twice the rows that the
            rate needs.
        random_state: int, RandomState or None.
        verbose: as Keras's `fit`.
        run_eagerly: bool, without a graph: quick to start, slow to run.

    Attributes:
        detector_: the `keras_ebm.ood.Detector`; `keras_ebm.serving` takes it.
        target_fpr_: float, the rate that is kept.
        false_alarm_bound_: float, the largest probability, whatever the distribution
            of the rows, that a new normal row is refused.
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
        ood_score: str = DEFAULT_SCORE,
        feature_transform: str = "blend",
        hidden: Sequence[int] = (256, 256, 256),
        dropout: float = 0.3,
        num_components: int = 10,
        steps: int = 1500,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        calibration: str = "auto",
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
        self.calibration = calibration
        self.random_state = random_state
        self.verbose = verbose
        self.run_eagerly = run_eagerly

    def fit(self, X, y=None):
        """Learns of normal rows `(n, columns)`, or a frame; `y` is not looked at.

        Raises:
            ValueError: if a parameter breaks its rule, all rows are the same, or the
                rate needs more rows.
        """
        self._check()
        X = self._rows(X, ensure_min_samples=2)
        if not (X != X[:1]).any():
            raise ValueError(
                "`X` must have rows that differ, to measure how far others are. "
                f"Received: {len(X)} rows of the same cells."
            )
        seed = self._draw_seed()
        rows = X[np.random.default_rng(seed).permutation(len(X))]
        fit = self._fit_folds if self._crosses(len(X)) else self._fit_split
        self.detector_ = fit(rows, seed)
        conformal = self.detector_.conformal
        self.false_alarm_bound_ = conformal.most_refused(self.target_fpr_)
        self.offset_ = -float(np.asarray(conformal.threshold(self.target_fpr_)))
        return self

    def _fit_split(self, rows, seed) -> Detector:
        """Rows that set the threshold are kept from all else."""
        train, scale, calibration = self._split(rows)
        if self.schema_ is not None:
            self.schema_, (train, scale, calibration) = training.without_unseen(
                self.schema_, train, scale, calibration
            )
        with training.seeded(seed):
            encoder = training.build_encoder(
                train, self.feature_transform, schema=self.schema_
            )
            mixture = select_mixture(
                encoder(train).numpy(), encoder(scale).numpy(), self.num_components
            )
            model = self._build(encoder, mixture, train, seed)
        if self.ood_score in ("nearest", "mixture"):
            train = np.concatenate([scale, train])  # No network has to have seen them.
        return Detector.calibrate(
            model,
            calibration,
            score=_score(self.ood_score, mixture),
            target_fpr=self.target_fpr_,
            train=(train, None),
            validation=(scale, None),
            # Its mixture's energy grows far away by itself, and keeps an order there.
            guard=False,
        )

    def _fit_folds(self, rows, seed) -> Detector:
        """Each row is scored by a model that did not see it."""
        with training.seeded(seed):
            encoder = training.build_encoder(
                rows, self.feature_transform, schema=self.schema_
            )
            mixture = fit_mixture(encoder(rows).numpy(), self.num_components)
            model = self._build(encoder, mixture, rows, seed)
        size = fold_size(len(rows), self.target_fpr_)
        score = FoldScore(
            self.ood_score.split("+"), encoder.get_config(), self.num_components, size
        )
        score.fit({"raw": rows})
        conformal = CrossConformalDetector(len(score.arrays["known"]), size)
        return Detector(model, score, conformal, self.target_fpr_)

    def _build(self, encoder, mixture, train, seed) -> EnergyModel:
        """The energy of the mixture and, if it is asked for, what a network adds."""
        network = mlp_energy(
            (encoder.num_entries,),
            hidden=tuple(self.hidden) if self._trains() else (),
            dropout=self.dropout,
            initial_gain=1 / 3,
        )
        # The energy starts as the mixture's.
        logits = network.get_layer("logits")
        logits.set_weights([np.zeros_like(w) for w in logits.get_weights()])
        if self._trains():
            ratio = training.build_model(
                encoder,
                network,
                self,
                with_generator=False,
                seed=seed,
                objective="logistic",
                negatives=MixtureSamples(mixture),
            )
            labels = np.full(len(train), -1)
            optimizer = training.decaying_adam(self)
            training.train(ratio, optimizer, train, labels, self, seed)
        return EnergyModel(with_mixture_base(network, mixture), preprocessor=encoder)

    def _trains(self) -> bool:
        return "energy" in self.ood_score

    def _check(self):
        for name in ("target_fpr", "calibration_share"):
            if getattr(self, name) is not None:
                check_share(name, getattr(self, name))
        check_choice("ood_score", self.ood_score, SCORES)
        check_choice("calibration", self.calibration, ("auto", "split", "cross"))
        self._check_cross()
        check_size("steps", self.steps)
        check_size("batch_size", self.batch_size)
        check_positive("learning_rate", self.learning_rate)
        check_size("num_components", self.num_components)

    def _check_cross(self):
        if self.calibration != "cross":
            return
        if self._trains():
            raise ValueError(
                "`calibration` 'cross' trains no networks, as each of twenty folds or "
                f"more would need one. Received: ood_score={self.ood_score!r}; take "
                f"{DEFAULT_SCORE!r}, or calibration='split'."
            )
        if self.calibration_share is not None:
            raise ValueError(
                "`calibration_share` must be None where `calibration` is 'cross', as "
                f"no rows are kept back. Received: {self.calibration_share}."
            )

    def _crosses(self, num_rows: int) -> bool:
        """Whether each row is to be scored by a model of others; sets the rate."""
        rate = DEFAULT_RATE if self.target_fpr is None else self.target_fpr
        is_small = FEWEST_ROWS <= num_rows < FEW_ROWS
        is_small &= round(DEFAULT_SHARE * num_rows) < ENOUGH * rows_needed(rate)
        may_cross = self.calibration_share is None and not self._trains()
        if self.calibration == "split" or not may_cross:
            return False
        if self.calibration == "auto" and not is_small:
            return False
        size = fold_size(num_rows, rate)
        count = int((deal(num_rows, size) >= 0).sum())
        if count < rows_needed(rate):
            self._require_default(rate, num_rows, count)
            rate = 1.0 / (count + 1)
            self._tell("target_fpr", f"{rate:.3g}", num_rows, 4)
        self.target_fpr_ = rate
        if self.calibration == "auto":
            bound = CrossConformalDetector(count, size).most_refused(rate)
            value = f"'cross', whose `false_alarm_bound_` is {bound:.3g}"
            self._tell("calibration", value, num_rows, 4)
        return True

    def _require_default(self, rate: float, num_rows: int, count: int) -> None:
        if self.target_fpr is None:
            return
        raise ValueError(
            f"`target_fpr` {rate} needs {rows_needed(rate)} rows, each scored by a "
            f"model of the others. Received: n_samples = {num_rows}, of which {count} "
            f"stand in folds of one size; allow {1 / (count + 1):.3g} or more, or pass "
            "more rows."
        )

    def _split(self, rows):
        """Rows to train on, to choose and scale by, and to calibrate with."""
        num_rows = len(rows)
        count = self._calibration_count(num_rows)
        calibration, rows = rows[:count], rows[count:]
        count = max(2, len(rows) // 10)
        if len(rows) <= count:
            raise ValueError(
                "`calibration_share` must leave rows to train on. Received: "
                f"n_samples = {num_rows}, calibration_share={self.calibration_share}."
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
                self._tell("calibration_share", f"{count / num_rows:.3g}", num_rows, 6)
        if count < needed and self.target_fpr is None and count > 0:
            rate = 1.0 / (count + 1)
            needed = count
            self._tell("target_fpr", f"{rate:.3g}", num_rows, 6)
        if count < needed:
            enough = needed <= num_rows <= MOST_ROWS
            none_kept = (
                f", or take calibration='cross' with ood_score={DEFAULT_SCORE!r} and "
                "no calibration_share, which keeps none back"
            )
            raise ValueError(
                f"`target_fpr` {rate} needs {needed} calibration rows. Received: "
                f"n_samples = {num_rows}, of which calibration_share={share} leaves "
                f"{count}; raise one of the three{none_kept if enough else ''}."
            )
        self.target_fpr_ = rate
        return count

    def _tell(self, name: str, value: str, num_rows: int, depth: int) -> None:
        """Warns where `fit` was called, `depth` frames above."""
        warnings.warn(
            f"`{name}` is {value}, as there are only {num_rows} rows",
            stacklevel=depth,
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


def _score(spec: str, mixture: Mixture) -> Score:
    """The score of a name, in the mixture that the energy is built on."""
    made = {"energy": Energy, "nearest": Nearest}
    parts = [
        MixtureScore.of(mixture) if name == "mixture" else made[name]()
        for name in spec.split("+")
    ]
    return parts[0] if len(parts) == 1 else SumScore(*parts)
