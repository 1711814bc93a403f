"""What learners of a stream know after each of its tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_ebm.plots.figures import pyplot


def draw_streams(
    seen: Mapping[str, Sequence[Sequence[float]]], tasks: Sequence[str]
) -> Any:
    """A figure of accuracy over the classes seen so far, a line a learner.

    Args:
        seen: by learner, one sequence for each run: an accuracy in [0, 1] after each
            task. The line is their mean, and the band goes from the lowest to the
            highest.
        tasks: names of the tasks, in their order.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if a run has another number of tasks.
    """
    for name, runs in seen.items():
        if not runs or any(len(run) != len(tasks) for run in runs):
            raise ValueError(
                f"`seen` must hold an accuracy for each of {len(tasks)} tasks. "
                f"Received: {[len(run) for run in runs]} of {name!r}."
            )
    figure, axes = pyplot().subplots(figsize=(8.0, 4.5), layout="constrained")
    places = range(len(tasks))
    colours = pyplot().get_cmap("tab10")
    final = {
        name: sum(run[-1] for run in runs) / len(runs) for name, runs in seen.items()
    }
    # The legend stands in the order of the lines' ends.
    for index, name in enumerate(
        sorted(final, key=lambda name: final[name], reverse=True)
    ):
        columns = list(zip(*seen[name], strict=True))
        means = [100 * sum(column) / len(column) for column in columns]
        colour = colours(index % 10)
        label = f"{name} {means[-1]:.1f}"
        axes.plot(places, means, marker="o", ms=4, color=colour, label=label)
        low, high = ([100 * pick(c) for c in columns] for pick in (min, max))
        axes.fill_between(places, low, high, color=colour, alpha=0.15, lw=0)
    axes.set_xticks(list(places), tasks)
    axes.set(xlabel="task", ylabel="accuracy over the classes seen, %", ylim=(0, 102))
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure
