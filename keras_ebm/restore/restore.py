"""Restores inputs by chains that walk from what was observed to what is likely."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.random import StepRandom
from keras_ebm.restore.corruption import Corruption


class Walk(Protocol):
    """How a chain walks: `EnergyWalk`, `LevelWalk` or `LatentWalk`."""

    num_steps: int

    def run(
        self,
        energy: Any,
        observed: tf.Tensor,
        corruption: Corruption,
        random: RandomDraws,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`(x, energies)` where chains end, `(batch, ...)` and `(batch,)` in nats."""


class Restored(NamedTuple):
    """What chains made of observations.

    Attributes:
        mean: `(rows, ...)` over the chains, the best guess by squared error.
        stddev: `(rows, ...)` over the chains: where it is large they disagree.
        chains: `(num_chains, rows, ...)`, each a restoration by itself.
        energies: `(num_chains, rows)` in nats.
        steps: int, of each chain.
    """

    mean: np.ndarray
    stddev: np.ndarray
    chains: np.ndarray
    energies: np.ndarray
    steps: int


def restore(
    energy: Any,
    observed: Any,
    corruption: Corruption,
    walk: Walk,
    *,
    num_chains: int = 16,
    batch_size: int = 500,
    seed: int = 0,
) -> Restored:
    """Restores observations by several chains each.

    Args:
        energy: what the walk takes: of `EnergyWalk` a model or a callable from
            preprocessed inputs to energies `(batch,)`; of `LevelWalk` a model whose
            network has levels, or a callable of `(x, stddev)`; see each.
        observed: as `corruption.corrupt` gives it, `(rows, ...)`, preprocessed.
        corruption: `Corruption` that made them.
        walk: `EnergyWalk`, `LevelWalk` or `LatentWalk`.
        num_chains: int >= 1 for each row.
        batch_size: int >= 1, rows that are walked together; it changes the noise.
        seed: int, of the noise.

    Returns:
        `Restored`.

    Raises:
        ValueError: if an argument breaks its rule, or observations are not finite.
        RuntimeError: if a chain left the numbers.
    """
    check_size("num_chains", num_chains)
    check_size("batch_size", batch_size)
    observed = np.asarray(observed, np.float32)
    if not len(observed) or not np.isfinite(observed).all():
        raise ValueError(
            "`observed` must be finite rows, one at least. Received: "
            f"{len(observed)} rows, {np.sum(~np.isfinite(observed))} entries that are "
            "not finite; hide those by keras_ebm.restore.Masked."
        )

    def run(rows, part, number):
        return walk.run(energy, rows, part, StepRandom(seed, number))

    compiled: dict = {}
    ends = []
    for number in range(num_chains):
        parts = []
        for first in range(0, len(observed), batch_size):
            rows = observed[first : first + batch_size]
            part = _rows_of(corruption, first, len(rows), len(observed))
            key = first if part is not corruption else len(rows)
            if key not in compiled:
                compiled[key] = tf.function(
                    lambda x, n, part=part: run(x, part, n), autograph=False
                )
            draw = number * len(observed) + first
            x, energies = compiled[key](tf.constant(rows), tf.constant(draw, tf.int64))
            parts.append((x.numpy(), energies.numpy()))
        ends.append([np.concatenate(arrays) for arrays in zip(*parts, strict=True)])
    chains, energies = (np.stack(arrays) for arrays in zip(*ends, strict=True))
    _check_finite(chains, walk)
    return Restored(
        chains.mean(axis=0), chains.std(axis=0), chains, energies, walk.num_steps
    )


def _rows_of(corruption, first, count, total):
    """The corruption of some rows, where it has something of its own for each."""
    known = getattr(corruption, "known", None)
    if known is None or known.shape[:1] != (total,) or total == count:
        return corruption
    return type(corruption)(known[first : first + count], corruption.hidden)


def _check_finite(chains, walk) -> None:
    bad = ~np.isfinite(chains).reshape(*chains.shape[:2], -1).all(axis=-1)
    if bad.any():
        raise RuntimeError(
            f"{bad.sum()} of {bad.size} chains left the numbers in {walk!r}; take "
            "smaller or fewer steps."
        )
