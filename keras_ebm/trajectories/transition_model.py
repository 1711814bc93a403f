"""Energies of transitions, which say what comes next and how likely it was."""

from __future__ import annotations

from typing import cast

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive
from keras_ebm.models import EnergyModel
from keras_ebm.objectives.energy import data_mean
from keras_ebm.protocols import RandomDraws
from keras_ebm.trajectories.state_scale import StateScale
from keras_ebm.trajectories.step_chains import StepChains
from keras_ebm.trajectories.step_noise import StepNoise


@keras.saving.register_keras_serializable(package="keras_ebm")
class TransitionModel(EnergyModel):
    """`p(next | past) = exp(-E(past, next)) / Z(past)`, trained as an `EnergyModel`.

    Of two kinds, by where the negatives come from. Against a `GaussianStep`
    (`StepNoise`) the energy is that of the Gaussian plus a learnt correction, and is
    near to normalised. By chains (`StepChains`) it is the network's alone or such a
    correction, and only known up to a function of the past.

    Args:
        network: Keras model from standardised windows `(batch, past + 1, state)` to one
            logit, minus the network's energy in nats.
        preprocessor: `StateScale`.
        negatives: `StepNoise` (with `objective="logistic"`) or `StepChains` (with
            `objective="contrastive"`).
        energy_l2: float >= 0, weight of the mean squares of the network's energies of
            data and of negatives, which chains need to stay near 0; 1 in IGEBM.
        **kwargs: forwarded to `EnergyModel`.

    Call arguments:
        inputs: raw windows `(batch, past + 1, state)`, as `windows` makes them.

    Returns:
        `-E(past, next)`, `(batch, 1)`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _values = ("energy_l2",)

    def __init__(
        self,
        network: keras.Model,
        *,
        preprocessor: StateScale,
        negatives: StepNoise | StepChains,
        energy_l2: float = 0.0,
        **kwargs,
    ):
        if not isinstance(preprocessor, StateScale):
            raise ValueError(
                "`preprocessor` must be a StateScale, such as StateScale.of(states). "
                f"Received: preprocessor={preprocessor!r}."
            )
        if not isinstance(negatives, StepNoise | StepChains):
            raise ValueError(
                "`negatives` must be StepNoise or StepChains. Received: "
                f"negatives={negatives!r}."
            )
        objective = "logistic" if isinstance(negatives, StepNoise) else "contrastive"
        kwargs.setdefault("objective", objective)
        super().__init__(
            network, preprocessor=preprocessor, negatives=negatives, **kwargs
        )
        self.energy_l2 = check_positive("energy_l2", energy_l2, zero_allowed=True)
        if energy_l2:
            self._add_trackers("energy_l2")
        self._check_shapes()

    def _check_shapes(self):
        shape, size = tuple(self.network.input_shape), len(self.scale.mean)
        good = len(shape) == 3 and shape[-1] == size and (shape[1] or 0) > 1
        if not good or self.num_classes != 1:
            raise ValueError(
                "`network` must map windows (batch, past + 1, state) to one logit, of "
                f"the {size} entries of `preprocessor`. Received: a network from "
                f"{shape} to {tuple(self.network.output_shape)}."
            )
        if isinstance(self.negatives, StepNoise):
            if self.objective != "logistic":
                raise ValueError(
                    "`objective` must be 'logistic' against StepNoise, whose density "
                    "the energy is relative to. Received: "
                    f"objective={self.objective!r}."
                )
        step = self.negatives.step
        if step is not None and step.past != self.past:
            raise ValueError(
                "`network` must see as many past states as the GaussianStep of "
                f"`negatives`. Received: {self.past} and {step.past}."
            )

    @property
    def scale(self) -> StateScale:
        """The units of states, and the range in which they were seen."""
        return cast(StateScale, self.preprocessor)

    @property
    def past(self) -> int:
        """How many states before the transition the energy sees."""
        return self.network.input_shape[1] - 1

    def call(self, inputs, training=False):
        rows = self.preprocess(inputs)
        base = self.negatives.base_energy(rows)
        return self.network(rows, training=training) - tf.reshape(base, [-1, 1])

    def energy_loss(self, x: tf.Tensor, y: tf.Tensor, negatives: list, *args, **kwargs):
        """As that of `EnergyModel`, with the squares of energies."""
        loss, logs = super().energy_loss(x, y, negatives, *args, **kwargs)
        if self.energy_l2 and negatives:
            weights = kwargs.get("sample_weight")
            squares = data_mean(tf.square(logs["data_energy"]), weights)
            squares += tf.reduce_mean(tf.square(logs["negative_energy"]))
            logs["energy_l2"] = squares
            loss += self.energy_l2 * squares
        return loss, logs

    def inputs_energy(self, x: tf.Tensor):
        return self.correction(x) + self.negatives.base_energy(x)

    def correction(self, rows: tf.Tensor) -> tf.Tensor:
        """The network's own energy of standardised windows, `(batch,)` nats."""
        return self.to_energy(self.network(rows, training=False))

    def row_energy(self, rows: tf.Tensor) -> tf.Tensor:
        """Energies of standardised windows, `(batch,)` nats."""
        return self.inputs_energy(rows)

    def next_states(self, past: tf.Tensor, random: RandomDraws) -> tf.Tensor:
        """Draws what comes next.

        Args:
            past: `(n, past, state)`, standardised.
            random: `keras_ebm.random.StepRandom`.

        Returns:
            `(n, state)`, standardised.
        """
        return self.negatives.next_states(self.correction, past, random)
