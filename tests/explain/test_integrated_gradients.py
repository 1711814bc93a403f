import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.explain import integrated_gradients

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]], np.float32)
BASELINE = np.array([[0.5, 1.0, -1.0]], np.float32)


def attribute(energy_fn, **kwargs):
    x, baseline = tf.constant(X), tf.constant(BASELINE)
    return integrated_gradients(energy_fn, x, baseline, **kwargs).numpy()


def test_a_linear_energy_is_shared_out_by_its_weights():
    weights = np.array([2.0, -1.0, 0.0], np.float32)
    found = attribute(lambda x: tf.linalg.matvec(x, weights), num_nodes=1)
    np.testing.assert_allclose(found, weights * (X - BASELINE), rtol=1e-6)


def test_one_node_is_exact_for_a_quadratic_energy():
    found = attribute(lambda x: 0.5 * tf.reduce_sum(x**2, axis=-1), num_nodes=1)
    np.testing.assert_allclose(found, 0.5 * (X**2 - BASELINE**2), rtol=1e-5)


def test_factors_that_start_at_zero_share_their_product_equally():
    x, zero = tf.constant(X[:1]), tf.zeros((1, 3))
    found = integrated_gradients(lambda x: x[:, 0] * x[:, 1], x, zero)
    np.testing.assert_allclose(found, [[-1.0, -1.0, 0.0]], rtol=1e-5)


@pytest.mark.parametrize("num_nodes, exact", [(1, False), (2, False), (3, True)])
def test_nodes_are_exact_to_twice_their_number(num_nodes, exact):
    # x^6 differentiates to degree 5, which 3 nodes integrate and 2 do not.
    found = attribute(lambda x: tf.reduce_sum(x**6, axis=-1), num_nodes=num_nodes)
    error = np.abs(found - (X**6 - BASELINE**6)).max()
    # Of numbers up to 729; float32 has 7 digits, and rounding adds up.
    assert (error < 5e-3) == exact


def test_no_nodes_are_refused():
    with pytest.raises(ValueError, match="`num_nodes`.*num_nodes=0"):
        attribute(lambda x: x[:, 0], num_nodes=0)
