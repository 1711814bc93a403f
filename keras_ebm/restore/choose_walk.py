"""Chooses how far and by what weights to walk, on rows that are not reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_ebm.random import StepRandom
from keras_ebm.restore.corruption import Corruption
from keras_ebm.restore.psnr import psnr
from keras_ebm.restore.restore import Walk, restore


class ChosenWalk(NamedTuple):
    """A walk, and what it was chosen by.

    Attributes:
        walk: the best of those tried.
        scores: `(walks,)`, mean PSNR of each in decibels.
    """

    walk: Walk
    scores: np.ndarray


def choose_walk(
    energy: Any,
    x: Any,
    corruption: Corruption,
    walks: Sequence[Walk],
    *,
    num_chains: int = 1,
    value_range: tuple[float, float] = (-1.0, 1.0),
    seed: int = 0,
) -> ChosenWalk:
    """The walk that restores validation rows best, by the mean of its chains.

    Walking on destroys, so the number of steps is a setting like any other: pass
    `[walk._replace(num_steps=n) for n in (10, 20, 40)]`, or other weights.

    Args:
        energy: see `restore`.
        x: clean validation rows `(rows, ...)`, preprocessed, not those to be reported.
        corruption: `Corruption` that is done to them.
        walks: the walks to try, one at least.
        num_chains: int >= 1, as many as there will be: the mean of many may go further.
        value_range: see `psnr`.
        seed: int, of the corruption and the noise.

    Returns:
        `ChosenWalk`.

    Raises:
        ValueError: if there is no walk to try; see `restore`.
    """
    if not walks:
        raise ValueError("`walks` must hold a walk. Received: none.")
    x = np.asarray(x, np.float32)
    observed = corruption.corrupt(tf.constant(x), StepRandom(seed, 2**40))
    hidden = hidden_entries(corruption, observed)
    scores = []
    for walk in walks:
        found = restore(
            energy, observed, corruption, walk, num_chains=num_chains, seed=seed
        )
        scores.append(float(psnr(x, found.mean, value_range, hidden).mean()))
    return ChosenWalk(walks[int(np.argmax(scores))], np.array(scores))


def hidden_entries(corruption: Corruption, observed: Any) -> np.ndarray | None:
    """Booleans of the entries that a restoration has to find; None for all.

    Of `Masked` these are the entries that are not known; salt may be anywhere.
    """
    known = getattr(corruption, "known", None)
    return None if known is None else ~np.broadcast_to(known, np.shape(observed))
