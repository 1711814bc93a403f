"""A density a class, which classes that come later cannot disturb."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.continual.features import Features, flat_rows
from keras_ebm.continual.learner import Learner
from keras_ebm.mixtures import Mixture, fit_mixture
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import MixtureSamples
from keras_ebm.networks import mlp_energy

#: Of expectation maximisation for a class; further ones gained nothing.
STEPS = 12


class ClassDensity(NamedTuple):
    """What stays of a class: where it lies, its mixture, and weights of its energy.

    Attributes:
        center: `(dim,)`, mean of the class's features.
        scale: float, the root of their mean variance.
        mixture: `Mixture` of `(features - center) / scale`.
        weights: list of arrays of the log-ratio's network, empty where there is none.
    """

    center: np.ndarray
    scale: float
    mixture: Mixture
    weights: list[np.ndarray]


class DensityLearner(Learner):
    """A mixture of Gaussians a class, times a log-ratio learnt by noise contrast.

        log p(x | y) = log q_y(x) + f_y(x)

    where `q_y` is fitted to the features of class `y` by expectation maximisation, and
    `f_y` tells them from samples of `q_y`. Each class has its own, of its own rows
    alone: no other moves it, and the order of tasks changes nothing but random draws.
    Densities of mixtures are normalised, so that classes are on one scale; `f_y` is
    right up to an error that vanishes where the ratio is learnt.

    A class's rows are gone through several times while its task lasts.

    Args:
        num_components: int >= 1, of each mixture; there are fewer where a class has not
            20 rows for each.
        ridge: float > 0, added to the variances, in mean variances.
        features: callable from rows to vectors, such as `cosine_features(10)`.
        epochs: int >= 0, passes of the log-ratio over a class's rows; 0: there is none.
        hidden: widths of the log-ratio's network.
        learning_rate: float > 0, of Adam.
        batch_size: int >= 1.
        seed: int.
    """

    looks_once = False

    def __init__(
        self,
        num_components: int = 20,
        *,
        ridge: float = 0.03,
        features: Features = flat_rows,
        epochs: int = 0,
        hidden: tuple[int, ...] = (256,),
        learning_rate: float = 3e-3,
        batch_size: int = 100,
        seed: int = 0,
    ):
        super().__init__()
        self.num_components = check_size("num_components", num_components)
        self.ridge = check_positive("ridge", ridge)
        self.features = features
        self.epochs = int(check_positive("epochs", epochs, zero_allowed=True))
        self.hidden = tuple(hidden)
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.batch_size = check_size("batch_size", batch_size)
        self.seed = seed
        self.densities: list[ClassDensity] = []
        self._network: Any = None

    def learn_task(self, x: np.ndarray, y: np.ndarray) -> None:
        features = self.features(x)
        found = [self._fit(features[y == label], label) for label in np.unique(y)]
        self.densities.extend(found)

    def class_scores(self, x: np.ndarray) -> np.ndarray:
        features = self.features(x)
        scores = [self._log_density(features, density) for density in self.densities]
        return np.stack(scores, axis=1)

    def kept(self) -> Iterable:
        return [
            [density.center, density.scale, *density.mixture, density.weights]
            for density in self.densities
        ]

    def _fit(self, rows, label) -> ClassDensity:
        if len(rows) < 2:
            raise ValueError(
                "A class must have two rows or more for a density. Received: "
                f"{len(rows)} of class {label}; leave the class out, or use "
                "NearestMean."
            )
        center = rows.mean(axis=0)
        scale = float(np.sqrt(rows.var(axis=0).mean())) or 1.0
        rows = (rows - center) / scale
        # Of the class, not of its place in the stream: an order changes no draw.
        seed = self.seed + 1_000 * int(label)
        mixture = fit_mixture(rows, self.num_components, self.ridge, seed, STEPS)
        weights = self._fit_ratio(rows, mixture, seed) if self.epochs else []
        return ClassDensity(center, scale, mixture, weights)

    def _fit_ratio(self, rows, mixture, seed) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed % 2**32)
        network = mlp_energy(rows.shape[1:], hidden=self.hidden, initial_gain=1 / 3)
        self._network = self._network or network
        model = EnergyModel(
            network,
            negatives=MixtureSamples(mixture),
            objective="logistic",
            seed=seed,
        )
        steps = self.epochs * max(1, len(rows) // self.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(self.learning_rate, steps)
        model.compile(keras.optimizers.Adam(rate))
        model.fit(rows, epochs=self.epochs, batch_size=self.batch_size, verbose=0)
        return network.get_weights()

    def _log_density(self, features, density: ClassDensity) -> np.ndarray:
        rows = ((features - density.center) / density.scale).astype(np.float32)
        log_density = density.mixture.log_density(rows).numpy()
        if density.weights:
            self._network.set_weights(density.weights)
            ratio = self._network.predict(rows, batch_size=1_000, verbose=0)
            log_density = log_density + ratio[:, 0]
        return log_density - rows.shape[1] * np.log(density.scale)
