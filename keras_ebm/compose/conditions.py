"""And, or and not of conditions of one network, another for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_ebm.arguments import check_positive
from keras_ebm.networks import ReconstructionEnergy

#: From inputs `(batch, ...)` and a level of noise to energies `(batch,)` in nats.
LevelEnergy = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def all_of(
    network: ReconstructionEnergy,
    labels: Sequence[tf.Tensor],
    weight: float = 1.0,
) -> LevelEnergy:
    """`E(x) + w sum_i (E(x, y_i) - E(x))`: what has all of several labels.

    With `w = 1` it is `-log p(x) prod_i p(y_i | x)` but for constants, if the labels
    say nothing of each other once `x` is known. Above 1 the labels count for more than
    they are sure of.

    Args:
        network: with labels of classes or of vectors.
        labels: for each condition labels of all rows, `(batch,)` or `(batch, K)`.
        weight: float > 0.

    Returns:
        Callable, as `keras_ebm.samplers.annealed_langevin` takes it.

    Raises:
        ValueError: if the network has no labels, or `weight` breaks its rule.

    References:
        - Liu et al. (2022), "Compositional visual generation with composable diffusion
          models", https://arxiv.org/abs/2206.01714, equation 11.
    """
    check_positive("weight", weight)
    _check_labels(network)

    def energy_fn(x, stddev):
        free = network.level_energy(x, stddev)
        given = [network.level_energy(x, stddev, labels=y) for y in labels]
        return free + weight * tf.add_n([energy - free for energy in given])

    return energy_fn if labels else network.level_energy


def any_of(network: ReconstructionEnergy, labels: Sequence[tf.Tensor]) -> LevelEnergy:
    """`-log sum_i exp(-E(x, y_i))`: what has one of several labels.

    Args:
        network: see `all_of`.
        labels: see `all_of`.

    Returns:
        Callable, as `all_of`.

    Raises:
        ValueError: if the network has no labels.
    """
    _check_labels(network)

    def energy_fn(x, stddev):
        energies = [network.level_energy(x, stddev, labels=y) for y in labels]
        return -tf.reduce_logsumexp(-tf.stack(energies), axis=0)

    return energy_fn


def all_but(
    network: ReconstructionEnergy,
    labels: Sequence[tf.Tensor],
    unwanted: tf.Tensor,
    weight: float = 1.0,
    against: float = 1.0,
) -> LevelEnergy:
    """`all_of` of some labels, and `+ v (E(x) - E(x, z))`: without label `z`.

    Args:
        network: see `all_of`.
        labels: see `all_of`.
        unwanted: `z` of all rows, `(batch,)` or `(batch, K)`.
        weight: float > 0, of the labels.
        against: float > 0, `v`.

    Returns:
        Callable, as `all_of`.

    Raises:
        ValueError: as `all_of`.

    References:
        - Liu et al. (2022), https://arxiv.org/abs/2206.01714, equation 13.
    """
    check_positive("against", against)
    wanted = all_of(network, labels, weight)

    def energy_fn(x, stddev):
        free = network.level_energy(x, stddev)
        unlike = free - network.level_energy(x, stddev, labels=unwanted)
        return wanted(x, stddev) + against * unlike

    return energy_fn


def _check_labels(network) -> None:
    if not (getattr(network, "num_classes", 0) or getattr(network, "label_size", 0)):
        raise ValueError(
            "`network` must have labels. Received: "
            f"{network.name!r}, which has none; build its denoiser with `num_classes`."
        )
