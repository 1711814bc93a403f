"""Exact log-densities of the densities in the plane that have one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_ebm.data.toy import DENSITIES

#: Gauss-Legendre nodes along an arc. The Gaussian's footprint on the widest arc
#: is two spacings wide or more, where the rule's error is below 1e-12.
NUM_NODES = 512
#: Points evaluated at once against all nodes: 16 MiB of float64.
NUM_ROWS = 4096


def log_density(name: str, x: np.ndarray) -> np.ndarray:
    """Log-density of what `draw(name, ...)` draws, in nats.

    Closed forms for `8gaussians`, `checkerboard`, `circles` and `rings`;
    for `moons` and `swissroll`, a mean over the arc's angle by Gauss-Legendre
    quadrature, exact to about 1e-10.

    Args:
        name: str, one of `EXACT`.
        x: float array of shape `(n, 2)`, finite.

    Returns:
        float64 array of shape `(n,)`; `-inf` off the checkerboard's squares,
        whose edges count as theirs.

    Raises:
        ValueError: if that density has no exact form here, or `x` breaks its
            rule.

    Example:

    >>> log_density("checkerboard", np.array([[0.5, 0.5], [2.5, 0.5]]))
    array([-3.4657359,       -inf])
    """
    if name not in _LOG_DENSITY:
        unknown = "" if name in DENSITIES else ", which is no density at all"
        raise ValueError(
            "`name` must be a density with an exact form: one of "
            f"{', '.join(EXACT)}. Received: name={name!r}{unknown}; compare "
            "samples instead where there is none."
        )
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != 2 or not np.isfinite(x).all():
        raise ValueError(
            "`x` must hold finite points, of shape (n, 2). Received: shape "
            f"{x.shape} with {(~np.isfinite(x)).sum()} values that are not finite."
        )
    return _LOG_DENSITY[name](x)


def _isotropic(squared_distance, stddev: float):
    """Log-density of `N(0, stddev**2 I)` in the plane."""
    return -0.5 * squared_distance / stddev**2 - math.log(2.0 * math.pi * stddev**2)


def _logsumexp(values, axis: int):
    top = values.max(axis=axis, keepdims=True)
    total = np.log(np.exp(values - top).sum(axis=axis))
    return total + np.squeeze(top, axis)


def _gaussians(x):
    angle = np.arange(8) * np.pi / 4.0
    centres = 4.0 / 1.414 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    distance = np.square(x[:, None] - centres).sum(axis=-1)
    return _logsumexp(_isotropic(distance, 0.5 / 1.414), axis=1) - math.log(8.0)


def _checkerboard(x):
    # A point on an edge belongs to the squares on both sides of it.
    sides = np.stack([np.floor(x / 2.0), np.ceil(x / 2.0) - 1.0])
    column, row = sides[:, None, :, 0], sides[None, :, :, 1]
    within = (np.abs(column + 0.5) < 2.0) & (np.abs(row + 0.5) < 2.0)
    inside = (within & ((column + row) % 2.0 == 0.0)).any(axis=(0, 1))
    return np.where(inside, -math.log(32.0), -np.inf)


def _concentric(x, radii, stddev: float):
    """Circles in equal shares, each with a uniform angle, plus Gaussian noise.

    With `rho = |x|` one of them has the density `N(rho - r; 0, s^2) I0(rho r / s^2)
    exp(-rho r / s^2)`, up to the plane's normaliser.
    """
    rho = np.linalg.norm(x, axis=-1)[:, None]
    radii = np.asarray(radii)
    # `I0` itself leaves float64's range at a ring of radius 3.
    scaled = tf.math.bessel_i0e(tf.constant(rho * radii / stddev**2)).numpy()
    terms = _isotropic(np.square(rho - radii), stddev) + np.log(scaled)
    return _logsumexp(terms, axis=1) - math.log(len(radii))


def _arc(x, curve: Callable, low: float, high: float, stddev: float):
    """A curve at a uniform angle in `[low, high]`, plus Gaussian noise."""
    nodes, weights = np.polynomial.legendre.leggauss(NUM_NODES)
    points = curve(0.5 * (high - low) * (nodes + 1.0) + low)
    log_weights = np.log(0.5 * weights)
    result = np.empty(len(x))
    for start in range(0, len(x), NUM_ROWS):
        rows = x[start : start + NUM_ROWS]
        distance = np.square(rows[:, :1] - points[:, 0])
        distance += np.square(rows[:, 1:] - points[:, 1])
        terms = _isotropic(distance, stddev) + log_weights
        result[start : start + NUM_ROWS] = _logsumexp(terms, axis=1)
    return result


def _moons(x):
    shift = np.array([-1.0, -0.2])

    def upper(angle):
        return 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1) + shift

    def lower(angle):
        return np.array([2.0, 1.0]) + 2.0 * shift - upper(angle)

    halves = [_arc(x, curve, 0.0, np.pi, 0.2) for curve in (upper, lower)]
    return np.logaddexp(*halves) - math.log(2.0)


def _swissroll(x):
    def spiral(angle):
        return np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=-1) / 5.0

    return _arc(x, spiral, 1.5 * np.pi, 4.5 * np.pi, 0.2)


_LOG_DENSITY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "moons": _moons,
    "circles": lambda x: _concentric(x, [3.0, 1.5], 0.24),
    "8gaussians": _gaussians,
    "checkerboard": _checkerboard,
    "rings": lambda x: _concentric(x, [3.0, 2.25, 1.5, 0.75], 0.08),
    "swissroll": _swissroll,
}

#: Densities that `log_density` knows; of `2spirals` and `pinwheel` there is none.
EXACT = tuple(_LOG_DENSITY)
