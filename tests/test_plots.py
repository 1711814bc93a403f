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


def crossing(results, **options):
    axes = [
        plots.ParallelAxis("rate", [1e-4, 1e-3, 1e-2], "log", (1e-4, 1e-2)),
        plots.ParallelAxis("depth", [1, 2, 3], "linear", (1, 5)),
        plots.ParallelAxis("kind", ["b", "a", "b"], "choice", ("a", "b")),
    ]
    return plots.parallel_coordinates(axes, results, "accuracy", **options)


def test_settings_are_lines_over_axes_of_their_scales():
    figure = crossing([0.5, None, 0.9])
    panel = figure.axes[0]
    names = [text.get_text() for text in panel.get_xticklabels()]
    assert names == ["rate", "depth", "kind", "accuracy"]
    failed, worse, better = panel.lines[:3]
    # A log axis has 1e-3 in the middle; choices are spread out; a failure has no end.
    np.testing.assert_allclose(failed.get_ydata(), [0.5, 0.25, 0.0])
    np.testing.assert_allclose(worse.get_ydata(), [0.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(better.get_ydata(), [1.0, 0.5, 1.0, 1.0])
    assert failed.get_linestyle() == "--" and "failed" in str(
        [text.get_text() for text in figure.legends[0].get_texts()]
    )
    labels = [text.get_text() for text in panel.texts]
    assert {"0.0001", "0.001", "0.01", "a", "b", "1", "5"} <= set(labels)
    assert worse.get_color() != better.get_color()
    array = plots.to_array(figure)
    assert len(np.unique(array.reshape(-1, 4), axis=0)) > 100


def test_a_setting_of_one_value_lies_in_the_middle_of_its_axis():
    axes = [plots.ParallelAxis("rate", [0.1, 0.1], "log", (0.1, 0.1))]
    panel = plots.parallel_coordinates(axes, [0.5, 0.7], "accuracy").axes[0]
    np.testing.assert_allclose(panel.lines[0].get_ydata(), [0.5, 0.0])
    assert [text.get_text() for text in panel.texts].count("0.1") == 1


def test_the_best_line_has_the_bright_colour_whichever_end_is_good():
    colours = [
        crossing([0.5, 0.7, 0.9], higher_is_better=up).axes[0].lines[2].get_color()
        for up in (True, False)
    ]
    assert colours[0] == colours[1]


def test_settings_without_any_result_are_refused():
    with pytest.raises(ValueError, match="`results` must hold a number"):
        crossing([None, None, None])


def test_restorations_stand_below_one_another_under_their_names():
    images = np.zeros((3, 4, 4, 1))
    figure = plots.draw_restorations({"observed": images, "a spread": images + 0.5})
    texts = [axis.texts[0].get_text() for axis in figure.axes]
    assert texts == ["observed", "a spread"]
    # Half of the range from -1 to 1 is 1: a spread of 0.5 is drawn as mid-grey.
    drawn = [axis.images[0].get_array() for axis in figure.axes]
    assert drawn[0][1, 1] == 0.5 and drawn[1][1, 1] == 0.5
    plots.pyplot().close(figure)
    with pytest.raises(ValueError, match="as many images"):
        plots.draw_restorations({"one": images, "other": images[:2]})


@pytest.mark.parametrize("flagged, pictures", [((0, 0, 0), 1), ((4, 4, 2), 2)])
def test_a_stream_is_drawn_with_its_alarm(flagged, pictures):
    history = {
        "answers": [4, 8, 10],
        "log10_capital": [0.0, 1.0, 3.0],
        "flagged": flagged,
        "refused": [min(1, count) for count in flagged],
    }
    figure = plots.draw_drift(history, 0.01, alarm_at=9, expected=0.05)
    assert len(figure.axes) == pictures
    assert figure.get_suptitle() == "alarm at answer 9"
    assert list(figure.axes[0].lines[1].get_ydata()) == [2.0, 2.0]
    if pictures == 2:
        shares = figure.axes[1].lines[0].get_ydata()
        np.testing.assert_allclose(shares, [25.0, 25.0, 50.0])
    plots.to_array(figure)


def test_a_stream_without_answers_is_not_drawn():
    with pytest.raises(ValueError, match="`history` must hold one answer"):
        plots.draw_drift({"answers": []}, 0.01)
