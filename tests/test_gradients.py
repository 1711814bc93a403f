import keras
import numpy as np
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient, gradient_norm, squared_norm

CURVATURE = np.array([[2.0, 0.5], [0.5, 1.0]], np.float32)
X = tf.constant([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0]])


def quadratic(x):
    """`x' A x / 2`, whose gradient is `A x`."""
    return 0.5 * tf.einsum("bi,ij,bj->b", x, CURVATURE, x)


def test_the_gradient_of_a_quadratic_is_exact():
    energy, gradient = energy_and_gradient(quadratic, X)
    np.testing.assert_allclose(energy, quadratic(X), rtol=1e-6)
    np.testing.assert_allclose(gradient, X.numpy() @ CURVATURE, rtol=1e-6)


def test_the_norm_is_taken_over_all_axes_but_the_first():
    images = tf.reshape(tf.range(24, dtype=tf.float32), [2, 3, 2, 2])
    expected = np.sum(np.square(images), axis=(1, 2, 3))
    np.testing.assert_allclose(squared_norm(images), expected, rtol=1e-6)
    norm = gradient_norm(lambda v: 0.5 * squared_norm(v), images)
    np.testing.assert_allclose(norm, np.sqrt(expected), rtol=1e-6)


def test_gradient_norm_of_a_quadratic():
    expected = np.linalg.norm(X.numpy() @ CURVATURE, axis=-1)
    np.testing.assert_allclose(gradient_norm(quadratic, X), expected, rtol=1e-6)


def test_double_backpropagation_is_exact_on_a_linear_energy():
    # E = x'w: the penalty 0.5 mean ||dE/dx||^2 is ||w||^2 / 2, its gradient w.
    w = tf.constant([[3.0], [-1.0]])
    with tf.GradientTape() as tape:
        tape.watch(w)
        _, gradient = energy_and_gradient(lambda x: (x @ w)[:, 0], X)
        penalty = tf.reduce_mean(0.5 * squared_norm(gradient))
    np.testing.assert_allclose(penalty, 5.0, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(penalty, w), w, rtol=1e-6)


def test_double_backpropagation_agrees_with_differences_through_a_network():
    network = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(5, "silu"), keras.layers.Dense(1)]
    )
    kernel = network.layers[0].kernel

    def penalty():
        _, gradient = energy_and_gradient(lambda x: network(x)[:, 0], X)
        return tf.reduce_mean(0.5 * squared_norm(gradient))

    with tf.GradientTape() as tape:
        loss = penalty()
    gradient = tape.gradient(loss, kernel.value).numpy()
    start, direction = kernel.numpy(), np.sign(gradient)
    values = []
    for step in (-1e-2, 1e-2):
        kernel.assign(start + step * direction)
        values.append(float(penalty()))
    slope = (values[1] - values[0]) / 2e-2
    # Central differences: an error of order 1e-4 of the third derivative.
    np.testing.assert_allclose(slope, np.abs(gradient).sum(), rtol=5e-3)


def test_no_weight_is_recorded_by_the_tape_over_inputs():
    variable = tf.Variable(2.0)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(X)
        energy, _ = energy_and_gradient(lambda x: variable * quadratic(x), X)
    assert tape.gradient(energy, variable) is None
