"""Takes a learner through a stream, and measures what it still knows."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from keras_ebm.continual.checks import check_rows
from keras_ebm.continual.class_stream import Task
from keras_ebm.continual.learner import Learner


class StreamResult(NamedTuple):
    """What a learner knew after each task; shares of right answers in [0, 1].

    Attributes:
        tasks: list of tuples, the classes of each task.
        accuracy: list with one list a task, of what was right among the test rows of
            that task and of each before it: row `i` has `i + 1` numbers. A learner has
            all classes seen so far to choose from, and is not told the task.
        seen: list, accuracy over the test rows of all classes seen after each task.
        rows: list of int, training rows of each task.
        seconds: list of float, wall time that each task took to learn.
        cpu_seconds: list of float, processor time of the same.
        memory: list of int, bytes that the learner keeps after each task.
    """

    tasks: list[tuple[int, ...]]
    accuracy: list[list[float]]
    seen: list[float]
    rows: list[int]
    seconds: list[float]
    cpu_seconds: list[float]
    memory: list[int]

    @property
    def final(self) -> float:
        """Accuracy over all classes after the last task."""
        return self.seen[-1]

    @property
    def forgetting(self) -> float:
        """By how much accuracy on a task fell from when it was learnt, at the end.

        The mean over all tasks but the last; it falls without any forgetting too, as
        there are more classes to choose from.
        """
        last = self.accuracy[-1]
        falls = [row[-1] - last[i] for i, row in enumerate(self.accuracy[:-1])]
        return float(np.mean(falls)) if falls else 0.0

    @property
    def bytes_per_class(self) -> float:
        """Bytes kept at the end, for each class."""
        return self.memory[-1] / sum(map(len, self.tasks))

    @property
    def seconds_per_class(self) -> float:
        """Processor seconds of learning, for each class."""
        return sum(self.cpu_seconds) / sum(map(len, self.tasks))


def run_stream(
    learner: Learner, tasks: Iterable[Task], test: tuple[np.ndarray, np.ndarray]
) -> StreamResult:
    """Has a learner learn tasks in one pass, and measures it after each.

    Args:
        learner: `Learner`.
        tasks: `Task`s, such as `class_stream` yields.
        test: rows `(n, ...)` and their classes `(n,)`; those of classes that have not
            come yet are left aside.

    Returns:
        `StreamResult`.

    Raises:
        ValueError: if there is no task, or a class has no test rows.
    """
    test_x, test_y = np.asarray(test[0]), np.asarray(test[1])
    check_rows(test_x, test_y, "test")
    result = StreamResult([], [], [], [], [], [], [])
    for task in tasks:
        absent = sorted(set(task.classes) - set(np.unique(test_y).tolist()))
        if absent:
            raise ValueError(
                "`test` must have rows of each class. Received: none of "
                f"{absent}; hold some of its rows back from the stream."
            )
        _learn(learner, task, result)
        _measure(learner, test_x, test_y, result)
    if not result.tasks:
        raise ValueError("`tasks` must hold at least one task. Received: none.")
    return result


def _learn(learner, task, result) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    learner.learn(task.x, task.y)
    result.seconds.append(time.perf_counter() - wall)
    result.cpu_seconds.append(time.process_time() - processor)
    result.tasks.append(tuple(task.classes))
    result.rows.append(len(task.x))
    result.memory.append(learner.memory())


def _measure(learner, x, y, result) -> None:
    classes = [label for task in result.tasks for label in task]
    seen = np.isin(y, classes)
    right = learner.predict(x[seen]) == y[seen]
    of_task = [np.isin(y[seen], task) for task in result.tasks]
    result.accuracy.append([float(right[rows].mean()) for rows in of_task])
    result.seen.append(float(right.mean()))
