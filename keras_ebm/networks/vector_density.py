"""What the normalised networks over vectors have in common."""

import keras

from keras_ebm.arguments import check_size
from keras_ebm.saveable import Saveable


class VectorDensity(Saveable, keras.Model):
    """Base of networks with `Z = 1`: they return `log p(x)`, so `E(x) = -log p(x)`.

    A subclass has `log_prob(x)` and `sample(num_samples, seed)`.

    Args:
        input_dim: int >= 1, the size of an input vector.
        **kwargs: forwarded to `keras.Model`.
    """

    _values: tuple[str, ...] = ("input_dim",)

    def __init__(self, input_dim: int, **kwargs):
        # float32 whatever the policy: a likelihood of three digits is none.
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.input_dim = check_size("input_dim", input_dim)

    @property
    def input_shape(self) -> tuple:
        """As a functional model has it: `(None, input_dim)`."""
        return (None, self.input_dim)

    @property
    def output_shape(self) -> tuple:
        """As a functional model has it: `(None, 1)`."""
        return (None, 1)

    def call(self, inputs, training=False):
        return self.log_prob(inputs)[:, None]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1)
