"""Pictures of samples, energies and calibration."""

from typing import Any

import keras
import numpy as np

from keras_ebm.plots.figures import pyplot
from keras_ebm.protocols import EnergyFn


def image_grid(
    images: np.ndarray, columns: int, value_range: tuple[float, float] = (-1.0, 1.0)
) -> np.ndarray:
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
    axis: Any,
    images: np.ndarray,
    columns: int,
    title: str = "",
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> None:
    """Draws a grid of images in a range of values on a matplotlib axis."""
    grid = image_grid(images, columns, value_range)
    grid = grid[..., 0] if grid.shape[-1] == 1 else grid
    axis.imshow(grid, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.axis("off")


def draw_energy_map(
    axis: Any,
    energy_fn: EnergyFn,
    data: np.ndarray,
    samples: np.ndarray | None = None,
    extent: float = 4.0,
) -> None:
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


def draw_energy_histograms(
    axis: Any, energies: dict, threshold: float | None = None
) -> None:
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


def model_figure(
    model: keras.Model, data: np.ndarray, samples: np.ndarray | None = None
):
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


def samples_figure(model: keras.Model, samples: np.ndarray):
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


def rows_of_images(
    rows: dict[str, np.ndarray], value_range: tuple[float, float] = (-1.0, 1.0)
):
    """A figure of a row of images for each title.

    Args:
        rows: images `(n, height, width, channels)` by title.
        value_range: `(low, high)` of black and white.
    """
    most = max(len(images) for images in rows.values())
    figure, axes = pyplot().subplots(
        len(rows), 1, figsize=(0.9 * most, 1.2 * len(rows)), layout="constrained"
    )
    for axis, (title, images) in zip(np.atleast_1d(axes), rows.items(), strict=True):
        draw_images(axis, images, most, value_range=value_range)
        axis.set_title(title, fontsize=9, loc="left")
    return figure


def pixel_range(model: keras.Model) -> tuple[float, float]:
    """What black and white become before an image model's network."""
    scale = getattr(model.preprocessor, "scale", 2.0 / 255.0)
    offset = getattr(model.preprocessor, "offset", -1.0)
    return float(offset), float(offset + 255.0 * scale)


def samples_of(model: keras.Model):
    """500 samples of a model that can make them without data, else None."""
    return model.sample(500) if model.can_sample else None


def draw_reliability(axis: Any, table: Any, title: str = "") -> None:
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


def draw_energy_pair(
    axis: Any, known: np.ndarray, foreign: np.ndarray, title: str = ""
) -> None:
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
