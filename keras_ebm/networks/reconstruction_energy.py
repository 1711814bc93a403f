"""An energy that is the error of a denoiser, at every level of noise."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive
from keras_ebm.gradients import squared_norm
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class ReconstructionEnergy(Saveable, keras.Model):
    """`E(x, s) = ||x - D(x, s)||^2 / (2 s^2)` of a network `D` that takes noise away.

    One energy for each standard deviation `s` of noise on the data, from `low` to
    `high`. Where `exp(-E(x, s))` is the density of the data with that noise,
    `x - s^2 dE/dx` is the mean of what `x` may have been without it (Tweedie's
    formula); `keras_ebm.models.DenoisingModel` trains that.

    As a network of `x` alone, which it is to samplers, detectors and exports, it has
    the energy at `low`.

    Args:
        denoiser: functional Keras model from `[x, c]` of shapes `(batch, ...)` and
            `(batch, 1)` to the shape of `x`, such as
            `keras_ebm.networks.convolutional_denoiser`. Its input and its output are
            scaled so that both have about unit variance at every `s`, and `c` is
            `log(s) / 4`.
        low: float > 0, the least standard deviation, in units of `x`.
        high: float > `low`, the largest; about that of the data all together.
        data_mean: float, mean of an entry of the data.
        data_stddev: float > 0, their standard deviation around it.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: `x`, `(batch, ...)`.

    Returns:
        `-E(x, low)` in nats, float32 `(batch, 1)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Salimans and Ho (2021), "Should EBMs model the energy or the score?".
        - Karras et al. (2022), https://arxiv.org/abs/2206.00364, table 1 (scales).
    """

    _values = ("low", "high", "data_mean", "data_stddev")
    _parts = ("denoiser",)

    def __init__(
        self,
        denoiser: keras.Model,
        *,
        low: float = 0.05,
        high: float = 4.0,
        data_mean: float = 0.0,
        data_stddev: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_denoiser(denoiser)
        self.denoiser = denoiser
        self.low = check_positive("low", low)
        self.high = check_positive("high", high)
        if low >= high:
            raise ValueError(
                f"`low` must be below `high`. Received: low={low}, high={high}."
            )
        if not isinstance(data_mean, int | float) or not math.isfinite(data_mean):
            raise ValueError(
                f"`data_mean` must be finite. Received: data_mean={data_mean!r}."
            )
        self.data_mean = float(data_mean)
        self.data_stddev = check_positive("data_stddev", data_stddev)
        self.built = True

    @property
    def input_shape(self) -> tuple:
        """That of `x`, `(None, ...)`."""
        return tuple(self.denoiser.inputs[0].shape)

    @property
    def output_shape(self) -> tuple:
        """Of one energy a row: `(None, 1)`."""
        return (None, 1)

    def level_energy(self, x: tf.Tensor, stddev: tf.Tensor, training: bool = False):
        """`E(x, s)` in nats, float32 `(batch,)`.

        Args:
            x: `(batch, ...)`.
            stddev: `s`, scalar or `(batch,)`, in units of `x`.
            training: bool, passed to the denoiser.
        """
        x = tf.cast(x, tf.float32)
        stddev = tf.broadcast_to(tf.cast(stddev, tf.float32), [tf.shape(x)[0]])
        wide = tf.reshape(stddev, [-1, *[1] * (x.shape.rank - 1)])
        # x - D = kept (x - mean) - scale F, in units of s: no small number is divided.
        total = tf.sqrt(tf.square(wide) + self.data_stddev**2)
        centred = x - self.data_mean
        code = tf.math.log(stddev)[:, None] / 4.0
        image = self.denoiser([centred / total, code], training=training)
        image = tf.cast(image, tf.float32)
        rest = centred * wide / tf.square(total) - image * self.data_stddev / total
        return 0.5 * squared_norm(rest)

    def call(self, inputs, training=False):
        return -self.level_energy(inputs, self.low, training)[:, None]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1)


def _check_denoiser(denoiser) -> None:
    inputs = getattr(denoiser, "inputs", None) or ()
    good = len(inputs) == 2 and tuple(inputs[1].shape) == (None, 1)
    if not good or tuple(denoiser.output_shape) != tuple(inputs[0].shape):
        found = [tuple(one.shape) for one in inputs]
        raise ValueError(
            "`denoiser` must be a functional model from [x, c], c of shape (batch, 1), "
            f"to the shape of x. Received: {denoiser!r} of inputs {found}."
        )
