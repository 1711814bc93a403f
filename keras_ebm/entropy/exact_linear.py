"""The entropy of a linear generator in closed form, against which others are held."""

import math

import keras
import tensorflow as tf

from keras_ebm.arguments import listed
from keras_ebm.entropy.base import Draw, EntropyEstimator, Estimate
from keras_ebm.protocols import DensityGenerator


@keras.saving.register_keras_serializable(package="keras_ebm")
class ExactLinear(EntropyEstimator):
    """`H(q)` and `log q(x)` of `x = W z + b + sigma eps`, without approximation.

    `q(x) = N(b, W W' + sigma^2 I)`, probabilistic principal components.

    Raises:
        ValueError: from `build_for`, if the decoder is not one linear Dense layer.

    References:
        - Tipping and Bishop (1999), "Probabilistic principal component
          analysis".
    """

    gives_log_density = True
    linear_only = True

    def build_for(self, generator: DensityGenerator):
        self._dense(generator)
        super().build_for(generator)

    def build(self, input_shape):
        self.built = True

    @staticmethod
    def _dense(generator):
        layers = [layer for layer in generator.decoder.layers if layer.weights]
        kinds = [type(layer).__name__ for layer in generator.decoder.layers]
        allowed = {"InputLayer", "Dense", "Activation"}
        linear = len(layers) == 1 and set(kinds) <= allowed
        for layer in generator.decoder.layers:
            activation = getattr(layer, "activation", keras.activations.linear)
            linear = linear and activation is keras.activations.linear
        if not linear:
            raise ValueError(
                "ExactLinear needs a decoder of one linear Dense layer. Received: "
                f"layers {listed(kinds)}; use LogVolume() (--entropy=log_volume), "
                "which is exact on linear decoders too."
            )
        return layers[0]

    def estimate(
        self, generator: DensityGenerator, draw: Draw, prepared: dict[str, tf.Tensor]
    ):
        size = math.prod(generator.sample_shape)
        stddev = tf.reshape(generator.stddev, [-1])
        # In units of the noise: log det(W W' + S^2) is that of W'S^-2 W + I plus
        # the noise's own, and the inverse follows by the inversion lemma.
        kernel = tf.convert_to_tensor(self._dense(generator).kernel) / stddev
        gram = tf.linalg.matmul(kernel, kernel, transpose_b=True)
        factor = tf.linalg.cholesky(gram + tf.eye(generator.latent_dim))
        half_log_det = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)))
        half_log_det += generator.log_noise_volume
        entropy = half_log_det + 0.5 * size * math.log(2.0 * math.pi * math.e)
        centred = draw.x - generator(tf.zeros_like(draw.latents[:1]))
        centred /= stddev
        projected = tf.linalg.matmul(kernel, centred, transpose_b=True)
        whitened = tf.linalg.triangular_solve(factor, projected)
        distance = tf.reduce_sum(tf.square(centred), axis=-1)
        distance -= tf.reduce_sum(tf.square(whitened), axis=0)
        log_density = -0.5 * (distance + size * math.log(2.0 * math.pi)) - half_log_det
        return Estimate(entropy, log_density)
