"""The likelihood of a two-dimensional energy, by its exact normaliser on a grid."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.gradients import EnergyFn

#: Largest share of the mass in one cell: a Gaussian as narrow as a cell has
#: 0.15 there, and the midpoint rule is still right to 1e-8 of it.
MAX_CELL_MASS = 0.2


class GridPartition(NamedTuple):
    """What a grid says of `Z`.

    Attributes:
        log_partition: float, `log Z` in nats.
        edge_mass: float in [0, 1], share of the mass in the outermost cells.
    """

    log_partition: float
    edge_mass: float


def log_partition_on_grid(
    energy_fn: EnergyFn,
    low: float,
    high: float,
    num_points: int = 480,
    batch_size: int = 16_384,
    max_edge_mass: float = 1e-4,
) -> GridPartition:
    """`log Z` of a density `exp(-E(x)) / Z` in the plane, by the midpoint rule.

    The square `[low, high]` squared is cut into `num_points` squared cells. For
    an energy that is smooth over a cell, the error falls faster than any power
    of a cell's side.

    Args:
        energy_fn: callable from float32 `(n, 2)` to energies `(n,)` in nats.
        low: float, lower end of both axes, in units of `x`.
        high: float > `low`, their upper end.
        num_points: int >= 3, cells along an axis.
        batch_size: int >= 1, points in one call of `energy_fn`.
        max_edge_mass: float > 0, share of the mass in the outermost cells above
            which the box is refused as too small. If the density falls off as
            `exp(-a |x|)`, the mass beyond is `1 / (a * side)` times it.

    Returns:
        `GridPartition`.

    Raises:
        ValueError: if an argument breaks its rule, an energy is not finite, the
            box cuts the density off, or the cells are wider than the density.
    """
    _check_box(low, high, check_size("num_points", num_points))
    check_positive("max_edge_mass", max_edge_mass)
    side = (high - low) / num_points
    line = low + side * (np.arange(num_points) + 0.5)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    energy = _energies(energy_fn, points, check_size("batch_size", batch_size))
    lowest = energy.min()
    mass = np.exp(lowest - energy)
    total = mass.sum()
    mass = mass.reshape(num_points, num_points) / total
    edge_mass = max(0.0, float(1.0 - mass[1:-1, 1:-1].sum()))
    if edge_mass > max_edge_mass:
        raise ValueError(
            "The box must hold the density. Received: a share of "
            f"{edge_mass:.2g} of the mass in the outermost cells of [{low}, {high}] "
            f"squared, above max_edge_mass={max_edge_mass}; widen the box, or find "
            "out why the energy stays low out there."
        )
    if mass.max() > MAX_CELL_MASS:
        raise ValueError(
            "`num_points` must resolve the density. Received: a share of "
            f"{mass.max():.2g} of the mass in one cell of side {side:.2g}, with "
            f"num_points={num_points}; raise it, or narrow the box."
        )
    log_partition = float(np.log(total) - lowest + 2.0 * np.log(side))
    return GridPartition(log_partition, edge_mass)


def nll_gap(
    energy_fn: EnergyFn,
    x: np.ndarray,
    log_density: np.ndarray,
    extent: float = 8.0,
    num_points: int = 480,
) -> float:
    """How many nats a point the model loses to the true density.

    `mean(E(x) + log Z) - mean(-log p(x))` over the same points `x`, which for
    draws of `p` estimates `KL(p || model)`. For few points it may come out below
    0: its standard error is that of the mean of the difference.

    Args:
        energy_fn: callable from float32 `(n, 2)` to energies `(n,)` in nats.
        x: float array of shape `(n, 2)`, draws of the true density.
        log_density: float array of shape `(n,)`, `log p(x)` in nats, such as
            `keras_ebm.data.log_density` gives.
        extent: float > 0, half the side of the box about 0 that `Z` is summed
            over, in units of `x`.
        num_points: int, see `log_partition_on_grid`.

    Returns:
        A float, nats.

    Raises:
        ValueError: if an argument breaks its rule, or `log_partition_on_grid`
            refuses the energy.
    """
    check_positive("extent", extent)
    x, log_density = np.asarray(x), np.asarray(log_density, np.float64)
    if x.ndim != 2 or x.shape[1] != 2 or log_density.shape != x.shape[:1] or not len(x):
        raise ValueError(
            "`x` must have shape (n, 2) and `log_density` shape (n,), with n >= 1. "
            f"Received: shapes {x.shape} and {log_density.shape}."
        )
    if not np.isfinite(log_density).all():
        row = int(np.argmin(np.isfinite(log_density)))
        raise ValueError(
            "`log_density` must be finite, as `x` is drawn from that density. "
            f"Received: {log_density[row]} in row {row} (counted from 0)."
        )
    log_partition = log_partition_on_grid(energy_fn, -extent, extent, num_points)[0]
    energy = _energies(energy_fn, x, batch_size=16_384)
    return float(np.mean(energy + log_partition + log_density))


def _check_box(low, high, num_points: int) -> None:
    if not (np.isfinite([low, high]).all() and low < high) or num_points < 3:
        raise ValueError(
            "`low` and `high` must be finite with low < high, and `num_points` at "
            f"least 3. Received: low={low}, high={high}, num_points={num_points}."
        )


def _energies(energy_fn, points, batch_size: int) -> np.ndarray:
    """float64 energies `(n,)`; ValueError if one is not finite."""
    batches = []
    for start in range(0, len(points), batch_size):
        batch = tf.constant(points[start : start + batch_size], tf.float32)
        energy = np.asarray(energy_fn(batch), np.float64)
        if energy.shape != (len(batch),):
            raise ValueError(
                "`energy_fn` must return one energy a row, of shape "
                f"({len(batch)},). Received: shape {energy.shape}."
            )
        batches.append(energy)
    energy = np.concatenate(batches)
    bad = ~np.isfinite(energy)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"Every energy must be finite. Received: {bad.sum()} of {len(energy)} "
            f"that are not, the first {energy[row]} at x={points[row].tolist()}."
        )
    return energy
