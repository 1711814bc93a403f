"""Random episodes of the simulated Shadow hand, alone or with a cube in it."""

from __future__ import annotations

import warnings

import numpy as np

from keras_ebm.data.optional import require

#: Environment of gymnasium-robotics and the entries of its state, by name.
HANDS = {
    "reach": ("HandReach-v3", 24),
    "block": ("HandManipulateBlockRotateXYZ-v1", 31),
}
#: Where the orientation of the cube begins among the entries.
ORIENTATION = 27


def simulate_hand(
    name: str, num_episodes: int, num_steps: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Simulates episodes under actions that are uniform over what the hand takes.

    Args:
        name: one of `HANDS`.
        num_episodes: int >= 1.
        num_steps: int >= 1, actions of an episode.
        seed: int >= 0, of the starts and the actions.

    Returns:
        `(states, actions)`: float32 `(num_episodes, num_steps + 1, state)` and
        `(num_episodes, num_steps, 20)` in [-1, 1].

    Raises:
        ImportError: if a package is absent, or MuJoCo of a version that breaks the
            hand, with the command that installs the right ones.
    """
    environment, size = HANDS[name]
    env = _make(environment, num_steps)
    model = env.unwrapped.data
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (num_episodes, num_steps, 20)).astype(np.float32)
    states = np.empty((num_episodes, num_steps + 1, size), np.float32)
    for index, episode in enumerate(actions):
        env.reset(seed=seed if index == 0 else None)
        states[index, 0] = model.qpos[:size]
        for step, action in enumerate(episode, 1):
            env.step(action)
            states[index, step] = model.qpos[:size]
    env.close()
    return _one_sign(states), actions


def _make(environment: str, num_steps: int):
    gymnasium = require("gymnasium", extra="robots")
    mujoco = require("mujoco", extra="robots")
    if int(mujoco.__version__.partition(".")[0]) > 3:
        raise ImportError(
            "The hand of gymnasium-robotics falls apart in MuJoCo 4. Found: mujoco "
            f'{mujoco.__version__}. Run `pip install "keras_ebm[robots]"`.'
        )
    with warnings.catch_warnings():
        # Of environments that are not used here.
        warnings.simplefilter("ignore")
        gymnasium.register_envs(require("gymnasium_robotics", extra="robots"))
        return gymnasium.make(environment, max_episode_steps=num_steps)


def _one_sign(states: np.ndarray) -> np.ndarray:
    """A quaternion and its negative are one orientation.

    The first entry is at least 0 where an episode starts; from there on the simulator
    moves it without a jump.
    """
    orientation = states[..., ORIENTATION:]
    if orientation.shape[-1]:
        orientation *= np.where(orientation[:, :1, :1] < 0, -1, 1)
    return states
