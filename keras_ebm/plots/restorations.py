"""Pictures of what was restored."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_ebm.plots.figures import pyplot
from keras_ebm.plots.pictures import draw_images


def draw_restorations(
    panels: Mapping[str, Any],
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Any:
    """A figure of images side by side: a row of pictures for each name.

    Args:
        panels: by name, images `(n, height, width, channels)`, as many of each. A name
            that ends in "spread" is of standard deviations, drawn from 0 to half of
            the range.
        value_range: `(low, high)`, black and white.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if there is no panel or their numbers differ.
    """
    counts = {name: len(images) for name, images in panels.items()}
    if not counts or len(set(counts.values())) > 1 or not max(counts.values()):
        raise ValueError(
            f"`panels` must hold as many images of each name. Received: {counts}."
        )
    columns = next(iter(counts.values()))
    size = (0.6 * columns + 1.2, 0.75 * len(panels))
    figure, axes = pyplot().subplots(
        len(panels), 1, figsize=size, layout="constrained", squeeze=False
    )
    half = 0.5 * (value_range[1] - value_range[0])
    for axis, (name, images) in zip(axes[:, 0], panels.items(), strict=True):
        drawn = (0.0, half) if name.endswith("spread") else value_range
        draw_images(axis, np.asarray(images), columns, value_range=drawn)
        axis.text(-0.01, 0.5, name, ha="right", va="center", transform=axis.transAxes)
    return figure
