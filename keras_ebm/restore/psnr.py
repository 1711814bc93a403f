"""How near a restoration is to what was there."""

from __future__ import annotations

import numpy as np


def psnr(
    x: np.ndarray,
    restored: np.ndarray,
    value_range: tuple[float, float] = (-1.0, 1.0),
    where: np.ndarray | None = None,
    highest: float = 60.0,
) -> np.ndarray:
    """Peak signal-to-noise ratio of each row in decibels, `(rows,)`; higher is nearer.

    `10 log10((high - low)^2 / mean squared error)`, and no more than `highest`.

    Args:
        x: what was there, `(rows, ...)`.
        restored: of the same shape.
        value_range: `(low, high)`, black and white.
        where: booleans that broadcast to `x`: the entries that count; default all.
        highest: float, what a row has at most; where nothing differs it would be
            infinite, and so would every mean with it.

    Raises:
        ValueError: if shapes differ or no entry counts.
    """
    x, restored = np.asarray(x, np.float64), np.asarray(restored, np.float64)
    if x.shape != restored.shape:
        raise ValueError(
            "`restored` must have the shape of `x`. Received: "
            f"{restored.shape} for {x.shape}."
        )
    counted = np.broadcast_to(True if where is None else np.asarray(where), x.shape)
    axes = tuple(range(1, x.ndim))
    count = counted.sum(axis=axes)
    if not count.all():
        raise ValueError(
            "`where` must have a True in every row. Received: rows without one."
        )
    errors = (np.square(x - restored) * counted).sum(axis=axes) / count
    with np.errstate(divide="ignore"):
        found = 10.0 * np.log10((value_range[1] - value_range[0]) ** 2 / errors)
    return np.minimum(found, highest)
