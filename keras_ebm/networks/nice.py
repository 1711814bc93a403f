"""NICE: an invertible network, whose density is known exactly."""

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size
from keras_ebm.networks.initializers import fan_in_uniform
from keras_ebm.networks.vector_density import VectorDensity
from keras_ebm.random import StepRandom


@keras.saving.register_keras_serializable(package="keras_ebm")
class NICE(VectorDensity):
    """An energy network with `Z = 1`: it returns `log p(x)` itself.

    `y = forward(x)` is a standard normal where `x` has the density. The even
    entries of `x` come first, then the odd ones; additive couplings shift one
    half by a function of the other, in turn, which keeps volumes; at last every
    entry is scaled by `exp(s)`:

        log p(x) = -||y||^2 / 2 - D/2 log(2 pi) + sum s

    The couplings' last layers and `s` start at zero, so that the density starts
    as the standard normal: standardise the data first.

    Args:
        input_dim: int >= 2, `D`, the size of an input vector.
        hidden: widths of the hidden layers of each coupling's network.
        num_couplings: int >= 1.
        activation: any Keras activation, of the hidden layers. Score matching
            needs one that is smooth.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: float tensor of shape `(batch, input_dim)`.

    Returns:
        `log p(x)` in nats, of shape `(batch, 1)`: the energy is its negative.

    Raises:
        ValueError: if a size breaks its rule.

    References:
        - Dinh, Krueger and Bengio (2015), "NICE: non-linear independent
          components estimation", https://arxiv.org/abs/1410.8516. Its prior is
          logistic; here it is normal, as in Song et al. (2019) and in
          Grathwohl et al. (2021).
    """

    _values: tuple[str, ...] = ("hidden", "num_couplings")

    def __init__(
        self,
        input_dim: int,
        hidden: tuple[int, ...] = (1000, 1000, 1000, 1000),
        num_couplings: int = 4,
        activation: str | Callable | None = "softplus",
        **kwargs,
    ):
        super().__init__(input_dim, **kwargs)
        if input_dim < 2:
            raise ValueError(
                "`input_dim` must be at least 2, as one half shifts the other. "
                f"Received: input_dim={input_dim}."
            )
        self.hidden = tuple(check_size("hidden", width) for width in hidden)
        self.num_couplings = check_size("num_couplings", num_couplings)
        self.activation = keras.activations.get(activation)
        sizes = (input_dim - input_dim // 2, input_dim // 2)
        self.couplings = [
            self._coupling(sizes[index % 2], sizes[1 - index % 2], f"coupling_{index}")
            for index in range(num_couplings)
        ]
        self.log_scale = self.add_weight(
            name="log_scale", shape=(input_dim,), initializer="zeros"
        )
        self.built = True

    def _coupling(self, num_inputs, num_outputs, name):
        layers = [
            keras.layers.Dense(
                width,
                activation=self.activation,
                kernel_initializer=fan_in_uniform(),
                dtype=self.dtype_policy,
            )
            for width in self.hidden
        ]
        last = keras.layers.Dense(
            num_outputs, kernel_initializer="zeros", dtype=self.dtype_policy
        )
        return keras.Sequential([keras.Input((num_inputs,)), *layers, last], name=name)

    def forward(self, x: tf.Tensor):
        """Maps data to the normal.

        Args:
            x: `(batch, input_dim)`.

        Returns:
            `(y, log_det)`: `(batch, input_dim)` and `log |det dy/dx|` of each
            row, `(batch,)` nats.
        """
        x = tf.convert_to_tensor(x, self.compute_dtype)
        halves = [x[:, ::2], x[:, 1::2]]
        for index, coupling in enumerate(self.couplings):
            fixed, moved = index % 2, 1 - index % 2
            halves[moved] += coupling(halves[fixed])
        log_scale = tf.convert_to_tensor(self.log_scale)
        y = tf.concat(halves, axis=-1) * tf.exp(log_scale)
        return y, tf.fill([tf.shape(x)[0]], tf.reduce_sum(log_scale))

    def inverse(self, y: tf.Tensor):
        """Maps `(batch, input_dim)` normal draws to data; undoes `forward`."""
        y = tf.convert_to_tensor(y, self.compute_dtype)
        y *= tf.exp(-tf.convert_to_tensor(self.log_scale))
        num_even = self.input_dim - self.input_dim // 2
        halves = [y[:, :num_even], y[:, num_even:]]
        for index in reversed(range(self.num_couplings)):
            fixed, moved = index % 2, 1 - index % 2
            halves[moved] -= self.couplings[index](halves[fixed])
        entries = np.arange(self.input_dim)
        order = np.argsort(np.concatenate([entries[::2], entries[1::2]]))
        return tf.gather(tf.concat(halves, axis=-1), order, axis=1)

    def log_prob(self, x: tf.Tensor):
        """`log p(x)` of `(batch, input_dim)` inputs, `(batch,)` nats."""
        y, log_det = self.forward(x)
        constant = 0.5 * self.input_dim * math.log(2.0 * math.pi)
        return log_det - 0.5 * tf.reduce_sum(tf.square(y), axis=-1) - constant

    def sample(self, num_samples: int, seed: int = 0):
        """Exact samples of `p`, `(num_samples, input_dim)`."""
        shape = [num_samples, self.input_dim]
        return self.inverse(StepRandom(seed, 0).normal(shape, "prior"))

    def get_config(self):
        # By its name, in the words of `keras.activations`, not as an object.
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}
