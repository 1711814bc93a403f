import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient
from keras_ebm.networks import (
    convolutional_decoder,
    convolutional_energy,
    mlp_decoder,
    mlp_energy,
    with_features,
)
from keras_ebm.networks.initializers import fan_in_uniform

ENERGIES = {
    "mlp": lambda outputs: mlp_energy((6,), outputs, hidden=(8, 5)),
    "mlp on images": lambda outputs: mlp_energy((4, 3, 2), outputs, hidden=(5,)),
    "mlp without hidden layers": lambda outputs: mlp_energy((6,), outputs, hidden=()),
    "convolutional": lambda outputs: convolutional_energy(
        (8, 12, 3), outputs, filters=(4, 6), features=7
    ),
}
DECODERS = {
    "mlp": lambda shape: mlp_decoder(3, shape, hidden=(8,)),
    "convolutional": lambda shape: convolutional_decoder(3, shape, filters=(4, 6)),
}


@pytest.mark.parametrize("build", ENERGIES.values(), ids=ENERGIES)
@pytest.mark.parametrize("outputs", [1, 5])
def test_energies_give_one_logit_a_class(build, outputs):
    network = build(outputs)
    assert network.output_shape == (None, outputs)
    assert network.layers[-1].name == "logits"
    x = np.zeros((3, *network.input_shape[1:]), np.float32)
    assert network(x).shape == (3, outputs)


@pytest.mark.parametrize("build", ENERGIES.values(), ids=ENERGIES)
def test_an_energy_depends_on_its_own_row_alone(build):
    network = build(2)
    assert not [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    x = np.random.default_rng(0).normal(size=(4, *network.input_shape[1:]))
    x = tf.constant(x, tf.float32)
    alone = tf.concat([network(x[i : i + 1], training=True) for i in range(4)], 0)
    np.testing.assert_allclose(network(x, training=True), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", ENERGIES.values(), ids=ENERGIES)
def test_energies_can_be_differentiated_twice(build):
    network = build(1)
    x = np.random.default_rng(0).normal(size=(4, *network.input_shape[1:]))
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        _, gradient = energy_and_gradient(lambda v: network(v)[:, 0], x)
        penalty = tf.reduce_mean(tf.square(gradient))
    kernels = [v.value for v in network.trainable_variables if v.name == "kernel"]
    for second in tape.gradient(penalty, kernels):
        assert np.all(np.isfinite(second)) and np.any(second != 0)


@pytest.mark.parametrize(
    "build, shape",
    [("mlp", (5,)), ("mlp", (4, 2, 3)), ("convolutional", (8, 12, 3))],
)
def test_decoders_map_latents_to_inputs(build, shape):
    decoder = DECODERS[build](shape)
    assert decoder.input_shape == (None, 3) and decoder.output_shape == (None, *shape)
    assert decoder(np.ones((2, 3), np.float32)).shape == (2, *shape)


def test_a_decoder_of_images_keeps_to_its_activation():
    decoder = convolutional_decoder(3, (4, 4, 1), filters=(4,))
    latents = 100.0 * tf.random.normal([20, 3])
    assert np.abs(decoder(latents)).max() <= 1.0
    linear = convolutional_decoder(3, (4, 4, 1), filters=(4,), output_activation=None)
    assert np.abs(linear(latents)).max() > 1.0


def test_dense_weights_have_the_variance_of_their_fan_in():
    kernel = fan_in_uniform()((100, 400)).numpy()
    # 40,000 uniform weights: standard error of the variance 0.0045 of it.
    np.testing.assert_allclose(kernel.var(), 1 / 100, rtol=0.023)
    assert np.abs(kernel).max() <= np.sqrt(3 / 100)


def test_the_initial_gain_scales_every_kernel_of_an_mlp_energy():
    network = mlp_energy((100,), 400, hidden=(400,), initial_gain=0.25)
    for name, fan_in in (("hidden_0", 100), ("logits", 400)):
        kernel = network.get_layer(name).kernel.numpy()
        # 40,000 uniform weights or more: standard error of the variance 0.0045 of it.
        np.testing.assert_allclose(kernel.var(), 0.25 / fan_in, rtol=0.023)
    with pytest.raises(ValueError, match="`initial_gain`"):
        mlp_energy((4,), 1, initial_gain=0.0)


@pytest.mark.parametrize("build", ENERGIES.values(), ids=ENERGIES)
def test_with_features_gives_the_networks_own_logits(build):
    network = build(3)
    x = np.random.default_rng(0).normal(size=(4, *network.input_shape[1:]))
    x = x.astype(np.float32)
    both = with_features(network)(x)
    np.testing.assert_array_equal(both["logits"], network(x))
    last = network.layers[-1]
    np.testing.assert_allclose(
        last(both["features"]), both["logits"], rtol=1e-5, atol=1e-6
    )


def test_features_share_the_networks_weights():
    network = mlp_energy((6,), 3, hidden=(8,))
    model = with_features(network)
    network.layers[-1].bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(
        model(np.ones((1, 6)))["logits"], network(np.ones((1, 6)))
    )


def test_a_built_sequential_has_features():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    both = with_features(network)(np.ones((2, 4)))
    assert both["features"].shape == (2, 4) and both["logits"].shape == (2, 3)


def test_a_network_without_a_graph_has_no_features():
    with pytest.raises(ValueError, match="Features need a functional"):
        with_features(keras.Sequential([keras.layers.Dense(3)]))

    class Subclassed(keras.Model):
        pass

    with pytest.raises(ValueError, match="Features need a functional"):
        with_features(Subclassed())


@pytest.mark.parametrize("build", [convolutional_energy, convolutional_decoder])
@pytest.mark.parametrize(
    "shape, match",
    [((8, 8), "must have shape"), ((10, 8, 1), "divisible by 4. .*crop or pad")],
)
def test_images_that_do_not_halve_are_refused(build, shape, match):
    arguments = (shape,) if build is convolutional_energy else (2, shape)
    message = match.replace(". .*", ".*")
    with pytest.raises(ValueError, match=message):
        build(*arguments)


@pytest.mark.parametrize("count", [0, -1, 2.0])
def test_counts_of_outputs_and_latents_are_checked(count):
    with pytest.raises(ValueError, match="`num_outputs`"):
        mlp_energy((4,), count)
    with pytest.raises(ValueError, match="`num_outputs`"):
        convolutional_energy((8, 8, 1), count)
    with pytest.raises(ValueError, match="`latent_dim`"):
        mlp_decoder(count, (4,))
    with pytest.raises(ValueError, match="`latent_dim`"):
        convolutional_decoder(count, (8, 8, 1))
