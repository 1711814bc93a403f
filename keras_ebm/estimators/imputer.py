"""Fills the missing cells of tables by what an energy finds likely."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive, check_size
from keras_ebm.estimators import training
from keras_ebm.estimators.sklearn_base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    check_is_fitted,
    check_random_state,
    validate_data,
)
from keras_ebm.gapped_mixture import GappedMixture, fit_gapped_mixture
from keras_ebm.layers import with_mixture_base
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import MixtureSamples
from keras_ebm.networks import mlp_energy
from keras_ebm.random import StepRandom
from keras_ebm.samplers import Region, langevin

STRATEGIES = ("mean", "draw", "descent")
#: Components that are tried where their number is not given, with so many rows for
#: each, and so many numbers in the matrices of a step, which take about 3 ns each.
COUNTS, ROWS_A_COMPONENT, NUMBERS = (1, 4, 12), 30, 1e9
#: Added to the variances, in mean variances.
RIDGE = 1e-2
#: Shares of the learnt log-ratio that are tried on hidden cells.
RATIO_WEIGHTS = (0.0, 0.5, 1.0)
#: Share of the known cells that is hidden for that.
HIDDEN = 0.2


class EnergyImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fills missing cells of tables of numbers, by an energy that it learns of them.

    The energy is `-log q(x) - a r(x)`: `q` a mixture of Gaussians, fitted to the known
    cells by expectation maximisation, and `r` the log-ratio that a network learns, by
    telling rows from samples of the mixture (noise contrastive estimation). No row need
    be complete. The number of components is the one that makes the known cells of a
    tenth of the rows likeliest, and `a` of 0, 1/2 and 1 the one that best finds cells
    of theirs that are hidden; both are fitted to the other rows.

    Cells are supposed to be missing for no reason that they themselves would tell.

    Args:
        strategy: what a missing cell becomes. `"mean"`: its mean given the row's known
            cells, the best guess by squared error. `"draw"`: one draw of what it may
            be, for a spread that is right on the whole (multiple imputation).
            `"descent"`: where the energy is least in reach of the mean.
        num_components: int >= 1 of the mixture, or None to choose it; fewer are tried
            where there are many columns, as each takes long.
        hidden: widths of the network of `r`.
        dropout: float in [0, 1), of its layers.
        steps: int >= 0, of its training; 0 leaves the mixture alone.
        batch_size: int >= 1.
        learning_rate: float > 0, of Adam.
        num_draws: int >= 1, draws of a row's missing cells that are weighed by `r`.
        descent_steps: int >= 1, of `"descent"`.
        random_state: int, RandomState or None.
        verbose: as Keras's `fit`.

    Attributes:
        model_: `EnergyModel` of standardised rows, with the chosen `a`.
        mixture_: `keras_ebm.gapped_mixture.GappedMixture` of standardised rows.
        ratio_weight_: float, `a`.
        center_: `(n_features_in_,)`, means of the known cells.
        scale_: `(n_features_in_,)`, their standard deviations; 1 of a constant.
        n_features_in_: int.
        feature_names_in_: `(n_features_in_,)`, of a frame whose names are all str.

    Example:

    >>> x = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, np.nan]] * 20)
    >>> EnergyImputer(steps=0).fit_transform(x)[3].round(1)
    array([4., 8.])

    References:
        - Ghahramani and Jordan (1994), "Supervised learning from incomplete data via
          an EM approach".
        - Gutmann and Hyvarinen (2010), "Noise-contrastive estimation".
    """

    def __init__(
        self,
        strategy: str = "mean",
        *,
        num_components: int | None = None,
        hidden: Sequence[int] = (128, 128),
        dropout: float = 0.2,
        steps: int = 500,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        num_draws: int = 32,
        descent_steps: int = 50,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.strategy = strategy
        self.num_components = num_components
        self.hidden = hidden
        self.dropout = dropout
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.num_draws = num_draws
        self.descent_steps = descent_steps
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Learns the energy of rows `(n, columns)`, NaN where a cell is missing.

        Raises:
            ValueError: if a parameter breaks its rule, cells are infinite or no
                numbers, or a column has no known cell.
        """
        self._check()
        X = self._rows(X, ensure_min_samples=2)
        empty = np.isnan(X).all(axis=0)
        if empty.any():
            raise ValueError(
                "`X` must have a known cell in every column. Received: none in column "
                f"{int(np.argmax(empty))} (counted from 0); leave that column out."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._seed = seed
        self.center_, self.scale_ = _scaling(X)
        x = (X - self.center_) / self.scale_
        train, held_out = _parted(x, seed)
        self.mixture_ = self._mixture(train, held_out, seed)
        with training.seeded(seed):
            self._learn_ratio(train, held_out, seed)
        return self

    def _check(self) -> None:
        check_choice("strategy", self.strategy, STRATEGIES)
        for name in ("batch_size", "num_draws", "descent_steps"):
            check_size(name, getattr(self, name))
        if self.num_components is not None:
            check_size("num_components", self.num_components)
        check_positive("learning_rate", self.learning_rate)
        if not isinstance(self.steps, numbers.Integral) or self.steps < 0:
            raise ValueError(
                "`steps` must be an integer of at least 0. Received: steps="
                f"{self.steps!r}."
            )

    def _rows(self, X, **options) -> np.ndarray:
        return validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", **options
        )

    def _mixture(self, train, held_out, seed) -> GappedMixture:
        """The mixture that known cells of other rows are likeliest under."""
        rows, dim = train.shape
        most = min(rows / ROWS_A_COMPONENT, NUMBERS / (rows * dim**3))
        counts = [n for n in COUNTS if n == 1 or n <= most]
        if self.num_components is not None:
            counts = [self.num_components]
        found: Any = None
        best = -np.inf
        for count in counts:
            mixture = fit_gapped_mixture(train, count, RIDGE, seed)
            likelihood = float(mixture.log_density(held_out).mean())
            if found is not None and likelihood < best:
                break  # More components do not help where these did not.
            found, best = mixture, likelihood
        return found

    def _learn_ratio(self, train, held_out, seed) -> None:
        """The network of `r`, and the share of it that finds hidden cells best."""
        network = mlp_energy(
            (train.shape[1],),
            hidden=tuple(self.hidden),
            dropout=self.dropout,
            initial_gain=1 / 3,
        )
        last = network.get_layer("logits")
        last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
        self._ratio, self.ratio_weight_ = network, 0.0
        if self.steps:
            self._train(network, train, seed)
            self.ratio_weight_ = self._best_weight(held_out, seed)
        last.set_weights([self.ratio_weight_ * w for w in last.get_weights()])
        mixture = self.mixture_.as_mixture()
        self.model_ = EnergyModel(with_mixture_base(network, mixture), seed=seed)

    def _train(self, network, train, seed) -> None:
        filled = self.mixture_.draws(train, 1, np.random.default_rng(seed))[0]
        source = MixtureSamples(self.mixture_.as_mixture())
        model = EnergyModel(network, objective="logistic", negatives=source, seed=seed)
        model.compile(training.decaying_adam(self))
        rows = tf.data.Dataset.from_tensor_slices(filled.astype(np.float32))
        batches = rows.shuffle(len(filled), seed=seed).repeat()
        batches = batches.batch(min(self.batch_size, len(filled)), drop_remainder=True)
        model.fit(
            batches, steps_per_epoch=self.steps, shuffle=False, verbose=self.verbose
        )
        training.check_finite(model)

    def _best_weight(self, held_out, seed) -> float:
        """Of `RATIO_WEIGHTS` the one by which hidden cells of other rows are found."""
        random = np.random.default_rng(seed)
        hidden = (random.random(held_out.shape) < HIDDEN) & ~np.isnan(held_out)
        if not hidden.any():
            return 0.0
        gaps = np.where(hidden, np.nan, held_out)
        errors = [
            np.square(self._means(gaps, weight, seed) - held_out)[hidden].mean()
            for weight in RATIO_WEIGHTS
        ]
        return RATIO_WEIGHTS[int(np.argmin(errors))]

    def transform(self, X: np.ndarray):
        """Rows `(n, columns)` of `fit`'s columns, with every cell filled.

        Known cells stay as they are.

        Raises:
            ValueError: if columns are not those of `fit`, or cells infinite.
        """
        check_is_fitted(self)
        X = self._rows(X, reset=False)
        x = (X - self.center_) / self.scale_
        missing = np.isnan(x)
        rows = missing.any(axis=1)
        filled = X.copy()
        if rows.any():
            found = self._filled(x[rows]) * self.scale_ + self.center_
            filled[rows] = np.where(missing[rows], found, X[rows])
        return filled

    def _filled(self, x):
        if self.strategy == "mean":
            return self._means(x, 1.0, self._seed)
        if self.strategy == "draw":
            draws, weights = self._weighed(x, 1.0, self._seed)
            random = np.random.default_rng([self._seed, 1])
            edges = weights.cumsum(axis=0)
            chosen = (random.random(len(x)) > edges).sum(axis=0)
            chosen = np.minimum(chosen, self.num_draws - 1)
            return draws[chosen, np.arange(len(x))]
        return self._descended(x)

    def _means(self, x, weight, seed):
        """Means of the missing cells, by the mixture and so much of the ratio.

        What the ratio changes is measured on the same draws with and without it, and
        added to the mixture's exact mean.
        """
        exact = self.mixture_.mean(x)
        if not self.steps or not weight:
            return exact
        draws, weights = self._weighed(x, weight, seed)
        return exact + (weights[..., None] * draws).sum(axis=0) - draws.mean(axis=0)

    def _weighed(self, x, weight, seed):
        """Draws `(num_draws, n, columns)` of the mixture, and weights of sum 1."""
        random = np.random.default_rng(seed)
        draws = self.mixture_.draws(x, self.num_draws, random)
        flat = draws.reshape(-1, x.shape[1]).astype(np.float32)
        ratios = np.concatenate(
            [
                self._ratio(flat[first : first + 4_096], training=False)
                for first in range(0, len(flat), 4_096)
            ]
        )
        logs = weight * ratios.reshape(draws.shape[:2]).astype(np.float64)
        shares = np.exp(logs - logs.max(axis=0))
        return draws, shares / shares.sum(axis=0)

    def _descended(self, x):
        """Where descents of the energy end, known cells held."""
        start = tf.constant(self.mixture_.mean(x), tf.float32)
        # No component is narrower than this, so that no step overshoots.
        narrowest = np.linalg.eigvalsh(self.mixture_.covariances).min()
        state, _ = langevin(
            self.model_.inputs_energy,
            start,
            num_steps=self.descent_steps,
            step_size=0.5 * float(narrowest),
            noise_stddev=0.0,
            random=StepRandom(self._seed, 0),
            region=Region(start=start, fixed=tf.constant(~np.isnan(x))),
        )
        return state.x.numpy().astype(np.float64)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _scaling(X) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of known cells; 1 where all are the same."""
    scale = np.nanstd(X, axis=0)
    return np.nanmean(X, axis=0), np.where(scale > 0, scale, 1.0)


def _parted(x, seed) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit to, and a tenth to choose by, which are the same where they are few.

    A column without a known cell among the first keeps all rows together.
    """
    rows = x[np.random.default_rng(seed).permutation(len(x))]
    count = len(rows) // 10
    train, held_out = rows[count:], rows[:count]
    if not count or np.isnan(train).all(axis=0).any():
        return rows, rows
    return train, held_out
