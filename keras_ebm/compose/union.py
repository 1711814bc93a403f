"""Unions of densities: mixtures, by the logarithm of a sum."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive
from keras_ebm.compose.base import Composition, network_of
from keras_ebm.layers import LogitEnergy


@keras.saving.register_keras_serializable(package="keras_ebm")
class Union(Composition):
    """What is likely by any of several energies.

        E(x) = -T log sum_i w_i exp(-(E_i(x) + c_i) / T)

    With `T = 1` and `c_i = log Z_i` it is the mixture of their densities with shares
    `w_i`, the "or" of their concepts. As `Z_i` are not known, energies of
    different depths make a lopsided union: the deepest is all of it. `balanced_offsets`
    takes away what their own samples differ by.

    Args:
        networks: see `Composition`.
        factors: shares `w_i` above 0, one for each network; default equal.
        offsets: numbers `c_i` in nats that are added to the energies besides.
        temperature: float > 0, `T` in nats. As it goes to 0 the union is the lowest of
            the energies.
        max_gradient: see `Composition`.
        clip: see `Composition`.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: `x`, `(batch, ...)`.

    Returns:
        `-E(x)` in nats, float32 `(batch, 1)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Du, Li and Mordatch (2020), https://arxiv.org/abs/2004.06030, section 3.2.
    """

    _values = ("offsets", "temperature")

    def __init__(
        self,
        networks: Sequence[keras.Model],
        factors: Sequence[float] | None = None,
        *,
        offsets: Sequence[float] | None = None,
        temperature: float = 1.0,
        **kwargs,
    ):
        super().__init__(networks, factors, **kwargs)
        count = len(self.networks)
        self.offsets = [0.0] * count if offsets is None else [float(c) for c in offsets]
        if len(self.offsets) != count:
            raise ValueError(
                "`offsets` must have a number for each network. Received: "
                f"{len(self.offsets)} for {count}."
            )
        self.temperature = check_positive("temperature", temperature)

    def _check_weights(self):
        super()._check_weights()
        if not all(weight > 0 for weight in self.factors):
            raise ValueError(
                f"`factors` must be shares above 0. Received: factors={self.factors}."
            )

    @property
    def _inner_factors(self):
        return [1.0] * len(self.networks)

    def join(self, energies: list) -> tf.Tensor:
        shares = self._log_shares(energies)
        return -self.temperature * tf.reduce_logsumexp(shares, axis=1)

    def responsibilities(self, inputs: tf.Tensor) -> tf.Tensor:
        """The probability of each energy given inputs, as of a mixture's components.

        Chains on the union's energy from one start tend to slide into one mode. Those
        that hold one of the energies each, drawn anew by these probabilities between
        walks (Gibbs sampling of inputs and component), have the same density of inputs.

        Args:
            inputs: `x`, `(batch, ...)`.

        Returns:
            Float32 `(batch, networks)`; rows sum to 1.
        """
        x = tf.convert_to_tensor(inputs)
        energies = [self.to_energy(network(x)) for network in self.networks]
        return tf.nn.softmax(self._log_shares(energies))

    def _log_shares(self, energies: list) -> tf.Tensor:
        shifted = (tf.stack(energies, axis=1) + self.offsets) / self.temperature
        return tf.math.log(tf.constant(self.factors)) - shifted


def balanced_offsets(
    networks: Sequence[keras.Model], samples: Sequence[tf.Tensor]
) -> list[float]:
    """Offsets of a `Union` by which each network's own samples have mean energy 0.

    A stand-in for `log Z`: exact where the densities are copies of each other at other
    places or depths, as those of the classes of one network nearly are.

    Args:
        networks: as for `Union`.
        samples: for each network inputs `(n, ...)` that it finds likely: its samples,
            or training rows.

    Returns:
        A float for each network, in nats.

    Raises:
        ValueError: if a mean energy is not finite.
    """
    to_energy, offsets = LogitEnergy(), []
    for network, x in zip(networks, samples, strict=True):
        energy = to_energy(network_of(network)(tf.convert_to_tensor(x)))
        offsets.append(-float(tf.reduce_mean(energy)))
    if not np.isfinite(offsets).all():
        raise ValueError(
            f"`samples` must have finite energies. Received: means of {offsets}."
        )
    return offsets
