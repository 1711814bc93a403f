"""Checks of a task's rows, before anything is learnt of them."""

from collections.abc import Collection

import numpy as np

from keras_ebm.arguments import listed


def check_rows(x: np.ndarray, y: np.ndarray, name: str = "x") -> None:
    """Raises ValueError unless rows are finite numbers with an integer class each."""
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise ValueError(
            f"`{name}` must hold numbers of shape (rows, ...). Received: "
            f"{x.dtype} of shape {x.shape}; encode a table's words as numbers first."
        )
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise ValueError(
            "`y` must hold one integer class for each row. Received: "
            f"{y.dtype} of shape {y.shape} for {len(x)} rows."
        )
    if (y < 0).any():
        raise ValueError(
            f"`y` must hold classes of at least 0. Received: {y.min()}, an unlabelled "
            "row; leave such rows out."
        )
    bad = ~np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if bad.any():
        raise ValueError(
            f"`{name}` must be finite. Received: {bad.sum()} rows that are not, the "
            f"first at {int(bad.argmax())}; fill missing cells."
        )


def check_task(x: np.ndarray, y: np.ndarray, known: Collection[int]) -> tuple:
    """A task's rows as float32 and its classes, all of which must be new."""
    x, y = np.asarray(x), np.asarray(y)
    if not len(x):
        raise ValueError(
            "A task must have rows. Received: none; leave the empty task out."
        )
    check_rows(x, y)
    again = sorted(set(y.tolist()) & set(known))
    if again:
        raise ValueError(
            "`y` must hold classes that were not learnt before, as their former rows "
            f"are gone. Received: {listed(again)} again; give all rows of a class in "
            "one task."
        )
    return x.astype(np.float32), y
