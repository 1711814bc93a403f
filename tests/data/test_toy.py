import numpy as np
import pytest

from keras_ebm.data import toy

NUM_ROWS = 20_000


@pytest.mark.parametrize("name", toy.DENSITIES)
def test_points_are_float32_repeatable_and_within_the_picture(name):
    x = toy.draw(name, 1000, seed=3)
    assert x.shape == (1000, 2) and x.dtype == np.float32
    assert np.abs(x).max() < 5.0
    np.testing.assert_array_equal(x, toy.draw(name, 1000, seed=3))
    assert not np.array_equal(x, toy.draw(name, 1000, seed=4))


def test_checkerboard_fills_every_other_square_evenly():
    column, row = (toy.draw("checkerboard", NUM_ROWS, 0) // 2).astype(int).T + 2
    assert np.all((column + row) % 2 == 0)
    counts = np.bincount(4 * column + row)
    # Eight squares of 1/8 each: standard error 47 rows.
    assert np.abs(counts[counts > 0] - NUM_ROWS / 8).max() < 5 * 47


@pytest.mark.parametrize(
    "name, radii, noise",
    [("rings", [0.75, 1.5, 2.25, 3.0], 0.08), ("circles", [1.5, 3.0], 0.24)],
)
def test_rings_have_their_radii_in_equal_shares(name, radii, noise):
    radius = np.linalg.norm(toy.draw(name, NUM_ROWS, 1), axis=-1)
    nearest = np.abs(radius[:, None] - radii).argmin(axis=-1)
    shares = np.bincount(nearest) / NUM_ROWS
    np.testing.assert_allclose(shares, 1 / len(radii), atol=0.02)
    outer = radius[nearest == len(radii) - 1] - radii[-1]
    assert abs(outer.std() - noise) < 0.1 * noise


def test_eight_gaussians_have_their_centres_and_spread():
    x = 1.414 * toy.draw("8gaussians", NUM_ROWS, 2)
    angle = np.arange(8) * np.pi / 4
    centres = 4.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    distance = np.linalg.norm(x[:, None] - centres, axis=-1)
    nearest = distance.argmin(axis=-1)
    # The mean square distance in two dimensions is 2 * 0.5**2.
    assert abs(np.square(distance.min(axis=-1)).mean() - 0.5) < 0.02
    np.testing.assert_allclose(np.bincount(nearest) / NUM_ROWS, 1 / 8, atol=0.012)


@pytest.mark.parametrize(
    "name, mean, stddev",
    [
        # Half circles about (0, 0) and (1, 0.5): each has variances 1/2 and
        # 1/2 - 4/pi**2, and their centres are 1 and 4/pi - 1/2 apart.
        ("moons", [0.0, 0.3], [1.7436, 1.0083]),
        ("2spirals", [0.0, 0.0], None),
        ("pinwheel", [0.0, 0.0], None),
    ],
)
def test_moments_are_those_of_the_definition(name, mean, stddev):
    x = toy.draw(name, NUM_ROWS, 5)
    # Standard errors are below 0.013.
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=0.06)
    if stddev is not None:
        np.testing.assert_allclose(x.std(axis=0), stddev, atol=0.03)


def test_swissroll_without_its_noise_is_a_spiral():
    # Radius equals angle, from 1.5 pi to 4.5 pi, with noise of variance 1 a
    # coordinate; so the mean square is that of the angle, plus 2.
    x = 5.0 * toy.draw("swissroll", NUM_ROWS, 6)
    low, high = 1.5 * np.pi, 4.5 * np.pi
    expected = (high**3 - low**3) / (3 * (high - low)) + 2.0
    assert abs(np.square(x).sum(axis=-1).mean() - expected) < 0.02 * expected


def test_a_bad_name_and_a_bad_number_are_refused():
    with pytest.raises(ValueError, match="moons, circles.*Received: name='moon'"):
        toy.draw("moon", 10, 0)
    with pytest.raises(ValueError, match="num_rows=0"):
        toy.draw("moons", 0, 0)
