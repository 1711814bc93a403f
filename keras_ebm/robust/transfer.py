"""Attacks found on another model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_ebm.protocols import RandomDraws
from keras_ebm.robust.losses import Goal
from keras_ebm.robust.pgd import Attacked, checked_rows, pgd


def transfer(
    surrogate_fn: Callable,
    logits_fn: Callable,
    x: Any,
    y: Any,
    *,
    random: RandomDraws,
    **numbers: Any,
) -> Attacked:
    """Attacks a surrogate by `pgd`, and looks what that does to another model.

    What breaks a surrogate and is not found by an attack on the model itself shows that
    the latter's gradients are of no use: they are masked.

    Args:
        surrogate_fn: callable from preprocessed inputs to logits, that is attacked,
            such as a plain classifier, or a model without its refinement.
        logits_fn: see `pgd`; whose answers count.
        x: preprocessed inputs `(batch, ...)`.
        y: `(batch,)` labels.
        random: `keras_ebm.random.StepRandom`.
        **numbers: `bound` and the other arguments of `pgd`; `eot` is the surrogate's.

    Returns:
        `Attacked`, whose `success` is that against `logits_fn`.
    """
    found = pgd(surrogate_fn, x, y, random=random, **numbers)
    _, y = checked_rows(x, y)
    goal = Goal(logits_fn, targeted=numbers.get("targeted", False))
    size = numbers.get("rows_at_a_time", 500)
    parts = [
        goal.values(found.x[i : i + size], y[i : i + size], random.fold(-1 - i))[1]
        for i in range(0, len(y), size)
    ]
    return Attacked(found.x, tf.concat(parts, axis=0))
