import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.jacobians import Linearization, dense_jacobian, jacobian_product
from keras_ebm.networks import mlp_decoder

LATENT = 3


@pytest.fixture(params=[(5,), (2, 2, 1)], ids=["vector", "image"])
def network(request):
    return mlp_decoder(LATENT, request.param, hidden=(7,), activation="tanh")


def inputs(count=4):
    return tf.random.stateless_normal([count, LATENT], [0, 1])


def reference(network, z):
    """`(batch, D, k)`, by a backward pass for every output."""
    with tf.GradientTape() as tape:
        tape.watch(z)
        output = tf.reshape(network(z), [len(z), -1])
    return tape.batch_jacobian(output, z)


def test_the_dense_jacobian_is_that_of_the_backward_passes(network):
    z = inputs()
    found = dense_jacobian(network, z)
    expected = tf.transpose(reference(network, z), [0, 2, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_products_agree_with_the_jacobian(network):
    z = inputs()
    jacobian = reference(network, z)
    v = tf.random.stateless_normal(z.shape, [0, 2])
    w = tf.random.stateless_normal([len(z), jacobian.shape[1]], [0, 3])
    linearization = Linearization(network, z)
    pushed, pulled = (
        tf.linalg.matvec(jacobian, v),
        tf.linalg.matvec(jacobian, w, transpose_a=True),
    )
    for found, expected in [
        (jacobian_product(network, z, v), pushed),
        (linearization.product(v), pushed),
        (linearization.transposed_product(w), pulled),
        # A second product of either kind, from the same forward pass.
        (linearization.product(2.0 * v), 2.0 * pushed),
        (linearization.transposed_product(-w), -pulled),
    ]:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_forward_products_are_differentiable_in_the_weights(network, compiled):
    z = inputs()
    v = tf.random.stateless_normal(z.shape, [0, 2])
    kernel = network.trainable_variables[0]

    def gradients():
        with tf.GradientTape(persistent=True) as tape:
            dense = tf.reduce_sum(tf.square(dense_jacobian(network, z)))
            product = tf.reduce_sum(tf.square(jacobian_product(network, z, v)))
        return [tape.gradient(value, kernel.value) for value in (dense, product)]

    found = tf.function(gradients)() if compiled else gradients()
    direction = keras.random.normal(kernel.shape, seed=1)

    def at(step):
        kernel.assign_add(step * direction)
        jacobian = reference(network, z)
        pushed = tf.linalg.matvec(jacobian, v)
        kernel.assign_sub(step * direction)
        return np.array([np.sum(np.square(jacobian)), np.sum(np.square(pushed))])

    slopes = (at(1e-2) - at(-1e-2)) / 2e-2
    # Central differences: a direction of norm 4.6 and a step of 0.01 leave 0.2% of
    # the norm of the gradient out, some 10.
    expected = [float(tf.reduce_sum(g * direction)) for g in found]
    np.testing.assert_allclose(slopes, expected, rtol=5e-3, atol=2e-2)


def test_rows_do_not_see_each_other(network):
    z = inputs()
    whole = Linearization(network, z).transposed_product(
        tf.ones([len(z), np.prod(network.output_shape[1:])])
    )
    alone = Linearization(network, z[:1]).transposed_product(
        tf.ones([1, np.prod(network.output_shape[1:])])
    )
    np.testing.assert_allclose(whole[:1], alone, rtol=1e-5, atol=1e-6)
