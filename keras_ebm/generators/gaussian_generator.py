"""The amortised sampler: a decoder plus Gaussian noise of learned size."""

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ebm.arguments import check_positive
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class LogBounds(Saveable, keras.constraints.Constraint):
    """Keeps a log-valued weight between the logs of two positive bounds."""

    _values = ("low", "high")

    def __init__(self, low: float, high: float):
        self.low = low
        self.high = high

    def __call__(self, value: tf.Tensor):
        return keras.ops.clip(value, math.log(self.low), math.log(self.high))


@keras.saving.register_keras_serializable(package="keras_ebm")
class GaussianGenerator(Saveable, keras.Model):
    """Samples `x ~ q(x)` through a latent: `z ~ N(0, I)`, `x ~ N(g(z), sigma^2 I)`.

    With `per_entry`, every entry of `x` has a sigma of its own, which lets a
    thin sheet of few latents cover data whose entries differ in noise.

    Args:
        decoder: Keras model `g` from `(batch, latent_dim)` to
            `(batch, *input_shape)`.
        initial_stddev: float, where sigma starts, in units of the
            preprocessed input. The paper starts at 0.01, on the lower bound;
            0.1 left that bound sooner in trials and is the default.
        stddev_bounds: `(low, high)` that sigma is clipped to after every
            update; the paper's are `(0.01, 0.3)`.
        per_entry: bool. False, as in the paper: one sigma for all entries.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: latents of shape `(batch, latent_dim)`.

    Returns:
        `g(z)` of shape `(batch, *input_shape)`, without noise.

    Raises:
        ValueError: if the decoder does not map vectors, or the bounds are not
            `0 < low <= initial_stddev <= high`.

    References:
        - Grathwohl et al. (2021), "No MCMC for me: Amortized sampling for
          fast and stable training of energy-based models",
          https://arxiv.org/abs/2010.04230, section 3.
    """

    _parts = ("decoder",)
    _values = ("initial_stddev", "stddev_bounds", "per_entry")

    def __init__(
        self,
        decoder: keras.Model,
        initial_stddev: float = 0.1,
        stddev_bounds: tuple[float, float] = (0.01, 0.3),
        per_entry: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        low, high = (check_positive("stddev_bounds", value) for value in stddev_bounds)
        if not low <= initial_stddev <= high:
            raise ValueError(
                "`stddev_bounds` and `initial_stddev` must satisfy low <= "
                f"initial_stddev <= high. Received: stddev_bounds=({low}, {high}), "
                f"initial_stddev={initial_stddev}; widen the bounds or start inside."
            )
        if len(decoder.input_shape) != 2 or not decoder.input_shape[-1]:
            raise ValueError(
                "`decoder` must map latents of shape (batch, latent_dim) with "
                f"latent_dim >= 1. Received: input shape {decoder.input_shape}."
            )
        self.decoder = decoder
        self.initial_stddev = initial_stddev
        self.stddev_bounds = (low, high)
        self.per_entry = bool(per_entry)
        # float32 in mixed precision too: a bfloat16 log sigma moves in steps.
        self.log_stddev = self.add_weight(
            name="log_stddev",
            shape=self.sample_shape if self.per_entry else (),
            dtype="float32",
            initializer=keras.initializers.Constant(math.log(initial_stddev)),
            constraint=LogBounds(low, high),
            aggregation="mean",
        )
        self.built = True

    @property
    def latent_dim(self) -> int:
        return self.decoder.input_shape[-1]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.decoder.output_shape[1:])

    @property
    def stddev(self):
        """sigma in units of the preprocessed input, float32.

        A scalar, or of `sample_shape` with `per_entry`.
        """
        return tf.exp(tf.convert_to_tensor(self.log_stddev))

    @property
    def log_noise_volume(self):
        """The sum of log sigma over the entries of a sample, a scalar."""
        log_stddev = tf.convert_to_tensor(self.log_stddev)
        if self.per_entry:
            return tf.reduce_sum(log_stddev)
        return math.prod(self.sample_shape) * log_stddev

    def whitened(self, latents: tf.Tensor):
        """`g(z) / sigma`, flattened to `(batch, D)`: the noise is 1 in its units."""
        mean = tf.cast(self.decoder(latents), tf.float32) / self.stddev
        return tf.reshape(mean, [-1, math.prod(self.sample_shape)])

    def call(self, inputs, training=False):
        return self.decoder(inputs, training=training)

    def sample(self, latents: tf.Tensor, noise: tf.Tensor, training: bool = False):
        """Returns `g(latents) + sigma * noise`, differentiable in the weights.

        Args:
            latents: `(batch, latent_dim)` standard normal draws.
            noise: `(batch, *sample_shape)` standard normal draws.
            training: bool, passed to the decoder.
        """
        mean = tf.cast(self.decoder(latents, training=training), tf.float32)
        return mean + self.stddev * noise

    def log_prior(self, latents: tf.Tensor):
        """`log N(z; 0, I)` in nats, shape `(batch,)`."""
        prior = tfp.distributions.Normal(0.0, 1.0)
        return tf.reduce_sum(prior.log_prob(latents), axis=-1)

    def log_likelihood(self, x: tf.Tensor, mean: tf.Tensor):
        """`log N(x; mean, sigma^2 I)` in nats; `x` broadcasts against `mean`.

        Args:
            x: `(..., *sample_shape)`.
            mean: `(..., *sample_shape)`, decoded latents.

        Returns:
            Tensor of the leading shape.
        """
        # Written out: a distribution object passes over `mean` three times
        # more, and this is evaluated for every proposal of every sample.
        axes = list(range(-len(self.sample_shape), 0))
        distance = tf.math.squared_difference(x, mean)
        if self.per_entry:
            distance = tf.reduce_sum(distance / tf.square(self.stddev), axis=axes)
        else:
            distance = tf.reduce_sum(distance, axis=axes) / tf.square(self.stddev)
        constant = 0.5 * math.prod(self.sample_shape) * math.log(2.0 * math.pi)
        return -0.5 * distance - self.log_noise_volume - constant
