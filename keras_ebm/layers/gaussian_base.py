"""A broad Gaussian factor that gives a density a finite mass."""

import keras
from keras import ops

from keras_ebm.arguments import check_positive
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class GaussianBase(Saveable, keras.layers.Layer):
    """Adds `log N(x; 0, stddev^2 I)`, up to its constant, to every logit.

    A network's energy may stay flat, or fall, far from the data. Times this
    factor, `exp(-E)` has a finite integral where the network is bounded.

    Args:
        stddev: float > 0, in units of `x`; several times the data's.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: list `[x, logits]` of shapes `(batch, ...)` and `(batch, K)`.

    Returns:
        `logits - |x|^2 / (2 stddev^2)`, `(batch, K)`.
    """

    _values = ("stddev",)

    def __init__(self, stddev: float, **kwargs):
        super().__init__(**kwargs)
        self.stddev = check_positive("stddev", stddev)

    def call(self, inputs):
        x, logits = inputs
        axes = list(range(1, len(x.shape)))
        squared = ops.sum(ops.square(x), axis=axes)[:, None]
        return logits - 0.5 * squared / self.stddev**2

    def compute_output_shape(self, input_shape):
        return input_shape[1]
