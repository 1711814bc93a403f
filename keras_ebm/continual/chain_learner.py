"""An energy a class, each trained by Markov chains on its own rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_share, check_size
from keras_ebm.continual.features import Features, flat_rows
from keras_ebm.continual.learner import Learner
from keras_ebm.models import LangevinModel
from keras_ebm.samplers.importance import effective_share, normalised_weights

#: Draws of the base by which an energy on it is normalised.
DRAWS = 4_096


class ClassGaussian(NamedTuple):
    """A class's Gaussian: `z = (x - mean) @ whitening` is standard normal under it.

    Attributes:
        mean: `(dim,)`.
        whitening: `(dim, dim)`.
        log_det: float, `log |det whitening|`.
    """

    mean: np.ndarray
    whitening: np.ndarray
    log_det: float

    @classmethod
    def of_rows(cls, rows: np.ndarray, ridge: float) -> ClassGaussian:
        """The Gaussian of rows `(n, dim)`, `ridge` mean variances broader."""
        mean = rows.mean(axis=0)
        centred = (rows - mean).astype(np.float64)
        covariance = centred.T @ centred / len(rows)
        level = np.trace(covariance) / len(covariance) or 1.0
        covariance += ridge * level * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        whitening = vectors / np.sqrt(values)
        log_det = -0.5 * float(np.log(values).sum())
        return cls(mean, whitening.astype(np.float32), log_det)

    def whitened(self, rows: np.ndarray) -> np.ndarray:
        """Rows `(n, dim)` as `z`, float32."""
        return ((rows - self.mean) @ self.whitening).astype(np.float32)


class ClassEnergy(NamedTuple):
    """What stays of a class.

    Attributes:
        weights: list of arrays of its network.
        gaussian: `ClassGaussian` whose `z` the network takes; empty without a base.
        log_z: float, nats: `log Z` of `exp(-E(z))`; 0 without a base, where it is not
            known.
        share: float in (0, 1], of the draws that `log_z` rests on, by Kish's effective
            size; 1 without a base.
    """

    weights: list[np.ndarray]
    gaussian: Any
    log_z: float = 0.0
    share: float = 1.0


class ChainLearner(Learner):
    """An energy `E(x, y)` by Markov chains, as in IGEBM, with one network a class.

    A class's network learns from its own rows and its own chains in one pass, and never
    again. All classes start at the same weights and draw the same noise, so that their
    energies differ by what their rows are. The mean of the weights over the last part
    of the pass is kept: single weights swing about, and by more the closer the chains
    come to the data, where energies of all classes are nearly flat.

    Without a base the energies are taken as they are: `energy_l2` holds them near 0,
    and their `log Z` are not known. With one,

        log p(x | y) = log N(x; m_y, S_y) - e_y(z) - log Z_y,   z = W_y (x - m_y)

    chains walk in `z`, where the class's Gaussian is standard normal, and `Z_y` is
    estimated by importance from it.

    Args:
        build: callable from the shape of a row to a compiled `LangevinModel` of one
            output, called once. With a base its network holds the factor
            `exp(-|z|^2 / 2)` (`mlp_energy(..., base_stddev=1.0)`), and its chains start
            from `"normal"`.
        features: callable from rows to what chains walk in.
        base: bool, whether each class's Gaussian is the base.
        ridge: float > 0, added to the variances of the base, in mean variances.
        average_from: float in [0, 1), share of a class's updates after which the mean
            of its weights begins.
        batch_size: int >= 1.
        updates: int >= 0, the most updates a class; 0: as many as it has batches. Rows
            beyond them are not used.
        seed: int, of the draws that normalise.

    Raises:
        ValueError: if `build` gives another model.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, section 4.5.
    """

    def __init__(
        self,
        build: Callable[[tuple[int, ...]], LangevinModel],
        *,
        features: Features = flat_rows,
        base: bool = False,
        ridge: float = 0.03,
        average_from: float = 1 / 3,
        batch_size: int = 64,
        updates: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        self.build = build
        self.features = features
        self.base = bool(base)
        self.ridge = check_positive("ridge", ridge)
        self.average_from = check_share("average_from", average_from, zero_allowed=True)
        self.batch_size = check_size("batch_size", batch_size)
        self.updates = int(check_positive("updates", updates, zero_allowed=True))
        self.seed = seed
        self.energies: list[ClassEnergy] = []
        self.model: Any = None
        self._start: list[np.ndarray] = []

    def learn_task(self, x: np.ndarray, y: np.ndarray) -> None:
        features = self.features(x)
        self._check_sizes(y)
        if self.model is None:
            self._begin(features.shape[1:])
        self.energies.extend(self._fit(features[y == k]) for k in np.unique(y))

    def class_scores(self, x: np.ndarray) -> np.ndarray:
        features = self.features(x)
        return np.stack([self._score(features, e) for e in self.energies], axis=1)

    def kept(self) -> Iterable:
        return [list(energy) for energy in self.energies]

    def _check_sizes(self, y) -> None:
        labels, counts = np.unique(y, return_counts=True)
        few = counts < self.batch_size
        if few.any():
            raise ValueError(
                "`batch_size` must be at most the rows of each class. Received: "
                f"batch_size={self.batch_size} for {counts[few][0]} rows of class "
                f"{labels[few][0]}; lower it, or leave the class out."
            )

    def _begin(self, shape) -> None:
        model = self.build(shape)
        if not isinstance(model, LangevinModel) or model.num_classes != 1:
            raise ValueError(
                "`build` must give a compiled LangevinModel of one output. Received: "
                f"{model!r}."
            )
        if getattr(model, "optimizer", None) is None:
            raise ValueError(
                "`build` must give a compiled model. Received: one without an "
                "optimizer; call model.compile(...) in it."
            )
        self.model = model
        self._start = [keras.ops.convert_to_numpy(v) for v in self._variables()]

    def _variables(self) -> list:
        return [*self.model.network.variables, *self.model.optimizer.variables]

    def _fit(self, rows) -> ClassEnergy:
        gaussian: Any = ()
        if self.base:
            gaussian = ClassGaussian.of_rows(rows, self.ridge)
            rows = gaussian.whitened(rows)
        for variable, value in zip(self._variables(), self._start, strict=True):
            variable.assign(value)
        if self.model.negatives.buffer is not None:
            self.model.negatives.buffer.reset()
        count = len(rows) // self.batch_size
        count = min(count, self.updates) if self.updates else count
        mean = _WeightMean(self.model.network, int(self.average_from * count))
        self.model.fit(
            rows[: count * self.batch_size],
            batch_size=self.batch_size,
            shuffle=False,
            verbose=0,
            callbacks=[mean],
        )
        self.model.network.set_weights(mean.weights)
        if not self.base:
            return ClassEnergy(mean.weights, gaussian)
        return ClassEnergy(mean.weights, gaussian, *self._normalise(rows.shape[1]))

    def _normalise(self, dim: int) -> tuple[float, float]:
        """`log Z` of the network's energy, and the share of draws that it rests on."""
        draws = np.random.default_rng(self.seed).standard_normal([DRAWS, dim])
        draws = draws.astype(np.float32)
        log_base = -0.5 * np.square(draws).sum(axis=1)
        log_ratio = tf.constant(self._logits(draws) - log_base)
        share = effective_share(normalised_weights(log_ratio))
        log_mean = tf.reduce_logsumexp(log_ratio) - np.log(DRAWS)
        return float(log_mean + 0.5 * dim * np.log(2.0 * np.pi)), float(share)

    def _score(self, features, energy: ClassEnergy) -> np.ndarray:
        self.model.network.set_weights(energy.weights)
        if not self.base:
            return self._logits(features)
        rows = energy.gaussian.whitened(features)
        return self._logits(rows) - energy.log_z + energy.gaussian.log_det

    def _logits(self, rows) -> np.ndarray:
        return self.model.network.predict(rows, batch_size=1_000, verbose=0)[:, 0]


class _WeightMean(keras.callbacks.Callback):
    """The mean of a network's weights over all updates after the first `begin`."""

    def __init__(self, network: keras.Model, begin: int):
        super().__init__()
        self.network, self.begin, self.count = network, begin, 0
        self.weights: list[np.ndarray] = []

    def on_train_batch_end(self, batch, logs=None):
        if batch < self.begin:
            return
        self.count += 1
        weights = self.network.get_weights()
        if not self.weights:
            self.weights = [np.array(weight) for weight in weights]
        for mean, weight in zip(self.weights, weights, strict=True):
            mean += (weight - mean) / self.count
