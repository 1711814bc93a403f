"""Classification after each class has had its own walk."""

from __future__ import annotations

import copy
from typing import Any

import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive, check_size
from keras_ebm.negatives import LangevinMoves
from keras_ebm.protocols import RandomDraws
from keras_ebm.random import StepRandom
from keras_ebm.samplers import Region

GRADIENTS = ("steps", "identity")


class Refined:
    """Class logits after Langevin steps that each class takes from the given input.

        z_k(x) = -E(x_k, k)

    where `x_k` is the end of a chain under `E(x, k)` that starts at `x` and stays in an
    L-infinity ball about it. What a small change has done to a class's energy, that
    class can undo; the other classes may walk too.

    Args:
        model: `EnergyModel` with classes; of one that is not conditional
            `E(x, k) = -f(x)[k]`.
        moves: `LangevinMoves` of the chains; default those of the model's negatives.
        radius: float > 0, of the balls, in units of preprocessed inputs.
        num_steps: int >= 1, default that of `moves`.
        gradient: `"steps"`: exact gradients, through every step and its ball;
            `"identity"`: as if the chains did not move (see `bpda`), at the cost of
            one gradient.

    Call arguments:
        x: preprocessed inputs `(batch, ...)`.
        random: `keras_ebm.random.StepRandom` of the chains' noise. Default: that of
            seed 0.

    Returns:
        Logits `(batch, K)` in nats.

    Raises:
        ValueError: if the model has no classes or no chains, or an argument breaks its
            rule.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, section 4.3.
    """

    #: Its answers are drawn, and an attack has to average over them.
    draws = True

    def __init__(
        self,
        model: Any,
        moves: LangevinMoves | None = None,
        *,
        radius: float,
        num_steps: int | None = None,
        gradient: str = "steps",
    ):
        if model.num_classes < 2:
            raise ValueError(
                "`model` must have classes. Received: one of "
                f"{model.num_classes} output; train it on labels."
            )
        own: Any = moves or getattr(model.negatives, "moves", None)
        if not getattr(own, "differentiable", False):
            raise ValueError(
                "`moves` must be LangevinMoves where the model has none of its own. "
                f"Received: moves={own!r}."
            )
        self.model, self.moves = model, own
        self.radius = check_positive("radius", radius)
        self.num_steps = check_size("num_steps", num_steps or own.num_steps)
        self.gradient = check_choice("gradient", gradient, GRADIENTS)

    def with_gradient(self, gradient: str) -> Refined:
        """The same answers with gradients of another kind."""
        other = copy.copy(self)
        other.gradient = check_choice("gradient", gradient, GRADIENTS)
        return other

    def __call__(self, x: tf.Tensor, random: RandomDraws | None = None) -> tf.Tensor:
        x, ends, labels = self._walk(x, random)
        if self.gradient == "identity":
            ends = x + tf.stop_gradient(ends - x)
        logits = -self.model.class_energy(ends, labels)
        return tf.transpose(tf.reshape(logits, [self.model.num_classes, -1]))

    def ends(self, x: tf.Tensor, random: RandomDraws | None = None) -> tf.Tensor:
        """Where each class's walk ends, `(K, batch, ...)`."""
        starts, ends, _ = self._walk(x, random)
        shape = [self.model.num_classes, -1, *starts.shape[1:]]
        return tf.reshape(ends, shape)

    def _walk(self, x, random):
        """Starts, ends and labels of all chains, those of class 0 first."""
        x = tf.convert_to_tensor(x)
        classes = self.model.num_classes
        labels = tf.repeat(tf.range(classes), tf.shape(x)[0])
        x = tf.tile(x, [classes, *[1] * (x.shape.rank - 1)])
        ends, _ = self.moves.move(
            self.model.class_energy,
            x,
            random or StepRandom(0, 0),
            labels,
            num_steps=self.num_steps,
            differentiable=self.gradient == "steps",
            training=False,
            region=Region(start=x, radius=self.radius),
        )
        return x, ends, labels
