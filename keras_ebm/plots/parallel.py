"""A figure of many settings and what came of each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_ebm.plots.figures import pyplot


class ParallelAxis(NamedTuple):
    """One axis of `parallel_coordinates`.

    Attributes:
        name: str, drawn below it.
        values: one for each line; numbers, or of a choice any of `ends`.
        scale: `"linear"`, `"log"` or `"choice"`.
        ends: the smallest and largest number, or all choices, the lowest first.
    """

    name: str
    values: Sequence
    scale: str
    ends: Sequence


def parallel_coordinates(
    axes: Sequence[ParallelAxis],
    results: Sequence[float | None],
    label: str,
    higher_is_better: bool = True,
):
    """A figure of many settings and what came of each: a line for each over all axes.

    The best lines lie on top, the last axis is the result, and settings without one
    are dashed grey lines that end before it.

    Args:
        axes: sequence of `ParallelAxis`, whose values are of the same settings.
        results: one number for each setting, None where there is none.
        label: str, what the results are.
        higher_is_better: bool, which end of the colours is the good one.

    Raises:
        ValueError: if there is no result, or an axis has another number of values.
    """
    found = [value for value in results if value is not None]
    if not found or any(len(axis.values) != len(results) for axis in axes):
        raise ValueError(
            "`results` must hold a number and be as many as the values of each axis. "
            f"Received: {len(found)} numbers among {len(results)} results for axes of "
            f"{[len(axis.values) for axis in axes]} values."
        )
    low, high = min(found), max(found)
    ends = (low, high) if high > low else (low - 0.5, high + 0.5)
    axes = [*axes, ParallelAxis(label, results, "linear", ends)]
    colours = pyplot().cm.ScalarMappable(
        pyplot().Normalize(*ends), "viridis" if higher_is_better else "viridis_r"
    )
    size = (2.0 + 1.1 * len(axes), 5.0)
    figure, panel = pyplot().subplots(figsize=size, layout="constrained")
    for index in sorted(
        range(len(results)), key=lambda i: _rank(results[i], higher_is_better)
    ):
        heights = [_height(axis, axis.values[index]) for axis in axes]
        _draw_line(panel, heights, results[index], colours)
    for place, axis in enumerate(axes):
        _draw_scale(panel, place, axis)
    _finish_panel(panel, axes, len(found) < len(results))
    figure.colorbar(colours, ax=panel, label=label, pad=0.02)
    return figure


def _draw_line(panel, heights, result, colours):
    if result is None:
        panel.plot(heights[:-1], color="0.6", ls="--", lw=1.0)
    else:
        panel.plot(heights, color=colours.to_rgba(result), lw=1.8, alpha=0.85)


def _finish_panel(panel, axes, some_failed):
    panel.set_xticks(range(len(axes)), [axis.name for axis in axes], rotation=30)
    for text in panel.get_xticklabels():
        text.set(ha="right", rotation_mode="anchor", fontsize=8)
    panel.tick_params(length=0)
    panel.set(yticks=[], xlim=(-0.5, len(axes) - 0.8), ylim=(-0.05, 1.05))
    panel.spines[:].set_visible(False)
    if some_failed:
        panel.plot([], [], color="0.6", ls="--", label="failed")
        panel.figure.legend(loc="outside upper left", fontsize=8)


def _rank(result, higher_is_better):
    """Sorts failures first and the best last."""
    if result is None:
        return (0, 0.0)
    return (1, result if higher_is_better else -result)


def _height(axis, value) -> float:
    """Where a value lies on its axis, from 0 to 1."""
    if value is None:
        return np.nan
    if axis.scale == "choice":
        return list(axis.ends).index(value) / max(len(axis.ends) - 1, 1)
    low, high = axis.ends
    if low == high:
        # One value for all settings.
        return 0.5
    if axis.scale == "log":
        value, low, high = np.log(value), np.log(low), np.log(high)
    return float((value - low) / (high - low))


def _draw_scale(panel, place, axis):
    """A vertical line with a few values beside it."""
    panel.plot([place, place], [0.0, 1.0], color="black", lw=0.8)
    for value in _ticks(axis):
        height = _height(axis, value)
        panel.plot([place - 0.03, place], [height] * 2, color="black", lw=0.8)
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        panel.text(
            place - 0.05,
            height,
            text,
            ha="right",
            va="center",
            fontsize=7,
            bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.5},
        )


def _ticks(axis):
    """Choices, or both ends and round values between that keep clear of them."""
    if axis.scale == "choice":
        return list(axis.ends)
    low, high = axis.ends
    if low == high:
        return [low]
    if axis.scale == "log":
        powers = range(int(np.ceil(np.log10(low))), int(np.log10(high)) + 1)
        between = [10.0**power for power in powers]
    elif isinstance(low, int) and high - low <= 10:
        between = list(range(low + 1, high))
    else:
        between = [low + (high - low) * share for share in (0.25, 0.5, 0.75)]
    clear = [value for value in between if 0.06 < _height(axis, value) < 0.94]
    return [low, *clear, high]
