"""What classifiers still know under attack."""

from collections.abc import Mapping
from typing import Any

from keras_ebm.plots.figures import pyplot


def draw_robustness(
    curves: Mapping[str, Mapping[float, float]], unit: str = "bound"
) -> Any:
    """A figure of accuracy by the bound of an attack, a line a name.

    Args:
        curves: by name, accuracy in [0, 1] by bound.
        unit: words for the bounds' axis, such as the norm.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if an accuracy is outside [0, 1].
    """
    figure, axes = pyplot().subplots(figsize=(7.5, 4.2), layout="constrained")
    for name, values in curves.items():
        if not all(0.0 <= value <= 1.0 for value in values.values()):
            raise ValueError(
                f"`curves` must be accuracies in [0, 1]. Received: {dict(values)!r} of "
                f"{name!r}."
            )
        bounds = sorted(values)
        heights = [100 * values[bound] for bound in bounds]
        width = 2.4 if name == "strongest" else 1.4
        axes.plot(bounds, heights, marker="o", ms=4, lw=width, label=name)
    axes.set(xlabel=unit, ylabel="right, %", ylim=(-2, 102))
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure
