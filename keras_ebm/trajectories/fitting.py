"""Both kinds of models fitted to episodes, with settings that were tried."""

from __future__ import annotations

import keras
import numpy as np

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.data.episodes import check_states
from keras_ebm.trajectories.gaussian_step import GaussianStep
from keras_ebm.trajectories.networks import step_network, transition_network
from keras_ebm.trajectories.state_scale import StateScale
from keras_ebm.trajectories.step_chains import StepChains
from keras_ebm.trajectories.step_noise import StepNoise
from keras_ebm.trajectories.transition_model import TransitionModel
from keras_ebm.trajectories.windows import windows


def fit_step(
    states: np.ndarray,
    *,
    past: int = 2,
    hidden: tuple[int, ...] = (256, 256),
    noise: str = "gaussian",
    epochs: int = 12,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> GaussianStep:
    """Fits a `GaussianStep` to episodes by least squares.

    Args:
        states: raw states `(n, steps + 1, state)`.
        past: int >= 1, states that it sees.
        hidden: widths of the hidden layers.
        noise: see `GaussianStep`.
        epochs: int >= 1.
        batch_size: int >= 1.
        learning_rate: float > 0, falling to 0 by a cosine.
        seed: int, of weights and the order of rows; that of Keras as a whole is set.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    states = check_states(states, "`states`")
    scale = StateScale.of(states)
    rows = np.asarray(scale(windows(states, past)))
    keras.utils.set_random_seed(seed)
    network = step_network(past, states.shape[-1], hidden)
    step = GaussianStep(network, scale, noise)
    optimizer = _optimizer(learning_rate, epochs, batch_size, len(rows))
    step.compile(optimizer, "mse", jit_compile=False)
    step.fit(rows[:, :-1], rows[:, -1], batch_size, epochs, verbose=0)
    step.adapt(rows, seed)
    return step


def fit_transitions(
    states: np.ndarray,
    negatives: StepNoise | StepChains,
    *,
    past: int = 2,
    hidden: tuple[int, ...] = (256, 256),
    epochs: int = 15,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    seed: int = 0,
    **arguments,
) -> TransitionModel:
    """Fits a `TransitionModel` to episodes.

    Args:
        states: raw states `(n, steps + 1, state)`.
        negatives: `StepNoise` or `StepChains`; the scale and the past of its
            `GaussianStep`, fitted to the same episodes, are then the model's.
        past: int >= 1, states that it sees, of chains without a step.
        hidden: see `fit_step`, as the others.
        epochs: int >= 1.
        batch_size: int >= 1.
        learning_rate: float > 0.
        seed: int.
        **arguments: forwarded to `TransitionModel`.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    states = check_states(states, "`states`")
    step = negatives.step
    scale = StateScale.of(states) if step is None else step.scale
    rows = windows(states, past if step is None else step.past)
    keras.utils.set_random_seed(seed)
    network = transition_network(np.asarray(scale(rows)), hidden)
    model = TransitionModel(
        network, preprocessor=scale, negatives=negatives, seed=seed, **arguments
    )
    model.compile(_optimizer(learning_rate, epochs, batch_size, len(rows)))
    model.fit(rows, batch_size=batch_size, epochs=epochs, verbose=0)
    return model


def _optimizer(learning_rate, epochs, batch_size, num_rows):
    check_positive("learning_rate", learning_rate)
    check_size("epochs", epochs)
    check_size("batch_size", batch_size)
    steps = epochs * max(1, -(-num_rows // batch_size))
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return keras.optimizers.Adam(schedule)
