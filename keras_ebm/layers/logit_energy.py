"""The energy that a classifier's logits define."""

import keras
from keras import ops

from keras_ebm.arguments import check_positive
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class LogitEnergy(Saveable, keras.layers.Layer):
    """Reads one energy per example out of class logits.

    A classifier's logits `f(x)` also describe a density over inputs: summing
    `exp(f(x)[y])` over the classes leaves `exp(-E(x))` with
    `E(x) = -T * logsumexp(f(x) / T)`. With one logit, `E(x) = -f(x)`.

    Args:
        temperature: float > 0. As it goes to 0 the energy goes to minus the
            largest logit. Defaults to `1.0`, the joint energy model.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        logits: float tensor of shape `(batch, num_classes)`.

    Returns:
        Energies of shape `(batch,)`, float32, in nats; low means likely.

    Example:

    >>> logits = np.zeros((1, 4))
    >>> float(LogitEnergy()(logits)[0])  # -log(4)
    -1.3862943649291992

    References:
        - Grathwohl et al. (2020), "Your classifier is secretly an energy
          based model", https://arxiv.org/abs/1912.03263, equation 6.
    """

    _values = ("temperature",)

    def __init__(self, temperature: float = 1.0, **kwargs):
        # float32 whatever the policy: bfloat16 keeps three digits of a sum.
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.temperature = check_positive("temperature", temperature)

    def call(self, logits):
        scaled = logits / self.temperature
        return -self.temperature * ops.logsumexp(scaled, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape[:-1]
