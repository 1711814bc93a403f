"""Pictures; matplotlib is imported only when one is drawn."""

from keras_ebm.plots.drift import draw_drift
from keras_ebm.plots.episodes import episodes_figure
from keras_ebm.plots.figures import pyplot, save, to_array
from keras_ebm.plots.parallel import ParallelAxis, parallel_coordinates
from keras_ebm.plots.pictures import (
    draw_energy_histograms,
    draw_energy_map,
    draw_energy_pair,
    draw_images,
    draw_reliability,
    image_grid,
    model_figure,
    pixel_range,
    rows_of_images,
    samples_figure,
    samples_of,
)
from keras_ebm.plots.restorations import draw_restorations
from keras_ebm.plots.robustness import draw_robustness
from keras_ebm.plots.streams import draw_streams

__all__ = [
    "ParallelAxis",
    "draw_drift",
    "draw_energy_histograms",
    "draw_energy_map",
    "draw_energy_pair",
    "draw_images",
    "draw_reliability",
    "draw_robustness",
    "draw_restorations",
    "draw_streams",
    "episodes_figure",
    "image_grid",
    "model_figure",
    "parallel_coordinates",
    "pixel_range",
    "pyplot",
    "rows_of_images",
    "samples_figure",
    "samples_of",
    "save",
    "to_array",
]
