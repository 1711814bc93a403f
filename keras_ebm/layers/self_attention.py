"""Self-attention over the positions of a feature map."""

from collections.abc import Callable

import keras
from keras import ops

from keras_ebm.arguments import check_share, check_size
from keras_ebm.layers.spectral_norm import SpectralNorm
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class SelfAttention2D(Saveable, keras.layers.Layer):
    """Adds to each position what it reads from all others: `x + gamma * A v`.

    Queries and keys are linear 1x1 convolutions of `x` with bias, values one
    with an activation and no bias, and `A = softmax(q k^T)` over all positions,
    unscaled. `gamma` starts at 0, where the layer is the identity. `A` has
    `(height * width)^2` entries an example: mind the memory above 32x32.

    Args:
        key_dim: int >= 1, channels of queries and keys. Defaults to half the
            channels of `x`, as in the paper's wider network.
        activation: any Keras activation, of the values.
        spectral_norm: bool, whether the convolutions are in `SpectralNorm`.
        dropout: float in [0, 1), of the entries of `A` in training.
        seed: int or None, of the dropout.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: `x`, of shape `(batch, height, width, channels)`.
        training: bool, whether entries are dropped.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        ValueError: if an argument breaks its rule, or `x` is not of rank 4.

    References:
        - Zhang et al. (2019), "Self-attention generative adversarial networks",
          https://arxiv.org/abs/1805.08318, equations 1 to 3.
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689.
    """

    _values = ("key_dim", "spectral_norm", "dropout", "seed")

    def __init__(
        self,
        key_dim: int | None = None,
        activation: str | Callable | None = "leaky_relu",
        spectral_norm: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.key_dim = key_dim if key_dim is None else check_size("key_dim", key_dim)
        self.activation = keras.activations.get(activation)
        self.spectral_norm = spectral_norm
        self.dropout = check_share("dropout", dropout, zero_allowed=True)
        self.seed = seed

    def build(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(
                "SelfAttention2D takes (batch, height, width, channels). Received: "
                f"inputs of shape {tuple(input_shape)}."
            )
        channels = input_shape[-1]
        key_dim = self.key_dim or max(1, channels // 2)
        self.query = self._convolution(key_dim, "query")
        self.key = self._convolution(key_dim, "key")
        self.value = self._convolution(
            channels, "value", activation=self.activation, use_bias=False
        )
        for layer in (self.query, self.key, self.value):
            layer.build(input_shape)
        self.drop = keras.layers.Dropout(self.dropout, seed=self.seed)
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros")
        self.built = True

    def _convolution(self, channels, name, **kwargs):
        if self.spectral_norm:
            kwargs["kernel_initializer"] = keras.initializers.RandomNormal(stddev=1.0)
        layer = keras.layers.Conv2D(
            channels, 1, name=name, dtype=self.dtype_policy, **kwargs
        )
        if not self.spectral_norm:
            return layer
        return SpectralNorm(layer, name=f"{name}_norm", dtype=self.dtype_policy)

    def call(self, inputs, training=False):
        query, key, value = (
            self._as_rows(layer(inputs)) for layer in (self.query, self.key, self.value)
        )
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
        shares = self.drop(ops.softmax(scores, axis=-1), training=training)
        read = ops.reshape(ops.matmul(shares, value), ops.shape(inputs))
        return inputs + self.gamma * read

    def _as_rows(self, images):
        positions = ops.shape(images)[1] * ops.shape(images)[2]
        return ops.reshape(images, (-1, positions, images.shape[-1]))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        # By its name, in the words of `keras.activations`, not as an object.
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}
