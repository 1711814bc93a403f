"""How a monitored stream of answers went."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_ebm.plots.figures import pyplot


def draw_drift(
    history: Mapping[str, Sequence[float]],
    level: float,
    *,
    alarm_at: int | None = None,
    expected: float | None = None,
) -> Any:
    """A figure of a monitor's capital, and of the refused, over answers.

    Args:
        history: of `DriftMonitor.history`.
        level: float in (0, 1); the alarm is raised at `1 / level`.
        alarm_at: optional int, the answer that raised it.
        expected: optional float, the share that the model should refuse.

    Returns:
        A matplotlib figure. Without accept flags it has the first picture alone.

    Raises:
        ValueError: if there is nothing to draw.
    """
    answers = np.asarray(history["answers"])
    if not len(answers):
        raise ValueError(
            "`history` must hold one answer at least. Received: none; feed the monitor."
        )
    flagged, refused = np.asarray(history["flagged"]), np.asarray(history["refused"])
    rows = 2 if flagged.any() else 1
    figure, all_axes = pyplot().subplots(
        rows,
        figsize=(8.0, 2.6 * rows),
        layout="constrained",
        sharex=True,
        squeeze=False,
    )
    _draw_capital(all_axes[0, 0], answers, history["log10_capital"], level)
    if rows == 2:
        _draw_refused(all_axes[1, 0], answers, flagged, refused, expected)
    for axes in all_axes[:, 0]:
        if alarm_at is not None:
            axes.axvline(alarm_at, color="tab:red", lw=1.0, ls=":")
        axes.grid(alpha=0.3)
        axes.set_xlim(0, max(answers[-1], 1))
    if alarm_at is not None:
        figure.suptitle(f"alarm at answer {alarm_at}", color="tab:red", fontsize=11)
    all_axes[-1, 0].set_xlabel("answers")
    return figure


def _draw_capital(axes, answers, log10_capital, level: float) -> None:
    axes.plot(answers, log10_capital, color="tab:blue")
    axes.axhline(-math.log10(level), color="tab:red", lw=1.2)
    axes.annotate(
        f"alarm at {1 / level:g}",
        (0.01, -math.log10(level)),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        color="tab:red",
        fontsize=9,
    )
    axes.set_ylabel("evidence of change,\npowers of ten")
    axes.set_ylim(top=1.15 * max(-math.log10(level), *log10_capital) + 0.2)


def _draw_refused(axes, answers, flagged, refused, expected) -> None:
    """The share of about twenty pieces, as that of few answers says little."""
    groups = np.array_split(np.arange(len(answers)), min(20, len(answers)))
    groups = [group for group in groups if flagged[group].any()]
    shares = [100.0 * refused[g].sum() / flagged[g].sum() for g in groups]
    starts = [answers[g[0] - 1] if g[0] else 0 for g in groups]
    ends = [answers[g[-1]] for g in groups]
    middles = [0.5 * (start + end) for start, end in zip(starts, ends, strict=True)]
    axes.plot(middles, shares, marker="o", ms=3, color="tab:blue")
    if expected is not None:
        label = f"the model's rate, {100.0 * expected:g} %"
        axes.axhline(100.0 * expected, color="0.4", lw=1.2, ls="--", label=label)
        axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.set_ylabel("refused, %")
    axes.set_ylim(0, 1.15 * max(*shares, 100.0 * (expected or 0.0), 1.0))
