"""Rows that stand in for foreign ones, made of known rows alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np

from keras_ebm.data.scrambled import scrambled_phases

#: What each is; those but the first and the last are of columns, or of pixels.
STAND_INS = {
    "blends": "halfway between two rows of different classes; categories of either",
    "shuffled columns": "each column's cells dealt out to other rows",
    "shuffled pixels": "each row's pixels in an order of its own",
    "scrambled phases": "each row's spectrum with other phases, kept in range",
    "shuffled quadrants": "the four quadrants of each image in another order",
    "uniform noise": "uniform over the range of the known rows, or the categories",
}


def make_stand_ins(
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    categories: Mapping[int, int] | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Makes the sets of `STAND_INS` that rows of this shape can be made into.

    Rows of rank 2 are columns, which are dealt out; of others the axes but the first
    and the last are those of pixels.

    Args:
        rows: raw known rows `(n, ...)` of numbers, two at least; NaN is a missing cell.
        labels: int array `(n,)`, the class of each.
        categories: how many categories each column of codes has, by its position.
        seed: int >= 0.

    Returns:
        Dict of arrays like `rows`, of its type.
    """
    rng = np.random.default_rng(seed)
    codes = dict(categories or {})
    made = {"blends": _blends(rows, labels, codes, rng)}
    if rows.ndim == 2:
        if rows.shape[1] > 1:
            made["shuffled columns"] = _shuffled_columns(rows, rng)
        made["uniform noise"] = np.stack(
            [
                _column_noise(rows[:, j], codes.get(j), rng)
                for j in range(rows.shape[1])
            ],
            axis=1,
        )
    else:
        if math.prod(rows.shape[1:-1]) > 1:
            made["shuffled pixels"] = _shuffled_pixels(rows, rng)
            made["scrambled phases"] = scrambled_phases(rows, rng)
        noise = _column_noise(rows.reshape(-1), None, rng)
        made["uniform noise"] = noise.reshape(rows.shape)
        if rows.ndim == 4 and min(rows.shape[1:3]) > 1:
            made["shuffled quadrants"] = _shuffled_quadrants(rows, rng)
    return {name: _in_type(values, rows) for name, values in made.items()}


def _blends(rows, labels, categories, rng):
    partners = rows[_partners(labels, rng)]
    # A missing cell gives way to the other parent's.
    left = np.where(_absent(rows), partners, rows).astype(np.float64)
    right = np.where(_absent(partners), rows, partners).astype(np.float64)
    mean = 0.5 * left + 0.5 * right
    for column in categories:
        coin = rng.random(len(rows)) < 0.5
        mean[:, column] = np.where(coin, rows[:, column], partners[:, column])
    return mean


def _partners(labels, rng):
    """For each row another one, of another class where there are several."""
    count = len(labels)
    partners = (np.arange(count) + rng.integers(1, count, count)) % count
    classes = np.unique(labels)
    for label in classes if len(classes) > 1 else ():
        own = np.flatnonzero(labels == label)
        partners[own] = rng.choice(np.flatnonzero(labels != label), len(own))
    return partners


def _shuffled_columns(rows, rng):
    columns = [rng.permutation(rows[:, j]) for j in range(rows.shape[1])]
    return np.stack(columns, axis=1)


def _shuffled_quadrants(rows, rng):
    """Of an odd side the line in the middle stays where it is."""
    (top, bottom), (left, right) = (
        (slice(0, side // 2), slice(side - side // 2, side)) for side in rows.shape[1:3]
    )
    places = [(top, left), (top, right), (bottom, left), (bottom, right)]
    # Of the 24 orders all but the first, which is the image's own.
    orders = np.array(list(itertools.permutations(range(4)))[1:])
    chosen = orders[rng.integers(0, len(orders), len(rows))]
    made = rows.copy()
    for to, (down, across) in enumerate(places):
        for source, (from_down, from_across) in enumerate(places):
            moved = np.flatnonzero(chosen[:, to] == source)
            taken = rows[moved, from_down, from_across]
            made[moved, down, across] = taken
    return made


def _shuffled_pixels(rows, rng):
    pixels = rows.reshape(len(rows), -1, rows.shape[-1])
    order = np.argsort(rng.random(pixels.shape[:2]), axis=1)
    return np.take_along_axis(pixels, order[:, :, None], axis=1).reshape(rows.shape)


def _column_noise(values, num_categories, rng):
    if num_categories is not None:
        return rng.integers(0, max(1, num_categories), len(values)).astype(np.float64)
    known = values[~_absent(values)].astype(np.float64)
    if len(known) == 0:  # A column of missing cells stays one.
        return np.full(len(values), np.nan)
    return rng.uniform(known.min(), known.max(), len(values))


def _absent(values):
    if values.dtype.kind != "f":
        return np.zeros(values.shape, bool)
    return np.isnan(values)


def _in_type(values, rows):
    """Values in the type of rows, and where they are pixels in their range."""
    if rows.ndim > 2:
        values = np.clip(values, rows.min(), rows.max())
    return (
        np.rint(values).astype(rows.dtype)
        if rows.dtype.kind in "iub"
        else (values.astype(rows.dtype))
    )
