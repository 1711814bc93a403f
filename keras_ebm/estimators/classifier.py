"""A classifier that also knows how likely its inputs are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_ebm.arguments import check_choice, check_positive, check_size
from keras_ebm.data import label_rule
from keras_ebm.estimators import class_shares, few_labels, training
from keras_ebm.estimators.few_labels import choose_transform
from keras_ebm.estimators.pseudo_labels import PSEUDO_LABELS, pseudo_labels
from keras_ebm.estimators.sklearn_base import (
    BaseEstimator,
    ClassifierMixin,
    column_or_1d,
)
from keras_ebm.layers.category_codes import CATEGORIES
from keras_ebm.layers.table_statistics import TRANSFORMS
from keras_ebm.objectives import SemiSupervised

#: What each method asks of the rows without labels, beside the cross-entropy.
METHODS = {
    "supervised": (),
    "gradient_penalty": ("penalty",),
    "entropy": ("entropy",),
    "pseudo_label": ("pseudo_label",),
    "vat": ("vat",),
    "vera": ("generator", "penalty"),
    "vera+vat": ("generator", "penalty", "vat"),
}
#: Of what the classes are taken to be as common as.
CLASS_SHARES = ("estimated", "labelled")


class EnergyClassifier(training.TakesGaps, ClassifierMixin, BaseEstimator):
    """A joint energy model of a table, trained against a generator (VERA).

    Rows of a table, of which few need labels: **a label of -1 means "unlabelled"**,
    as everywhere in scikit-learn's semi-supervised estimators, but where labels are
    1 and -1 and nothing else. None, NaN, pandas's NA, and among words `"-1"`, `"NA"`
    and the like say the same; see `keras_ebm.data.label_rule`. Missing cells are NaN,
    in any feature and at any time; they become the feature's mean, with an indicator
    beside it if some were missing in `fit`.

    Rows are an array of numbers, or a pandas frame that may hold words, categories,
    booleans and missing cells (NaN, None, NA). What a frame's columns are is found out
    by the rules for csv files (`keras_ebm.data.read_csv`, with its notices and
    refusals), columns of one value in 99.9 % of the rows are dropped with a
    `UserWarning`, and a word that `fit` did not see is unknown. Another frame must have
    the same columns in the same order. A frame of numbers alone is taken as an array.

    Args:
        method: of `METHODS`; `"vera"` trains `p(x)` besides `p(y|x)`, and only with
            a `"vera"` method is `score_samples` a log-density. The others are there
            to be compared with.
        feature_transform: `"quantile"` (normal scores), `"standardise"`, `"blend"`, or
            `"auto"`: where some rows have no label, of the first two the one that
            `keras_ebm.estimators.few_labels.choose_transform` finds better by those
            that have one; else the first.
        categories: what a word of a frame becomes: `"one_hot"`, or a short vector by
            `"embedding"` or `"hashing"`; see `keras_ebm.layers.TableEncoder`.
        hidden: widths of the energy network's layers.
        dropout: float in [0, 1).
        initial_gain: float > 0; the network's weights start with variance
            `initial_gain / fan_in`.
        energy_weight: float > 0, beside a cross-entropy of weight 1.
        gradient_penalty: float >= 0, over `energy_weight`.
        entropy_weight: float >= 0, of the generator's entropy.
        latent_dim: int, latents of the generator; None: the number of entries,
            16 at most.
        generator_hidden: widths of its layers.
        steps: int, steps of training, each of `batch_size` rows.
        class_shares: `"labelled"`: classes are answered as common as among the labels.
            `"estimated"`: where some rows have no label, as common as they seem among
            these, see `ClassShares`; the energies stay. It gains where nearly all rows
            are of one class, and costs accuracy where classes are even.
        pseudo_labels: `"none"`; `"label_spreading"`: where some rows have no label, the
            classifier is trained on the one that spreads to them over a graph of
            neighbours too, see `PseudoLabels`, and as much on the true ones; or
            `"auto"`: only where labelled rows that are left out are answered better so
            than by a kernel classifier.
        batch_size: int; half of them are labelled where some rows are not.
        learning_rate: float, of Adam.
        ramp_steps: int, steps over which all but the cross-entropy rises from 0.
        random_state: int, RandomState or None.
        verbose: as Keras's `fit`.
        run_eagerly: bool, without a graph: quick to start, slow to run.

    Attributes:
        classes_: `(K,)`, the classes, -1 not among them.
        model_: the `EnergyModel`; `keras_ebm.ood.Detector` and
            `keras_ebm.serving` take it.
        n_features_in_: int.
        feature_names_in_: `(n_features_in_,)`, of a frame whose names are all str.
        feature_transform_: str, the one that was taken.
        class_shares_: `ClassShares`; None where they were not estimated.
        pseudo_labels_: `PseudoLabels`; None where there were none.
        schema_: `keras_ebm.data.TableSchema` of a frame with words; else None.

    Example:

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> few = np.where(np.arange(150) % 10 == 0, y, -1)
    >>> classifier = EnergyClassifier(random_state=0).fit(x, few)
    >>> classifier.predict_proba(x).shape
    (150, 3)

    References:
        - Grathwohl et al. (2021), https://arxiv.org/abs/2010.04230, section 5.3.
    """

    def __init__(
        self,
        method: str = "vera",
        *,
        feature_transform: str = "auto",
        categories: str = "one_hot",
        hidden: Sequence[int] = (256, 256, 256),
        dropout: float = 0.3,
        initial_gain: float = 1 / 3,
        energy_weight: float = 0.1,
        gradient_penalty: float = 0.1,
        entropy_weight: float = 1.0,
        latent_dim: int | None = None,
        generator_hidden: Sequence[int] = (128, 128),
        steps: int = 2400,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        ramp_steps: int = 100,
        class_shares: str = "labelled",
        pseudo_labels: str = "none",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        run_eagerly: bool = False,
    ):
        self.method = method
        self.feature_transform = feature_transform
        self.categories = categories
        self.hidden = hidden
        self.dropout = dropout
        self.initial_gain = initial_gain
        self.energy_weight = energy_weight
        self.gradient_penalty = gradient_penalty
        self.entropy_weight = entropy_weight
        self.latent_dim = latent_dim
        self.generator_hidden = generator_hidden
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.ramp_steps = ramp_steps
        self.class_shares = class_shares
        self.pseudo_labels = pseudo_labels
        self.random_state = random_state
        self.verbose = verbose
        self.run_eagerly = run_eagerly

    def fit(self, X, y):
        """Trains on rows `(n, columns)`, or a frame, and labels `(n,)`, -1 for none.

        Raises:
            ValueError: if a parameter breaks its rule, rows are infinite, labels are
                fractions or of several kinds, or fewer than two classes have labels.
        """
        check_choice("method", self.method, METHODS)
        transforms = ("auto", *TRANSFORMS)
        check_choice("feature_transform", self.feature_transform, transforms)
        check_choice("class_shares", self.class_shares, CLASS_SHARES)
        check_choice("categories", self.categories, CATEGORIES)
        check_choice("pseudo_labels", self.pseudo_labels, PSEUDO_LABELS)
        check_size("steps", self.steps)
        check_size("batch_size", self.batch_size)
        check_positive("learning_rate", self.learning_rate)
        if y is None:
            self._rows(X, y)
        classes, codes = self._codes(y)
        X, codes = self._rows(X, codes)
        self.classes_ = classes
        seed = self._draw_seed()
        self.feature_transform_ = self._transform(X, codes)
        with training.seeded(seed):
            encoder = training.build_encoder(
                X,
                self.feature_transform_,
                bounded=True,
                schema=self.schema_,
                drop_constant=self.schema_ is not None,
                categories=self.categories,
            )
            network = training.build_network(
                encoder, len(self.classes_), self, self.initial_gain
            )
            self.model_ = training.build_model(
                encoder,
                network,
                self,
                with_generator="generator" in METHODS[self.method],
                seed=seed,
                class_names=self._class_names(),
                **self._losses(encoder.num_entries),
            )
            optimizer = training.averaging_adam(self)
            self.pseudo_labels_ = self._pseudo_labels(X, codes)
            found = self.pseudo_labels_
            guessed = None if found is None else found.labels
            training.train(self.model_, optimizer, X, codes, self, seed, guessed)
        self.class_shares_ = None
        if self.class_shares == "estimated" and (codes < 0).any():
            self._estimate_shares(X, codes)
        return self

    def _transform(self, X, codes) -> str:
        if self.feature_transform != "auto":
            return self.feature_transform
        few = (codes < 0).any()
        return choose_transform(X, codes, self.schema_) if few else "quantile"

    def _pseudo_labels(self, X, codes):
        if self.pseudo_labels == "none":
            return None
        entries = training.entries_of(self.model_, X)
        return pseudo_labels(self.pseudo_labels, entries, codes)

    def _estimate_shares(self, X, codes):
        """Has the model answer by the shares of the classes among unlabelled rows."""
        parts = [np.flatnonzero(codes >= 0), np.flatnonzero(codes < 0)]
        parts[1] = parts[1][few_labels.evenly(len(parts[1]), class_shares.MOST_ROWS)]
        rows = np.concatenate(parts)
        self.class_shares_ = class_shares.ClassShares.estimate(
            training.logits_of(self.model_, X[rows]),
            np.asarray(self.model_.preprocess(X[rows])),
            codes[rows],
        )
        self.model_.class_offsets = self.class_shares_.offsets

    def _class_names(self):
        """Names to serve beside named columns; arrays are served with numbers."""
        if self.schema_ is None:
            return None
        return [str(name) for name in self.classes_.tolist()]

    @staticmethod
    def _codes(y):
        """The classes, and each row's place among them or -1."""
        classes, codes = label_rule.encode(_one_dimensional(y))
        if len(classes) < 2:
            found = f"one class, {classes[0]!r}" if len(classes) else "no label"
            raise ValueError(
                f"`y` must have labels of two classes or more. Received: {found} (-1 "
                "beside others than 1 means unlabelled); for a density of rows take "
                "EnergyOutlierDetector."
            )
        return classes, codes

    def _losses(self, num_entries):
        terms = METHODS[self.method]
        penalised = "penalty" in terms
        arguments = {
            "energy_weight": self.energy_weight if penalised else 0.0,
            "gradient_penalty": self.gradient_penalty if penalised else 0.0,
            "conditional_entropy_weight": 0.1 if "entropy" in terms else 0.0,
            "ramp_steps": self.ramp_steps,
        }
        if "vat" in terms or "pseudo_label" in terms:
            arguments["semi_supervised"] = SemiSupervised(
                pseudo_label_weight=1.0 if "pseudo_label" in terms else 0.0,
                virtual_adversarial_weight=0.3 if "vat" in terms else 0.0,
                radius=0.1 * float(np.sqrt(num_entries)),
            )
        return arguments

    def _logits(self, X):
        rows = self.encode(X)
        return training.logits_of(self.model_, rows)

    def _answers(self, X) -> np.ndarray:
        """Logits with the model's `class_offsets`."""
        logits = self._logits(X)  # Which says it where there was no fit.
        return self.model_.offset(logits).numpy()

    def _encoder(self):
        return self.model_.preprocessor

    def predict(self, X):
        """The likeliest class of each row, `(n,)`."""
        likeliest = np.argmax(self._answers(X), axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: np.ndarray):
        """`p(y|x)` of each row, `(n, K)`."""
        logits = self._logits(X).astype(np.float64)
        return self.model_.to_probabilities(logits).numpy()

    def decision_function(self, X: np.ndarray):
        """Logits `(n, K)`, or with two classes their difference `(n,)`.

        With the model's `class_offsets`: the class is the largest, or the sign.
        """
        logits = self._answers(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def score_samples(self, X: np.ndarray):
        """`log p(x)` up to a constant, `(n,)` nats: higher is more like training."""
        logits = self._logits(X)
        largest = logits.max(axis=1)
        return largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))


def _one_dimensional(y) -> np.ndarray:
    labels = np.asarray(y)
    # Warns of a column, and refuses what has more.
    return labels if labels.ndim == 1 else column_or_1d(labels, warn=True)
