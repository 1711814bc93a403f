"""Densities in the plane, on which a model can be watched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def draw(name: str, num_rows: int, seed: int) -> np.ndarray:
    """Draws independent points from one of `DENSITIES`.

    All of them lie within about `[-4, 4]` squared.

    Args:
        name: str, one of `DENSITIES`.
        num_rows: int > 0. How many points.
        seed: int >= 0. The same seed gives the same points.

    Returns:
        float32 array of shape `(num_rows, 2)`.

    Raises:
        ValueError: if the name is unknown or `num_rows` is not positive.

    References:
        - Grathwohl et al. (2019), "FFJORD: Free-form continuous dynamics for
          scalable reversible generative models", whose toy densities these
          are, https://arxiv.org/abs/1810.01367.
    """
    if name not in _DRAW:
        raise ValueError(
            f"`name` must be one of {', '.join(DENSITIES)}. Received: name={name!r}."
        )
    if num_rows < 1:
        raise ValueError(f"`num_rows` must be positive. Received: num_rows={num_rows}.")
    return _DRAW[name](np.random.default_rng(seed), num_rows).astype(np.float32)


def _polar(radius, angle) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _moons(rng: np.random.Generator, n: int) -> np.ndarray:
    # An upper half circle, and a lower one moved to (1, 0.5).
    lower = rng.integers(2, size=n)[:, None]
    arc = _polar(1.0, rng.uniform(0.0, np.pi, n))
    arc = np.where(lower, np.array([1.0, 0.5]) - arc, arc)
    return 2.0 * (arc + 0.1 * rng.normal(size=(n, 2))) + np.array([-1.0, -0.2])


def _circles(rng: np.random.Generator, n: int) -> np.ndarray:
    circle = _polar(rng.choice([1.0, 0.5], n), rng.uniform(0.0, 2.0 * np.pi, n))
    return 3.0 * (circle + 0.08 * rng.normal(size=(n, 2)))


def _gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    centre = _polar(4.0, rng.integers(8, size=n) * np.pi / 4.0)
    return (centre + 0.5 * rng.normal(size=(n, 2))) / 1.414


def _pinwheel(rng: np.random.Generator, n: int) -> np.ndarray:
    # Five arms along the x axis, bent by an angle that grows with the radius.
    along = 1.0 + 0.3 * rng.normal(size=n)
    across = 0.1 * rng.normal(size=n)
    arm = rng.integers(5, size=n) * 2.0 * np.pi / 5.0
    turn = -(arm + 0.25 * np.exp(along))
    return 2.0 * (_polar(along, turn) + _polar(across, turn + np.pi / 2.0))


def _spirals(rng: np.random.Generator, n: int) -> np.ndarray:
    angle = 3.0 * np.pi * np.sqrt(rng.uniform(size=n))
    arm = _polar(angle, np.pi - angle) + rng.uniform(0.0, 0.5, (n, 2))
    sign = rng.choice([-1.0, 1.0], n)[:, None]
    return sign * arm / 3.0 + 0.1 * rng.normal(size=(n, 2))


def _checkerboard(rng: np.random.Generator, n: int) -> np.ndarray:
    # Every other square, of side 2, of a board over [-4, 4] squared.
    across = rng.uniform(-2.0, 2.0, n)
    up = rng.uniform(size=n) - rng.choice([0.0, 2.0], n) + np.floor(across) % 2.0
    return 2.0 * np.stack([across, up], axis=-1)


def _rings(rng: np.random.Generator, n: int) -> np.ndarray:
    radius = rng.choice([3.0, 2.25, 1.5, 0.75], n)
    ring = _polar(radius, rng.uniform(0.0, 2.0 * np.pi, n))
    return ring + 0.08 * rng.normal(size=(n, 2))


def _swissroll(rng: np.random.Generator, n: int) -> np.ndarray:
    angle = 1.5 * np.pi * (1.0 + 2.0 * rng.uniform(size=n))
    return (_polar(angle, angle) + rng.normal(size=(n, 2))) / 5.0


_DRAW: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "moons": _moons,
    "circles": _circles,
    "8gaussians": _gaussians,
    "pinwheel": _pinwheel,
    "2spirals": _spirals,
    "checkerboard": _checkerboard,
    "rings": _rings,
    "swissroll": _swissroll,
}

DENSITIES = tuple(_DRAW)
