"""Pictures of episodes: how states move, true and made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_ebm.plots.figures import pyplot

#: Episodes drawn in a panel.
LINES = 12


def episodes_figure(
    groups: Mapping[str, np.ndarray],
    entries: Sequence[int],
    curves: Mapping[str, np.ndarray],
    names: Sequence[str] | None = None,
) -> Any:
    """Draws some entries of episodes over the steps, and a measure of each step.

    Args:
        groups: `(n, steps + 1, state)` by name; each is a row of panels, of which the
            first gives the range.
        entries: numbers of the entries to draw, a column of panels each.
        curves: `(steps,)` by name, drawn into the last row.
        names: of the entries drawn, for the titles; default their numbers.

    Returns:
        A figure of matplotlib.
    """
    rows, columns = len(groups) + 1, len(entries)
    figure = pyplot().figure(figsize=(3.2 * columns, 1.7 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, columns, height_ratios=[1] * len(groups) + [1.3])
    first = next(iter(groups.values()))
    titles = names or [f"entry {entry}" for entry in entries]
    for row, (name, states) in enumerate(groups.items()):
        for column, entry in enumerate(entries):
            axes = figure.add_subplot(grid[row, column])
            axes.plot(states[:LINES, :, entry].T, linewidth=0.7, alpha=0.8)
            low, high = first[..., entry].min(), first[..., entry].max()
            margin = 0.05 * (high - low) + 1e-6
            axes.set_ylim(low - margin, high + margin)
            axes.set_xticks([])
            if column == 0:
                axes.set_ylabel(name)
            if row == 0:
                axes.set_title(titles[column], fontsize="medium")
    axes = figure.add_subplot(grid[-1, :])
    for name, values in curves.items():
        axes.plot(np.arange(1, len(values) + 1), values, label=name, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("Frechet distance")
    axes.set_yscale("log")
    axes.legend(fontsize="small", ncols=3)
    return figure
