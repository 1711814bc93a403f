"""A mixture of Gaussians that a density is learnt as a multiple of."""

import keras
from keras import ops

from keras_ebm.arguments import check_size
from keras_ebm.mixtures import NAMES, Mixture
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class MixtureBase(Saveable, keras.layers.Layer):
    """Adds the log-density of a mixture of Gaussians to every logit.

    With a network trained to tell data from the mixture's samples, whose logit is the
    log-ratio of the two densities, the sum is the log-density of the data (noise
    contrastive estimation; its constant is right where the ratio is).

    Args:
        num_components: int >= 1.
        dim: int >= 1, size of an input.
        mixture: `keras_ebm.mixtures.Mixture`, such as `fit_mixture` returns; `None`
            for a layer whose weights are loaded.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: list `[x, logits]` of shapes `(batch, dim)` and `(batch, K)`.

    Returns:
        `logits + log q(x)`, `(batch, K)`, in nats.

    References:
        - Gutmann & Hyvarinen (2010), "Noise-contrastive estimation", equation 5.
    """

    _values = ("num_components", "dim")

    def __init__(
        self, num_components: int, dim: int, mixture: Mixture | None = None, **kwargs
    ):
        # float32 under mixed precision too: energies are.
        super().__init__(dtype="float32", trainable=False, **kwargs)
        self.num_components = check_size("num_components", num_components)
        self.dim = check_size("dim", dim)
        count = (num_components,)
        shapes = ((dim,), (*count, dim, dim), (*count, dim), count)
        variables = [
            self.add_weight(name=name, shape=shape, trainable=False)
            for name, shape in zip(NAMES, shapes, strict=True)
        ]
        self.mixture = Mixture(*variables)
        for variable, array in zip(variables, mixture or (), strict=False):
            variable.assign(array)
        self.built = True

    def call(self, inputs):
        x, logits = inputs
        log_density = self.mixture.log_density(ops.cast(x, "float32"))
        return ops.cast(logits, "float32") + log_density[:, None]

    def compute_output_shape(self, input_shape):
        return input_shape[1]

    def get_config(self):
        config = super().get_config()
        # The constructor takes neither; both are what they must be.
        del config["dtype"], config["trainable"]
        return config


def with_mixture_base(network: keras.Model, mixture: Mixture) -> keras.Model:
    """A functional network of vectors times a mixture; see `MixtureBase`.

    Args:
        network: functional model from `(batch, dim)` to `(batch, K)`.
        mixture: as `MixtureBase` takes it.

    Returns:
        A model that shares the network's weights.
    """
    (inputs,), (logits,) = network.inputs, network.outputs
    num_components, dim = mixture.white_means.shape
    base = MixtureBase(num_components, dim, mixture, name="base")
    return keras.Model(inputs, base([inputs, logits]), name=network.name)
