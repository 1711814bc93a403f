"""Maximum likelihood, for networks that are normalised as they stand."""

import keras

from keras_ebm.objectives.criterion import Criterion


@keras.saving.register_keras_serializable(package="keras_ebm")
class MaximumLikelihood(Criterion):
    """`E(x)`, which is `-log p(x)` in nats where the network has `Z = 1`.

    Any other energy would be driven to minus infinity everywhere; hence only
    networks with a method `log_prob` are let in.
    """

    def __call__(self, energy_fn, x, random):
        return energy_fn(x)

    def check_network(self, network):
        if not hasattr(network, "log_prob"):
            raise ValueError(
                "`criterion` MaximumLikelihood needs a normalised network, which has "
                "a method `log_prob`, such as keras_ebm.networks.NICE. Received: "
                f"network={network!r}; use score matching or noise contrast."
            )
