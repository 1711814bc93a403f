"""Pictures; matplotlib is imported only when one is drawn."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_ebm import files
from keras_ebm.arguments import why_not_imported


def pyplot():
    """Imports matplotlib.pyplot without a display; ImportError says how to get it."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as module
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which "
            f"{why_not_imported('matplotlib', error)}. "
            'Run `pip install "keras_ebm[plots]"`.'
        ) from error
    return module


def to_array(figure) -> np.ndarray:
    """Renders a figure to uint8 `(height, width, 4)` and closes it."""
    figure.canvas.draw()
    array = np.asarray(figure.canvas.buffer_rgba()).copy()
    pyplot().close(figure)
    return array


def save(figure, path) -> None:
    """Writes a figure to a file, and closes the figure.

    Args:
        figure: of matplotlib.
        path: of the file, whose ending says of which format; `.png` is added to a name
            without one. Or a binary file that is open, which gets a PNG.
    """
    if hasattr(path, "write"):
        figure.savefig(path, dpi=120)
    else:
        path = Path(path)
        path = path if path.suffix else path.with_suffix(".png")
        picture = io.BytesIO()
        figure.savefig(picture, dpi=120, format=path.suffix[1:])
        files.write_bytes(path, picture.getbuffer())
    pyplot().close(figure)


def image_grid(images, columns: int, value_range=(-1.0, 1.0)) -> np.ndarray:
    """Tiles images `(n, h, w, c)` in a range of values into one picture in `[0, 1]`.

    A white line separates neighbours; the last row is filled up with white.
    """
    low, high = value_range
    images = (np.asarray(images, np.float32) - low) / (high - low)
    images = np.clip(images, 0.0, 1.0)
    images = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    missing = -len(images) % columns
    images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=1.0)
    rows = images.reshape(-1, columns, *images.shape[1:])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def draw_images(
    axis, images, columns: int, title: str = "", value_range=(-1.0, 1.0)
) -> None:
    """Draws a grid of images in a range of values on a matplotlib axis."""
    grid = image_grid(images, columns, value_range)
    grid = grid[..., 0] if grid.shape[-1] == 1 else grid
    axis.imshow(grid, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.axis("off")


def draw_energy_map(axis, energy_fn, data, samples=None, extent: float = 4.0) -> None:
    """Draws `exp(-E)` of a 2-D model with its data and samples.

    Args:
        axis: matplotlib axis.
        energy_fn: callable from `(n, 2)` to energies `(n,)` in nats.
        data: `(n, 2)`.
        samples: `(m, 2)` or None.
        extent: half the side of the square that is drawn, in the data's units.
    """
    line = np.linspace(-extent, extent, 200, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    energy = np.asarray(energy_fn(points)).reshape(200, 200)
    density = np.exp(energy.min() - energy)
    box = (-extent, extent, -extent, extent)
    axis.imshow(density, origin="lower", extent=box, cmap="magma")
    axis.scatter(*np.asarray(data[:500]).T, s=2, c="white", alpha=0.4, label="data")
    if samples is not None:
        samples = np.asarray(samples[:500])
        axis.scatter(*samples.T, s=2, c="deepskyblue", alpha=0.6, label="samples")
    axis.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axis.legend(loc="upper right", fontsize=7)


def draw_energy_histograms(axis, energies: dict, threshold=None) -> None:
    """Draws one histogram of energies (nats) for each named set of inputs."""
    values = np.concatenate([np.asarray(value) for value in energies.values()])
    low, high = np.percentile(values, [0.5, 99.5])
    bins = np.linspace(low, high, 60)
    for name, value in energies.items():
        clipped = np.clip(value, low, high)
        axis.hist(clipped, bins, density=True, histtype="step", lw=1.6, label=name)
    if threshold is not None:
        axis.axvline(threshold, color="black", ls="--", lw=1, label="refused above")
    axis.set(xlabel="energy (nats), low is likely", ylabel="density")
    axis.legend(fontsize=8)


def model_figure(model, data, samples=None):
    """A figure of what a model has learnt, or None if there is none to draw.

    Args:
        model: an `EnergyModel`.
        data: preprocessed data `(rows, ...)`.
        samples: preprocessed samples; default its own where it can make them.
    """
    data = np.asarray(data)
    samples = samples_of(model) if samples is None else samples
    if data.shape[1:] == (2,):
        figure, axis = pyplot().subplots(figsize=(5, 5), layout="constrained")

        def energy_fn(points):
            return model.to_energy(model.network(points))

        extent = 1.3 * float(np.abs(data).max())
        draw_energy_map(axis, energy_fn, data, samples, extent)
        return figure
    if data.ndim == 4 and samples is not None:
        figure, axes = pyplot().subplots(1, 2, figsize=(8, 4.2), layout="constrained")
        value_range = pixel_range(model)
        draw_images(axes[0], data[:64], 8, "data", value_range)
        draw_images(axes[1], samples[:64], 8, "samples", value_range)
        return figure
    return None


def samples_figure(model, samples):
    """A figure of samples alone: a grid of images, or points on the energy's map.

    Args:
        model: `EnergyModel`.
        samples: preprocessed `(n, ...)`: images, points of the plane, or rows,
            which are drawn as an image of one row each.
    """
    samples = np.asarray(samples)
    if samples.shape[1:] == (2,):
        return model_figure(model, samples)
    if samples.ndim != 4:
        samples = samples.reshape(len(samples), 1, -1, 1)
        columns, value_range = 1, (samples.min(), samples.max() + 1e-6)
    else:
        columns = int(np.ceil(np.sqrt(len(samples))))
        value_range = pixel_range(model)
    figure, axis = pyplot().subplots(figsize=(8, 8), layout="constrained")
    draw_images(axis, samples, columns, value_range=value_range)
    return figure


def pixel_range(model) -> tuple[float, float]:
    """What black and white become before an image model's network."""
    scale = getattr(model.preprocessor, "scale", 2.0 / 255.0)
    offset = getattr(model.preprocessor, "offset", -1.0)
    return float(offset), float(offset + 255.0 * scale)


def samples_of(model):
    """500 samples of a model that can make them without data, else None."""
    return model.sample(500) if model.can_sample else None


def draw_reliability(axis, table, title: str = "") -> None:
    """Draws accuracy by confidence: below the diagonal a classifier is too sure.

    Bars are shares of the rows; marks, larger for more rows, the mean confidence and
    accuracy of each bin with Wilson's 95 % interval.

    Args:
        axis: matplotlib axis.
        table: `keras_ebm.metrics.Reliability`.
        title: str.
    """
    filled = table.count > 0
    count, accuracy = table.count[filled], table.accuracy[filled]
    share = table.count / table.count.sum()
    width = np.diff(table.edges)
    axis.bar(table.edges[:-1], share, width, align="edge", color="0.88", label="rows")
    axis.plot([0, 1], [0, 1], color="0.4", ls="--", lw=1, label="calibrated")
    # Wilson's interval, as most bins have few rows, all of them right or wrong.
    z = 1.96
    centre = (accuracy + z**2 / (2 * count)) / (1 + z**2 / count)
    variance = accuracy * (1 - accuracy) / count + z**2 / (4 * count**2)
    half = z * np.sqrt(variance) / (1 + z**2 / count)
    ends = np.maximum([accuracy - centre + half, centre + half - accuracy], 0.0)
    x = table.confidence[filled]
    axis.errorbar(x, accuracy, ends, fmt="none", ecolor="tab:blue", lw=1, alpha=0.6)
    size = 15 + 85 * share[filled]
    axis.scatter(x, accuracy, size, color="tab:blue", label="accuracy", zorder=3)
    # Marks at 0 and 1 would be cut in half by the frame.
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=title)
    axis.set(xlabel="confidence", ylabel="accuracy, and share of rows")
    axis.legend(loc="upper left", fontsize=8)


def draw_energy_pair(axis, known, foreign, title: str = "") -> None:
    """Draws the energies (nats) of known rows, filled, against those of a foreign set.

    The range holds 98 % of each; what lies beyond is counted in the outermost bins.

    Args:
        axis: matplotlib axis.
        known: float array of shape `(rows,)`.
        foreign: float array of shape `(other_rows,)`.
        title: str.
    """
    known, foreign = np.asarray(known), np.asarray(foreign)
    ends = np.percentile(known, [1, 99]), np.percentile(foreign, [1, 99])
    low, high = np.min(ends), np.max(ends)
    bins = np.linspace(low, high if high > low else low + 1.0, 50)
    styles = (
        (
            known,
            "known",
            {"histtype": "stepfilled", "color": "tab:blue", "alpha": 0.45},
        ),
        (foreign, "foreign", {"histtype": "step", "color": "tab:red", "lw": 1.6}),
    )
    for values, label, style in styles:
        # Shares, not densities: a narrow set flattens a wide one less.
        weights = np.full(len(values), 1.0 / len(values))
        values = np.clip(values, bins[0], bins[-1])
        axis.hist(values, bins, weights=weights, label=label, **style)
    axis.set(xlabel="energy (nats), low is likely", ylabel="share of rows")
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8)


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


def parallel_coordinates(axes, results, label: str, higher_is_better: bool = True):
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
    if axis.scale == "log":
        powers = range(int(np.ceil(np.log10(low))), int(np.log10(high)) + 1)
        between = [10.0**power for power in powers]
    elif isinstance(low, int) and high - low <= 10:
        between = list(range(low + 1, high))
    else:
        between = [low + (high - low) * share for share in (0.25, 0.5, 0.75)]
    clear = [value for value in between if 0.06 < _height(axis, value) < 0.94]
    return [low, *clear, high]
