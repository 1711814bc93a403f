import math

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import data
from keras_ebm.metrics import log_partition_on_grid, nll_gap


def gaussian_energy(stddev, mean=0.0, offset=0.0):
    """Energy of `N(mean, stddev**2 I)` in the plane, with `offset` added."""

    def energy_fn(x):
        return 0.5 * tf.reduce_sum(tf.square((x - mean) / stddev), -1) + offset

    return energy_fn


def gaussian_log_density(x, stddev):
    square = np.square(x / stddev).sum(axis=-1)
    return -0.5 * square - math.log(2.0 * math.pi * stddev**2)


@pytest.mark.parametrize("stddev, offset", [(1.0, 0.0), (0.05, 500.0), (1.3, -2e3)])
def test_the_partition_of_a_gaussian_is_known(stddev, offset):
    energy_fn = gaussian_energy(stddev, mean=0.2, offset=offset)
    found = log_partition_on_grid(energy_fn, -8.0, 8.0)
    expected = math.log(2.0 * math.pi * stddev**2) - offset
    # float32 energies around the offset.
    assert found.log_partition == pytest.approx(expected, abs=1e-5 + 1e-7 * abs(offset))
    assert 0.0 <= found.edge_mass < 1e-6


def test_batches_and_an_odd_box_change_nothing():
    whole = log_partition_on_grid(gaussian_energy(1.0), -6.0, 7.0, 101)
    parts = log_partition_on_grid(gaussian_energy(1.0), -6.0, 7.0, 101, batch_size=37)
    assert whole.log_partition == pytest.approx(parts.log_partition, abs=1e-6)
    assert whole.log_partition == pytest.approx(math.log(2.0 * math.pi), abs=1e-6)


def test_the_gap_between_gaussians_is_their_divergence():
    x = np.random.default_rng(0).normal(size=(20_000, 2))
    stddev, mean = 1.5, np.array([1.0, 0.0])
    gap = nll_gap(gaussian_energy(stddev, mean), x, gaussian_log_density(x, 1.0), 12.0)
    expected = 2.0 * math.log(stddev) + (2.0 + 1.0) / (2.0 * stddev**2) - 1.0
    # The difference of the two densities at one point has a spread below 1.
    assert gap == pytest.approx(expected, abs=4.0 / math.sqrt(len(x)))


@pytest.mark.parametrize("name", ["8gaussians", "moons"])
def test_the_gap_of_the_true_energy_is_zero(name):
    def energy_fn(x):
        return 7.0 - data.log_density(name, np.asarray(x))

    x = data.draw(name, 500, seed=0)
    gap = nll_gap(energy_fn, x, data.log_density(name, x), num_points=200)
    assert abs(gap) < 1e-5


@pytest.mark.parametrize(
    "energy_fn, message",
    [
        (gaussian_energy(4.0), "must hold the density.*widen the box"),
        (lambda x: tf.zeros(len(x)), "outermost cells"),
        (gaussian_energy(0.002, mean=0.01), "one cell of side 0.033.*raise it"),
        (lambda x: tf.math.log(x[:, 0]), "finite.*the first nan at x="),
        (lambda x: x[:, :1], r"of shape \(16384,\). Received: shape \(16384, 1\)"),
    ],
)
def test_an_energy_that_a_grid_cannot_normalise_is_refused(energy_fn, message):
    with pytest.raises(ValueError, match=message):
        log_partition_on_grid(energy_fn, -8.0, 8.0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": np.zeros((3, 3))}, r"shape \(n, 2\).*\(3, 3\) and \(3,\)"),
        ({"log_density": np.zeros(2)}, r"\(3, 2\) and \(2,\)"),
        ({"log_density": np.array([0.0, -np.inf, 0.0])}, "-inf in row 1"),
        ({"extent": -1.0}, "extent=-1.0"),
        ({"num_points": 2}, "num_points=2"),
        ({"x": np.full((3, 2), np.inf)}, "3 of 3 that are not"),
    ],
)
def test_bad_points_are_refused(change, message):
    arguments = {"x": np.zeros((3, 2)), "log_density": np.zeros(3), **change}
    with pytest.raises(ValueError, match=message):
        nll_gap(gaussian_energy(1.0), **arguments)
