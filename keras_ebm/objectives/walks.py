"""What contrastive divergence leaves out: gradients through the chains' steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient
from keras_ebm.protocols import EnergyFn, RandomDraws

THROUGH = ("last", "all")


class WalkTerms(NamedTuple):
    """Energy and entropy of the chains' ends as functions of the energy's weights.

        kl_weight * mean E(x_K)                             weights of E held fixed
        - neighbour_weight * mean log min_j ||x_K - b_j||

    False where both weights are 0.

    Args:
        kl_weight: float >= 0.
        kl_through: `"last"` or `"all"`, the steps that gradients go through.
        neighbour_weight: float >= 0.
        num_neighbours: int >= 1, states `b_j`, known once a buffer has ten times as
            many.

    References:
        - Du et al. (2021), https://arxiv.org/abs/2012.01316, equations 5 to 8.
    """

    kl_weight: float
    kl_through: str
    neighbour_weight: float
    num_neighbours: int

    def __bool__(self) -> bool:
        return bool(self.kl_weight or self.neighbour_weight)

    @property
    def log_names(self) -> tuple[str, ...]:
        """Names of what `loss` logs."""
        energy = ("chain_energy",) if self.kl_weight else ()
        return energy + (("neighbour_distance",) if self.neighbour_weight else ())

    def last_steps(self, moves: Any) -> int:
        """Steps of the chains that gradients go through."""
        if not self:
            return 0
        return 1 if self.kl_through == "last" else moves.num_steps

    def neighbours(self, buffer: Any, random: RandomDraws):
        """`(states, known)` of the buffer before the chains of this step walk."""
        if not self.neighbour_weight:
            return None
        _, states, _, _ = buffer.take(self.num_neighbours, random.fold(1))
        return states, buffer.holds(10 * self.num_neighbours)

    def loss(
        self,
        energy_fn: EnergyFn,
        moves: Any,
        made: Any,
        neighbours: Any,
        random: RandomDraws,
    ):
        """The weighted terms on the chains of one step.

        Args:
            energy_fn: callable from `(n, ...)` to energies `(n,)`; from `(x, y)` where
                the chains have labels.
            moves: what moved them, such as `keras_ebm.negatives.LangevinMoves`.
            made: `keras_ebm.negatives.Negatives`, with `before`.
            neighbours: what `neighbours` gave.
            random: the `keras_ebm.random.StepRandom` that they walked by.

        Returns:
            `(loss, logs)`: a scalar, and values `(n,)` by the names in `log_names`.
        """
        first = moves.num_steps - self.last_steps(moves)
        end, _ = moves.move(
            energy_fn,
            made.before,
            random,
            made.labels,
            first=first,
            differentiable=True,
        )
        loss, logs = 0.0, {}
        if self.kl_weight:
            held = tf.stop_gradient(end)
            energy, slope = energy_and_gradient(_at(energy_fn, made.labels), held)
            # Its gradient is that of the energy with the weights held fixed.
            value = tf.reduce_sum(tf.stop_gradient(slope) * (end - held))
            value /= tf.cast(tf.shape(end)[0], tf.float32)
            logs["chain_energy"] = tf.stop_gradient(energy)
            loss += self.kl_weight * (value + tf.reduce_mean(logs["chain_energy"]))
        if self.neighbour_weight:
            states, known = neighbours
            distance = _nearest(end, states)
            mean = tf.reduce_mean(tf.math.log(distance))
            loss -= self.neighbour_weight * tf.where(known, mean, 0.0)
            logs["neighbour_distance"] = distance
        return loss, logs


def _at(energy_fn, labels):
    return energy_fn if labels is None else lambda x: energy_fn(x, labels)


def _nearest(x, states):
    """`min_j ||x_i - states_j||_2`, `(batch,)`."""
    size = tf.reduce_prod(x.shape[1:])
    flat, others = tf.reshape(x, [-1, size]), tf.reshape(states, [-1, size])
    squares = tf.reduce_sum(tf.square(flat[:, None] - others[None]), axis=-1)
    return tf.sqrt(tf.reduce_min(squares, axis=1))
