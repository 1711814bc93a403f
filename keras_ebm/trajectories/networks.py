"""Networks over pasts and over windows of standardised states."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_ebm.arguments import check_size
from keras_ebm.networks import mlp_energy
from keras_ebm.networks.initializers import fan_in_uniform
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class LastChange(Saveable, keras.layers.Layer):
    """Puts the change to a window's last state, in units of its own, in its place.

    From one step to the next states hardly move; the change is what an energy of
    transitions has to see.

    Args:
        stddev: `(state,)` numbers above 0, typical changes in standardised states.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: windows `(batch, past + 1, state)`.

    Returns:
        Windows whose last entry is the change over `stddev`.

    Raises:
        ValueError: if a number is not above 0.
    """

    _values = ("stddev",)

    def __init__(self, stddev: Sequence, **kwargs):
        super().__init__(**kwargs)
        self.stddev = np.asarray(stddev, np.float32)
        if self.stddev.ndim != 1 or not np.all(self.stddev > 0):
            raise ValueError(
                "`stddev` must be a vector of numbers above 0. Received: "
                f"stddev={stddev!r}."
            )
        self.built = True

    @classmethod
    def of(cls, rows: np.ndarray, **kwargs) -> LastChange:
        """The layer for standardised windows `(n, past + 1, state)`."""
        stddev = np.std(rows[:, -1] - rows[:, -2], axis=0, dtype=np.float64)
        return cls(np.where(stddev > 1e-6, stddev, 1.0).tolist(), **kwargs)

    def call(self, inputs):
        change = (inputs[:, -1:] - inputs[:, -2:-1]) / self.stddev
        return keras.ops.concatenate([inputs[:, :-1], change], axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape


def step_network(
    past: int, size: int, hidden: tuple[int, ...] = (256, 256)
) -> keras.Model:
    """A network of the mean change, for `GaussianStep`.

    Args:
        past: int >= 1, states that it sees.
        size: int >= 1, entries of a state.
        hidden: widths of the hidden layers.

    Returns:
        A functional model from `(batch, past, size)` to `(batch, size)`.
    """
    inputs = keras.Input((check_size("past", past), check_size("size", size)))
    x = keras.layers.Flatten()(inputs)
    for width in hidden:
        x = keras.layers.Dense(width, "silu", kernel_initializer=fan_in_uniform())(x)
    outputs = keras.layers.Dense(size, kernel_initializer=fan_in_uniform(0.1))(x)
    return keras.Model(inputs, outputs, name="step")


def transition_network(
    rows: np.ndarray, hidden: tuple[int, ...] = (256, 256), dropout: float = 0.0
) -> keras.Model:
    """A network of energies, for `TransitionModel`.

    Args:
        rows: standardised windows `(n, past + 1, state)`, which tell the shape and the
            size of changes.
        hidden: widths of the hidden layers.
        dropout: float in [0, 1), see `keras_ebm.networks.mlp_energy`.

    Returns:
        A functional model from windows to one logit.
    """
    shape = tuple(rows.shape[1:])
    inputs = keras.Input(shape, name="windows")
    changes = LastChange.of(rows, name="change")(inputs)
    energy = mlp_energy(shape, hidden=hidden, dropout=dropout)
    return keras.Model(inputs, energy(changes), name="transition_energy")
