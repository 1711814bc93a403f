"""The picture that a run on points of the plane ends with."""

from pathlib import Path

from keras_ebm import plots

PICTURE_FILE = "density.png"


def has_picture(run, fit) -> bool:
    """Whether a run ends with the picture of a density in the plane."""
    return fit.picture and run.dataset.kind == "vector" and run.is_plane


def draw_density(model, run, path: Path) -> None:
    """Draws the energy, the data and the samples of a 2-D model."""
    data = model.preprocess(run.rows("test")[0][:2000])
    plots.save(plots.model_figure(model, data), path)
