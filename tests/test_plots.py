import keras
import numpy as np
import pytest
from support import make_network

from keras_ebm import plots
from keras_ebm.models import EnergyModel, LangevinModel
from keras_ebm.negatives import LangevinMoves, MarkovChains


def test_a_grid_maps_its_range_to_black_and_white():
    images = np.stack([np.zeros((2, 2, 1)), np.ones((2, 2, 1))])
    grid = plots.image_grid(images, 2, value_range=(0.0, 1.0))
    assert grid.shape == (4, 8, 1)
    assert grid[1, 1, 0] == 0.0 and grid[1, 5, 0] == 1.0 and grid[0, 0, 0] == 1.0
    half = plots.image_grid(images, 2)
    assert half[1, 1, 0] == 0.5


@pytest.mark.parametrize(
    "scale, offset, low", [(1 / 127.5, -1.0, -1.0), (1 / 256, 0, 0)]
)
def test_the_range_of_pixels_is_read_off_the_preprocessor(scale, offset, low):
    rescaling = keras.layers.Rescaling(scale, offset=offset)
    model = EnergyModel(make_network(1), preprocessor=rescaling)
    assert plots.pixel_range(model) == pytest.approx((low, low + 255 * scale))


@pytest.mark.parametrize("shape", [(9, 6, 6, 3), (9, 4)])
def test_samples_of_any_shape_are_drawn(shape, tmp_path):
    model = EnergyModel(make_network(1))
    x = np.random.default_rng(0).uniform(-1, 1, shape)
    plots.save(plots.samples_figure(model, x), tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 1000


def test_chains_that_need_data_are_not_drawn():
    chains = MarkovChains(LangevinMoves(1), start="data")
    model = LangevinModel(make_network(1), chains)
    assert plots.model_figure(model, np.zeros((8, 4))) is None
