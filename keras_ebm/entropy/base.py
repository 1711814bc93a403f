"""What every estimator of a generator's entropy gradient answers to."""

from typing import NamedTuple

import keras
import tensorflow as tf

from keras_ebm.protocols import DensityGenerator, RandomDraws
from keras_ebm.saveable import Saveable


class Draw(NamedTuple):
    """One batch from a generator: `x = g(latents) + sigma * noise`."""

    x: tf.Tensor
    latents: tf.Tensor
    noise: tf.Tensor


class Estimate(NamedTuple):
    """What an estimator says of one draw.

    `surrogate` is a scalar whose gradient in the generator's weights estimates
    `dH/dw`; its value is no entropy. `log_density` estimates `log q(x)` of each
    sample in nats, shape `(batch,)`, and is None where an estimator has none.
    """

    surrogate: tf.Tensor
    log_density: tf.Tensor | None = None


class EntropyEstimator(Saveable, keras.layers.Layer):
    """Base of the estimators of the gradient of `H(q)`, the generator's entropy.

    A training step first calls `prepare` with no tape open, then `estimate`
    under the generator's tape, then descends `loss` if `learns`.
    """

    #: Whether the estimator has weights of its own to train.
    learns = False
    #: Whether `estimate` gives a `log_density`.
    gives_log_density = False
    #: Whether it differentiates the decoder in ways that half precision spoils.
    needs_float32 = False
    #: Whether it serves one linear decoder alone, which no program builds.
    linear_only = False

    def __init__(self, **kwargs):
        # float32 in mixed precision too: these are log-densities.
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)

    def build_for(self, generator: DensityGenerator) -> None:
        """Creates the weights that depend on the generator's sizes.

        Raises:
            ValueError: if the estimator cannot serve this generator.
        """
        if not self.built:
            self.build((None, generator.latent_dim))

    def prepare(
        self, generator: DensityGenerator, draw: Draw, random: RandomDraws
    ) -> dict[str, tf.Tensor]:
        """Computes what needs no gradient; returns tensors for `estimate`."""
        return {}

    def estimate(
        self, generator: DensityGenerator, draw: Draw, prepared: dict[str, tf.Tensor]
    ) -> Estimate:
        """The entropy's surrogate, and `log q(x)` if there is one."""
        raise NotImplementedError

    def loss(
        self, generator: DensityGenerator, draw: Draw, random: RandomDraws
    ) -> tf.Tensor:
        """What the estimator's own weights descend; only where `learns`."""
        raise NotImplementedError

    def logs(self, prepared: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Scalars worth watching, named as in `log_names`."""
        return {}

    #: Names of what `logs` returns.
    log_names: tuple[str, ...] = ()


def score_surrogate(x: tf.Tensor, score: tf.Tensor):
    """`mean_b sum_d(-score * x)`: the entropy surrogate of a score estimate.

    With `score = d log q(x) / dx` held constant, its gradient in the weights
    of `x` estimates that of the entropy: `dH/dw = -E[(d log q / dx)' dx/dw]`,
    as the expected score itself is zero.

    References:
        - Grathwohl et al. (2021), https://arxiv.org/abs/2010.04230, section 3.
    """
    axes = list(range(1, len(x.shape)))
    return -tf.reduce_mean(tf.reduce_sum(tf.stop_gradient(score) * x, axis=axes))
