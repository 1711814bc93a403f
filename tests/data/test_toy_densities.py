import math

import numpy as np
import pytest

from keras_ebm import data
from keras_ebm.data import EXACT, log_density, toy_densities

NUM_ROWS = 4000
# Cells of side 0.025; the checkerboard's edges fall between them.
SIDE, NUM_CELLS = 0.025, 480


@pytest.fixture(scope="module", params=EXACT)
def on_grid(request):
    """A density's name and its mass and log-density in the cells of [-6, 6] squared."""
    line = SIDE * (np.arange(NUM_CELLS) + 0.5) - 6.0
    points = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    values = log_density(request.param, points.reshape(-1, 2))
    values = values.reshape(NUM_CELLS, NUM_CELLS)
    return request.param, SIDE**2 * np.exp(values), values


def test_a_density_integrates_to_one(on_grid):
    name, mass, _ = on_grid
    assert mass.sum() == pytest.approx(1.0, abs=1e-6)


def test_draws_have_the_entropy_of_the_density(on_grid):
    name, mass, values = on_grid
    filled = mass > 0.0
    entropy = -np.sum(mass[filled] * values[filled])
    found = -log_density(name, data.draw(name, NUM_ROWS, seed=1))
    standard_error = found.std() / math.sqrt(NUM_ROWS)
    assert abs(found.mean() - entropy) < 4.0 * standard_error + 1e-6


def test_draws_fill_coarse_cells_as_the_density_does(on_grid):
    name, mass, _ = on_grid
    cells = 24
    expected = mass.reshape(cells, NUM_CELLS // cells, cells, -1).sum(axis=(1, 3))
    x = data.draw(name, 10 * NUM_ROWS, seed=2)
    box = [[-6.0, 6.0], [-6.0, 6.0]]
    counts, _, _ = np.histogram2d(*x.T, bins=cells, range=box)
    expected = expected.ravel() * len(x)
    filled = expected > 5.0
    pairs = [(counts.ravel()[filled], expected[filled])]
    # Cells that expect less are put together.
    pairs.append(([counts.ravel()[~filled].sum()], [expected[~filled].sum()]))
    counts, expected = (np.concatenate(part) for part in zip(*pairs, strict=True))
    chi_square = np.sum((counts - expected) ** 2 / np.maximum(expected, 1.0))
    # Five standard deviations of chi-square with that many degrees of freedom.
    freedom = len(counts) - 1
    assert chi_square < freedom + 5.0 * math.sqrt(2.0 * freedom)


@pytest.mark.parametrize("name", ["moons", "swissroll"])
def test_twice_the_nodes_change_no_log_density(name, monkeypatch):
    x = np.random.default_rng(0).uniform(-8.0, 8.0, (2000, 2))
    found = log_density(name, x)
    monkeypatch.setattr(toy_densities, "NUM_NODES", 1024)
    np.testing.assert_allclose(found, log_density(name, x), atol=1e-10, rtol=1e-13)


def test_an_edge_of_the_checkerboard_belongs_to_its_square():
    x = [[0.0, 0.0], [4.0, 3.0], [-4.0, -4.0], [3.0, 1.0], [4.1, 3.0], [2.0, -5.0]]
    inside = np.isfinite(log_density("checkerboard", np.array(x)))
    np.testing.assert_array_equal(inside, [True, True, True, False, False, False])


def test_far_points_have_finite_log_densities():
    x = 50.0 * np.array([[1.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    for name in set(EXACT) - {"checkerboard"}:
        values = log_density(name, x)
        assert np.isfinite(values).all() and values.max() < -1e3


def test_a_ring_seen_from_far_is_its_nearest_point():
    # Beside a wide circle the density is N(distance; 0, s^2) / (2 pi r), up to
    # the curvature's share.
    near = log_density("rings", np.array([[3.1, 0.0]]))[0]
    gaussian = -0.5 * (0.1 / 0.08) ** 2 - 0.5 * math.log(2.0 * math.pi * 0.08**2)
    circumference = 2.0 * math.pi * math.sqrt(3.0 * 3.1)
    expected = gaussian - math.log(circumference) - math.log(4.0)
    assert near == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "name, x, message",
    [
        ("pinwheel", np.zeros((1, 2)), "8gaussians.*name='pinwheel'; compare"),
        ("squares", np.zeros((1, 2)), "name='squares', which is no density"),
        ("rings", np.zeros((2, 3)), r"shape \(n, 2\).*\(2, 3\)"),
        ("rings", np.array([[0.0, np.nan]]), "1 values that are not finite"),
    ],
)
def test_what_has_no_density_is_refused(name, x, message):
    with pytest.raises(ValueError, match=message):
        log_density(name, x)
