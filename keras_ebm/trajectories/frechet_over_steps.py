"""How far predicted episodes are from true ones, step by step."""

import numpy as np

from keras_ebm.metrics import frechet_distance


def frechet_over_steps(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Squared Frechet distance of Gaussians fitted to the states of each step.

    Its mean over the steps is what rollouts are compared by. It depends on the number
    of episodes, as covariances of few are far from any: compare only values of the
    same numbers, and beside that of true episodes with true ones.

    Args:
        predicted: `(n, steps, state)` with at least 2 episodes.
        true: `(m, steps, state)` with at least 2, in the same units.

    Returns:
        `(steps,)` floats >= 0, in squared units of the states.

    Raises:
        ValueError: if shapes do not agree, or a value is not finite.
    """
    predicted, true = np.asarray(predicted), np.asarray(true)
    good = predicted.ndim == true.ndim == 3 and predicted.shape[1:] == true.shape[1:]
    if not good or min(len(predicted), len(true)) < 2:
        raise ValueError(
            "`predicted` and `true` must have shapes (n, steps, state) and (m, steps, "
            "state) with at least 2 episodes each. Received: shapes "
            f"{predicted.shape} and {true.shape}."
        )
    pairs = zip(predicted.swapaxes(0, 1), true.swapaxes(0, 1), strict=True)
    return np.array([frechet_distance(*_moments(a), *_moments(b)) for a, b in pairs])


def _moments(states):
    states = states.astype(np.float64)
    return states.mean(axis=0), np.atleast_2d(np.cov(states, rowvar=False))
