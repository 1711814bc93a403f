"""What compositions share: networks of the same inputs, and one logit."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive
from keras_ebm.gradients import CLIPS, with_clipped_gradient
from keras_ebm.layers import LogitEnergy
from keras_ebm.models import BaseEnergyModel
from keras_ebm.saveable import Saveable


class Composition(Saveable, keras.Model):
    """Base of energies made of others, each a network from `x` to logits.

    Of a network with classes the energy is that of all of them,
    `-logsumexp_y f(x)[y]`; `keras_ebm.networks.GivenLabel` gives that of one.

    Args:
        networks: Keras networks of one input shape, or models of this package without
            a preprocessor of their own or with the same one, whose networks are taken.
        factors: a number for each; default 1.
        max_gradient: float > 0 or None: bound of the gradient of each weighted energy
            in the input, so that none drowns the others in a chain.
        clip: `"element"` or `"norm"`, what the bound is of; see `Langevin`.
        **kwargs: forwarded to `keras.Model`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _values: tuple[str, ...] = ("factors", "max_gradient", "clip")
    _parts = ("networks",)
    _shares_parts = True

    def __init__(
        self,
        networks: Sequence[keras.Model],
        factors: Sequence[float] | None = None,
        *,
        max_gradient: float | None = None,
        clip: str = "element",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.networks = [network_of(part) for part in networks]
        _check_shapes(self.networks)
        if factors is None:
            factors = [1.0] * len(self.networks)
        self.factors = [float(weight) for weight in factors]
        self._check_weights()
        self.max_gradient = max_gradient
        if max_gradient is not None:
            check_positive("max_gradient", max_gradient)
        self.clip = check_choice("clip", clip, CLIPS)
        self.to_energy = LogitEnergy()
        self.built = True

    @property
    def _inner_factors(self) -> list[float]:
        """What each energy is multiplied by before they are joined."""
        return self.factors

    def _check_weights(self) -> None:
        if len(self.factors) != len(self.networks):
            raise ValueError(
                "`factors` must have a number for each network. Received: "
                f"{len(self.factors)} for {len(self.networks)}."
            )

    @property
    def input_shape(self) -> tuple:
        """That of all networks, `(None, ...)`."""
        return tuple(self.networks[0].input_shape)

    @property
    def output_shape(self) -> tuple:
        """`(None, 1)`."""
        return (None, 1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1)

    def join(self, energies: list) -> tf.Tensor:
        """The energy `(batch,)` of a list of energies of the networks, in nats."""
        raise NotImplementedError

    def call(self, inputs, training=False):
        def energy_of(network, x):
            return self.to_energy(network(x, training=training))

        return -self._joined(inputs, energy_of)[:, None]

    def level_energy(self, x: tf.Tensor, stddev: tf.Tensor, training: bool = False):
        """The composition's energy at a level of noise, float32 `(batch,)`.

        All networks must have levels; see `keras_ebm.networks.ReconstructionEnergy` and
        `keras_ebm.samplers.annealed_langevin`.

        Args:
            x: inputs `(batch, ...)`.
            stddev: standard deviation of the noise on `x`, scalar or `(batch,)`.
            training: bool, passed to the networks.
        """
        return self._joined(
            x, lambda network, x: network.level_energy(x, stddev, training)
        )

    def _joined(self, x, energy_of):
        found = []
        for network, weight in zip(self.networks, self._inner_factors, strict=True):

            def energy_fn(x, network=network, weight=weight):
                return weight * energy_of(network, x)

            if self.max_gradient is not None:
                energy_fn = with_clipped_gradient(
                    energy_fn, self.max_gradient, self.clip
                )
            found.append(energy_fn(tf.convert_to_tensor(x)))
        return self.join(found)


def network_of(part: keras.Model) -> keras.Model:
    """The network of a model of this package; another network as it is."""
    return part.network if isinstance(part, BaseEnergyModel) else part


def _check_shapes(networks) -> None:
    if not networks:
        raise ValueError("`networks` must hold a network. Received: none.")
    shapes = [tuple(network.input_shape) for network in networks]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"`networks` must take inputs of one shape. Received: {shapes}."
        )
    for network in networks:
        if getattr(network, "label_size", 0):
            raise ValueError(
                f"`networks` must be of inputs alone. Received: {network.name!r}, "
                "which needs labels; give it one by "
                "keras_ebm.networks.GivenLabel(network, label)."
            )
