"""A data set as a stream of tasks, each of which brings classes of its own."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from keras_ebm.arguments import check_size, listed
from keras_ebm.continual.checks import check_rows


class Task(NamedTuple):
    """The rows of the classes that come together.

    Attributes:
        classes: tuple of int.
        x: rows of shape `(n, ...)`, in the order that they come in.
        y: their classes, integers of shape `(n,)`.
    """

    classes: tuple[int, ...]
    x: np.ndarray
    y: np.ndarray


def class_stream(
    x: np.ndarray,
    y: np.ndarray,
    *,
    order: Sequence[int] | None = None,
    classes_per_task: int = 2,
    seed: int = 0,
) -> Iterator[Task]:
    """Yields a data set's tasks in their order, each once.

    A task's rows are shuffled among themselves; those of one class come in the same
    order whatever comes beside or before them. A task is cut out when it is asked for,
    so that a learner never holds another's.

    Args:
        x: finite numbers of shape `(n, ...)`.
        y: integers >= 0 of shape `(n,)`.
        order: the classes in the order that they come in; default ascending. It may
            name fewer than there are.
        classes_per_task: int >= 1. The last task has the classes that are left over.
        seed: int, of the order of rows within a task.

    Returns:
        Iterator of `Task`.

    Raises:
        ValueError: if an argument breaks its rule, before the first task.
    """
    x, y = np.asarray(x), np.asarray(y)
    check_rows(x, y)
    order = _checked_order(order, np.unique(y))
    size = check_size("classes_per_task", classes_per_task)
    chosen = [tuple(order[i : i + size]) for i in range(0, len(order), size)]
    return _tasks(x, y, chosen, seed)


def _checked_order(order, present) -> list[int]:
    if order is None:
        return [int(label) for label in present]
    order = [int(label) for label in order]
    if len(set(order)) < len(order) or not order:
        raise ValueError(
            f"`order` must name classes, each once. Received: order={order}."
        )
    absent = sorted(set(order) - set(present.tolist()))
    if absent:
        raise ValueError(
            "`order` must name classes that have rows. Received: "
            f"{listed(absent)} without any; the classes are {listed(present)}."
        )
    return order


def _tasks(x, y, chosen, seed) -> Iterator[Task]:
    shuffled = np.random.default_rng(seed).permutation(len(y))
    for classes in chosen:
        rows = shuffled[np.isin(y[shuffled], classes)]
        yield Task(classes, x[rows], y[rows])
