"""Episodes: sequences of states, and of the actions between them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from keras_ebm import files
from keras_ebm.archives import read_arrays
from keras_ebm.arguments import check_integer, check_size, listed
from keras_ebm.data.hand import HANDS, simulate_hand
from keras_ebm.data.parsing import parse_spec

#: What a spec of episodes may be.
EPISODE_FORMS = (*(f"hand:{name}" for name in HANDS), "npz:PATH")


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Episodes of one length.

    Attributes:
        states: float32 of shape `(n, steps + 1, state)`; the first is where an episode
            starts.
        actions: float32 of shape `(n, steps, action)`, which led from each state to
            the next, or None.
        name: str, the spec.
    """

    states: np.ndarray
    actions: np.ndarray | None
    name: str

    def __len__(self) -> int:
        return len(self.states)


def load_episodes(
    spec: str,
    *,
    data_dir: str | os.PathLike | None = None,
    num_episodes: int = 700,
    num_steps: int = 100,
    seed: int = 0,
) -> Episodes:
    """Loads and checks the episodes that `spec` names.

    | spec | states |
    |---|---|
    | `hand:reach` | the 24 joint angles of the Shadow hand, in radians |
    | `hand:block` | the same, and position (metres) and orientation (a unit |
    | | quaternion) of a cube in the hand: 31 |
    | `npz:PATH` | array "episodes" `(n, states, state)`, and perhaps "actions" |
    | | `(n, states - 1, action)` |

    Those of the hand are simulated under uniformly random actions, 700 to 1,000 steps a
    second, and kept in `data_dir` under a name with their number, length and seed.

    Args:
        spec: str, as in the table.
        data_dir: where simulated episodes are kept. Defaults to
            `~/.cache/keras_ebm`.
        num_episodes: int >= 1, of the hand.
        num_steps: int >= 1, actions of an episode of the hand.
        seed: int >= 0, of the starts and the actions of the hand.

    Returns:
        `Episodes`.

    Raises:
        ImportError: if the hand needs a package that is not installed.
        ValueError: if the spec is of none of these forms, a file cannot be read, or
            what is in it is no episodes: other names or shapes, a value that is not
            finite, or fewer than 2 episodes of 2 states.
    """
    source, name = parse_spec(spec)
    if source == "npz" and name:
        return read_episodes(os.path.expanduser(name))
    if source != "hand" or name not in HANDS:
        raise ValueError(
            f"`spec` must be one of {', '.join(EPISODE_FORMS)}. Received: {spec=}."
        )
    check_size("num_episodes", num_episodes)
    check_size("num_steps", num_steps)
    if check_integer("seed", seed) < 0:
        raise ValueError(f"`seed` must be at least 0. Received: seed={seed}.")
    folder = Path(data_dir or Path.home() / ".cache" / "keras_ebm").expanduser()
    path = folder / f"hand-{name}-{num_episodes}x{num_steps}-seed{seed}.npz"
    if not path.exists():
        states, actions = simulate_hand(name, num_episodes, num_steps, seed)
        files.make_folder(folder)
        with files.written_beside(path) as file:
            np.savez_compressed(file, episodes=states, actions=actions)
    return dataclasses.replace(read_episodes(path), name=spec)


def read_episodes(path: str | os.PathLike) -> Episodes:
    """Reads and checks the arrays "episodes" and, where there are any, "actions".

    Args:
        path: of a `.npz` file; see `load_episodes`.

    Raises:
        ValueError: see `load_episodes`.
    """
    try:
        arrays, names = read_arrays(path, ("episodes", "actions"))
    except ValueError as error:
        raise ValueError(
            f"{path}: it must be a .npz file of plain arrays, as `numpy.savez` writes "
            f"it. It could not be read: {error}"
        ) from error
    if "episodes" not in arrays:
        raise ValueError(
            f"{path}: it must hold an array 'episodes' (n, states, state). Received: "
            f"{listed(names) or 'no array'}. Save it again with numpy.savez(path, "
            "episodes=...)."
        )
    states = check_states(arrays["episodes"], f"{path}: 'episodes'")
    actions = arrays.get("actions")
    if actions is not None:
        actions = _check_actions(actions, states, path)
    return Episodes(states, actions, f"npz:{path}")


def check_states(states: np.ndarray, name: str) -> np.ndarray:
    """Episodes as float32, or ValueError if they are none; `name` is for errors."""
    states = np.asarray(states)
    if states.dtype.kind not in "fiu" or states.ndim != 3 or not states.size:
        raise ValueError(
            f"{name} must be numbers of shape (n, states, state). Received: "
            f"{states.dtype} of shape {states.shape}."
        )
    if len(states) < 2 or states.shape[1] < 2:
        raise ValueError(
            f"{name} must have at least 2 episodes of at least 2 states. Received: "
            f"{len(states)} episode(s) of {states.shape[1]}; add some, or cut long "
            "ones into several."
        )
    return _finite(states, name)


def _check_actions(actions, states, path) -> np.ndarray:
    name = f"{path}: 'actions'"
    between = (len(states), states.shape[1] - 1)
    if actions.dtype.kind not in "fiu" or actions.ndim != 3:
        raise ValueError(
            f"{name} must be numbers of shape (n, states - 1, action). Received: "
            f"{actions.dtype} of shape {actions.shape}."
        )
    if actions.shape[:2] != between:
        raise ValueError(
            f"{name} must have one action between any two states, shape "
            f"{(*between, 'action')}. Received: shape {actions.shape} for 'episodes' "
            f"of shape {states.shape}."
        )
    return _finite(actions, name)


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # What float32 cannot hold is not finite then.
        values = np.asarray(values, np.float32)
    wrong = ~np.isfinite(values).all(axis=(1, 2))
    if wrong.any():
        raise ValueError(
            f"{name} must be finite numbers within float32. Received: values that are "
            f"not, in {int(wrong.sum())} episode(s), the first of them episode "
            f"{int(np.argmax(wrong))}; leave those out."
        )
    return values
