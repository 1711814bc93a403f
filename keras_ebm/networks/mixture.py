"""A mixture of Gaussians as an energy network."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ebm.arguments import check_size
from keras_ebm.networks.vector_density import VectorDensity


@keras.saving.register_keras_serializable(package="keras_ebm")
class GaussianMixture(VectorDensity):
    """A diagonal mixture of Gaussians with `Z = 1`: it returns `log p(x)`.

        log p(x) = logsumexp_k( log pi_k + log N(x; mu_k, diag(sigma_k^2)) )

    The means start as standard normal draws, each sigma at 1 and the `pi_k`
    equal: standardise the data first. Nothing keeps a sigma from shrinking
    onto a single row, where the likelihood of training data has no bound.

    Args:
        input_dim: int >= 1, the size of an input vector.
        num_components: int >= 1.
        seed: int, of the initial means.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: float tensor of shape `(batch, input_dim)`.

    Returns:
        `log p(x)` in nats, of shape `(batch, 1)`: the energy is its negative.

    Raises:
        ValueError: if a size breaks its rule.
    """

    _values: tuple[str, ...] = ("num_components", "seed")

    def __init__(
        self, input_dim: int, num_components: int = 10, seed: int = 0, **kwargs
    ):
        super().__init__(input_dim, **kwargs)
        self.num_components = check_size("num_components", num_components)
        self.seed = seed
        shape = (num_components, input_dim)
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        self.means = self.add_weight(name="means", shape=shape, initializer=normal)
        self.log_stddevs = self.add_weight(
            name="log_stddevs", shape=shape, initializer="zeros"
        )
        self.logits = self.add_weight(
            name="logits", shape=(num_components,), initializer="zeros"
        )
        self.built = True

    @property
    def distribution(self):
        """The `tfp.distributions.MixtureSameFamily` that the weights stand for."""
        distributions = tfp.distributions
        return distributions.MixtureSameFamily(
            distributions.Categorical(logits=tf.convert_to_tensor(self.logits)),
            distributions.MultivariateNormalDiag(
                tf.convert_to_tensor(self.means),
                tf.exp(tf.convert_to_tensor(self.log_stddevs)),
            ),
        )

    def log_prob(self, x: tf.Tensor):
        """`log p(x)` of `(batch, input_dim)` inputs, `(batch,)` nats."""
        return self.distribution.log_prob(tf.convert_to_tensor(x, self.compute_dtype))

    def sample(self, num_samples: int, seed: int = 0):
        """Exact samples of `p`, `(num_samples, input_dim)`."""
        # A pair of integers is what makes the draw a function of the seed.
        return self.distribution.sample(num_samples, seed=tf.constant([seed, 0]))
