"""What parts ask of each other, for type checkers and for objects of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import tensorflow as tf

#: From preprocessed inputs `(n, ...)` to energies `(n,)` in nats, each of its own row
#: alone; where chains walk under labels, from `(x, y)`.
EnergyFn: TypeAlias = Callable[..., tf.Tensor]


@runtime_checkable
class RandomDraws(Protocol):
    """Draws that are a function of a name, such as `keras_ebm.random.StepRandom`.

    Attributes:
        iteration: int64 scalar tensor, number of the step that they are for.
    """

    iteration: tf.Tensor

    def fold(self, index: int | tf.Tensor) -> RandomDraws:
        """Other draws under the same names, for each `index`."""

    def seed_pair(self, name: str) -> tf.Tensor:
        """Two integers for a sampler that draws by itself."""

    def normal(self, shape: Sequence | tf.Tensor, name: str) -> tf.Tensor:
        """Standard normal draws of `shape`."""

    def uniform(
        self,
        shape: Sequence | tf.Tensor,
        name: str,
        minval: float | tf.Tensor = 0.0,
        maxval: float | tf.Tensor = 1.0,
    ) -> tf.Tensor:
        """Uniform draws of `shape` in `(minval, maxval)`."""

    def integers(
        self, shape: Sequence | tf.Tensor, name: str, maxval: int | tf.Tensor
    ) -> tf.Tensor:
        """Uniform integers of `shape` in `[0, maxval)`."""


@runtime_checkable
class Generator(Protocol):
    """What `VERA` needs of its generator, such as `GaussianGenerator`.

    It is a Keras model too where the whole is to be saved. An estimator of the entropy
    that asks for a density needs a `DensityGenerator`.
    """

    #: Keras model from latents `(batch, latent_dim)` to means `(batch, *sample_shape)`.
    decoder: Any

    @property
    def latent_dim(self) -> int:
        """Size of a latent."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, the batch not among it."""

    @property
    def stddev(self) -> tf.Tensor:
        """Of the noise, in units of the samples: a scalar or of `sample_shape`."""

    @property
    def trainable_variables(self) -> list:
        """What the generator's turn updates."""

    def __call__(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Means `(batch, *sample_shape)` of latents, without noise."""

    def sample(
        self, latents: tf.Tensor, noise: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Samples of standard normal draws, differentiable in the weights."""


@runtime_checkable
class DensityGenerator(Generator, Protocol):
    """A generator of Gaussian noise about a mean, as estimators of the entropy ask."""

    @property
    def log_noise_volume(self) -> tf.Tensor:
        """The sum of log sigma over the entries of a sample, a scalar."""

    def whitened(self, latents: tf.Tensor) -> tf.Tensor:
        """Means in units of the noise, flattened to `(batch, D)`."""

    def log_prior(self, latents: tf.Tensor) -> tf.Tensor:
        """Log-density of latents in nats, `(batch,)`."""

    def log_likelihood(self, x: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
        """Log-density of samples about their means in nats."""
