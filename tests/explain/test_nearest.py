"""The search on energies whose nearest acceptable point is known."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.explain import Place, nearest_acceptable
from keras_ebm.gradients import energy_and_gradient

SLACK = 1e-4


def find(energy_fn, start, *, level, low=-np.inf, high=np.inf, origin=None):
    """`(position, distance)` of the nearest point in a box up to an energy level."""
    start = tf.constant(start, tf.float32)
    low = tf.constant(low, tf.float32) * tf.ones_like(start)
    high = tf.constant(high, tf.float32) * tf.ones_like(start)

    def visit(wished):
        position = tf.clip_by_value(wished, low, high)
        energy, gradient = energy_and_gradient(energy_fn, position)
        stuck = (position <= low) & (gradient > 0) | (position >= high) & (gradient < 0)
        return Place(position, energy - level, tf.where(stuck, 0.0, gradient))

    @tf.function(autograph=False)
    def search():
        first = start if origin is None else tf.constant(origin)
        return nearest_acceptable(visit, start, first, slack=SLACK)

    return tuple(value.numpy() for value in search())


def half_square(x):
    return 0.5 * tf.reduce_sum(x**2, axis=-1)


def test_the_nearest_of_a_half_space_is_the_foot_of_the_perpendicular():
    weights = np.array([3.0, -4.0], np.float32)
    start = np.array([[5.0, 1.0], [2.0, -7.0]], np.float32)
    found, distance = find(lambda x: tf.linalg.matvec(x, weights), start, level=1.0)
    height = (start @ weights - 1.0) / 25.0
    # The one step there aims SLACK below the level, SLACK / 5 farther.
    np.testing.assert_allclose(found, start - height[:, None] * weights, atol=1e-4)
    np.testing.assert_allclose(distance, 5.0 * height, atol=1e-4)


@pytest.mark.parametrize("far", [1.01, 2.0, 10.0, 100.0])
def test_the_nearest_of_a_ball_is_on_the_ray_to_its_middle(far):
    ray = np.array([[0.6, 0.0, 0.8], [-1.0, 0.0, 0.0]], np.float32)
    found, distance = find(half_square, 2.0 * far * ray, level=2.0)
    # The gradient of the level is 2: SLACK moves the boundary by a half of it.
    np.testing.assert_allclose(found, 2.0 * ray, atol=1e-4)
    np.testing.assert_allclose(distance, 2.0 * (far - 1.0), atol=2e-4, rtol=1e-6)


def test_an_active_bound_moves_it_along_the_sphere():
    # On the ray it would be (0.6, 0.8); the bound leaves (0.3, sqrt(1 - 0.09)).
    found, distance = find(half_square, [[3.0, 4.0]], level=0.5, high=[[0.3, 9.0]])
    expected = np.array([0.3, np.sqrt(0.91)])
    # The last steps come from 0.08 of the way out, a little aslant of the bound.
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    assert distance[0] == pytest.approx(np.hypot(*(expected - [3.0, 4.0])), abs=1e-3)


def test_a_bound_that_the_energy_pushes_against_holds():
    # The start is within the bounds and the descent would leave them.
    found, _ = find(half_square, [[1.0, 4.0]], level=2.0, low=[[0.9, -9.0]])
    # Without the bound (0.485, 1.940); with it x = 0.9 and y = sqrt(4 - 0.81).
    np.testing.assert_allclose(found, [[0.9, np.sqrt(3.19)]], atol=1e-3)


def test_the_nearest_of_an_ellipsoid_has_a_multiplier():
    scales = np.array([1.0, 4.0, 25.0])
    start = np.array([[4.0, -3.0, 2.0]])
    found, distance = find(
        lambda x: half_square(x * np.sqrt(scales).astype(np.float32)), start, level=2.0
    )
    # Of min |f - x|^2 with sum(scales f^2) = 4: f = x / (1 + m scales), m by
    # bisection.
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        energy = 0.5 * (scales * (start / (1.0 + middle * scales)) ** 2).sum()
        low, high = (middle, high) if energy > 2.0 else (low, middle)
    expected = np.linalg.norm(start - start / (1.0 + low * scales))
    # A projection that is not exact ends near the minimum: its distance is 0.5 %
    # longer at most, as on the energies of tables.
    assert expected * (1.0 - 1e-5) < distance[0] < expected * 1.005
    assert half_square(found * np.sqrt(scales)).numpy()[0] <= 2.0


def test_what_no_point_of_the_box_reaches_is_not_found():
    start = np.array([[3.0, 4.0], [0.1, 1.9]], np.float32)
    _, distance = find(half_square, start, level=0.5, low=[[-9.0, 1.5]])
    assert np.isinf(distance).all()


def test_a_nan_is_not_found():
    _, distance = find(half_square, [[np.nan, 4.0], [3.0, 4.0]], level=0.5)
    assert np.isinf(distance[0]) and distance[1] == pytest.approx(4.0, abs=2e-4)


def wells(x):
    """A shallow well at 3, a deep one at 0, a hill of energy 4 at 2."""
    distance = tf.abs(x[:, 0])
    return tf.where(distance < 2.0, 2.0 * distance, 4.0 - 2.0 * (distance - 2.0)) + (
        tf.where(distance > 3.0, 4.0 * (distance - 3.0), 0.0)
    )


def test_another_origin_leads_out_of_a_shallow_well():
    start = np.array([[3.5]], np.float32)
    _, distance = find(wells, start, level=1.0)
    assert np.isinf(distance[0])
    found, distance = find(wells, start, level=1.0, origin=[[0.0]])
    # The level 1 is reached at 0.5.
    assert found[0, 0] == pytest.approx(0.5, abs=1e-3)
    assert distance[0] == pytest.approx(3.0, abs=1e-3)


def test_rows_do_not_depend_on_each_other():
    start = np.array([[3.0, 4.0], [50.0, -2.0], [np.nan, 0.0]], np.float32)
    together = find(half_square, start, level=0.5)
    for row in range(3):
        alone = find(half_square, start[row : row + 1], level=0.5)
        # The steps of a row are its own; only rounding may differ.
        np.testing.assert_allclose(alone[0][0], together[0][row], rtol=1e-5)
        np.testing.assert_allclose(alone[1][0], together[1][row], rtol=1e-5)
