"""How unlike the training episodes each transition is."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm.data.episodes import check_states
from keras_ebm.trajectories.windows import windows


def transition_score(
    model: Any, states: np.ndarray, batch_size: int = 4096
) -> np.ndarray:
    """Energy of every transition: higher is more unlike the training episodes.

    Args:
        model: `TransitionModel` or `GaussianStep`. Energies of one by chains are known
            up to a function of the past alone.
        states: raw states `(n, steps + 1, state)`.
        batch_size: int >= 1, windows at a time.

    Returns:
        float32 `(n, steps)`, nats.

    Raises:
        ValueError: if `states` has another shape or a value that is not finite.
    """
    states = check_states(states, "`states`")
    size = len(model.scale.mean)
    if states.shape[-1] != size:
        raise ValueError(
            f"`states` must have {size} entries a state, as those that the model was "
            f"trained on. Received: shape {states.shape}."
        )
    rows = windows(states, model.past)

    @tf.function(
        input_signature=[tf.TensorSpec((None, model.past + 1, size))], autograph=False
    )
    def energy(rows):
        return model.row_energy(model.scale(rows))

    starts = range(0, len(rows), batch_size)
    parts = [energy(rows[i : i + batch_size]).numpy() for i in starts]
    return np.concatenate(parts).reshape(len(states), -1)
