import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.entropy.requirements import check_own_density
from keras_ebm.generators import GaussianGenerator
from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.layers import WeightNorm
from keras_ebm.networks import (
    large_mlp_decoder,
    large_mlp_energy,
    mlp_energy,
    with_features,
)

RNG = np.random.default_rng(0)
WEIGHT_NORM = pytest.mark.parametrize(
    "weight_normalization", [False, True], ids=["plain", "weight norm"]
)


def num_trained(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def small_energy(weight_normalization=False, num_outputs=2):
    return large_mlp_energy(
        (4,),
        num_outputs,
        hidden=(8, 6),
        weight_normalization=weight_normalization,
    )


def small_decoder(normalization="layer", **kwargs):
    return large_mlp_decoder(
        3, (4,), hidden=(8, 6), normalization=normalization, **kwargs
    )


def rows(size, count=3):
    return RNG.normal(size=(count, size)).astype(np.float32)


# Sizes


@pytest.mark.parametrize(
    "features, num_outputs, count",
    [
        (784, 1, 1_787_001),
        (15, 2, 1_018_252),
        (174, 7, 1_178_507),
        (523, 6, 1_527_256),
    ],
    ids=["MNIST", "HEPMASS", "CROP", "HUMAN"],
)
def test_the_energy_has_the_published_number_of_weights(features, num_outputs, count):
    assert num_trained(large_mlp_energy((features,), num_outputs)) == count


def test_weight_normalisation_has_a_gain_for_each_hidden_unit():
    network = large_mlp_energy((28, 28, 1), weight_normalization=True)
    assert num_trained(network) == 1_787_001 + 2_750
    kinds = [type(layer) for layer in network.layers]
    assert kinds.count(WeightNorm) == 6
    assert isinstance(network.layers[-1], keras.layers.Dense)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_the_decoder_has_the_published_number_of_weights(normalization):
    decoder = large_mlp_decoder(100, (784,), normalization=normalization)
    assert num_trained(decoder) == 945_784


def test_networks_of_the_plane_have_the_published_number_of_weights():
    for build in (mlp_energy, large_mlp_energy):
        network = build((2,), hidden=(100, 100), activation="leaky_relu")
        assert num_trained(network) == 10_501
    decoder = large_mlp_decoder(
        2, (2,), hidden=(100, 100), normalization="batch", activation="relu"
    )
    assert num_trained(decoder) == 10_802


# What they compute


@WEIGHT_NORM
def test_the_energy_computes_what_the_paper_does(weight_normalization):
    network = small_energy(weight_normalization)
    inputs = rows(4)
    x = np.float64(inputs)
    for index in range(2):
        name = f"hidden_{index}"
        if weight_normalization:
            norm = network.get_layer(f"{name}_norm")
            norm.gain.assign(RNG.normal(size=norm.gain.shape))
            v, bias = norm.layer.get_weights()
            kernel = norm.gain.numpy() * v / np.linalg.norm(v, axis=0)
        else:
            kernel, bias = network.get_layer(name).get_weights()
        x = x @ kernel + bias
        x = np.where(x > 0, x, 0.2 * x)
    kernel, bias = network.get_layer("logits").get_weights()
    np.testing.assert_allclose(network(inputs), x @ kernel + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalization", [None, "layer", "batch"], ids=str)
def test_the_decoder_computes_what_the_paper_does(normalization):
    decoder = small_decoder(normalization)
    z = rows(3, count=5)
    x = np.float64(z)
    for index in range(2):
        kernel, *bias = decoder.get_layer(f"hidden_{index}").get_weights()
        x = x @ kernel + (bias[0] if bias else 0.0)
        if normalization:
            layer = decoder.get_layer(f"hidden_{index}_norm")
            layer.gamma.assign(RNG.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(RNG.normal(size=layer.beta.shape))
            axis = 0 if normalization == "batch" else 1
            spread = np.sqrt(x.var(axis, keepdims=True) + 1e-5)
            x = (x - x.mean(axis, keepdims=True)) / spread
            x = x * layer.gamma.numpy() + layer.beta.numpy()
        x = np.log1p(np.exp(x))
    kernel, bias = decoder.get_layer("outputs").get_weights()
    outputs = decoder(z, training=True)
    np.testing.assert_allclose(outputs, x @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_inputs_and_outputs_have_any_shape():
    x = RNG.normal(size=(3, 2, 2, 1)).astype(np.float32)
    network = large_mlp_energy((2, 2, 1), hidden=(5,))
    flat = large_mlp_energy((4,), hidden=(5,))
    flat.set_weights(network.get_weights())
    np.testing.assert_allclose(network(x), flat(x.reshape(3, 4)), rtol=1e-6)
    decoder = large_mlp_decoder(3, (2, 2, 1), hidden=(5,), output_activation="tanh")
    samples = decoder(100.0 * rows(3)).numpy()
    assert samples.shape == (3, 2, 2, 1) and np.abs(samples).max() <= 1.0


@WEIGHT_NORM
def test_an_energy_depends_on_its_own_row_alone(weight_normalization):
    network, x = small_energy(weight_normalization), tf.constant(rows(4))
    alone = tf.concat([network(x[i : i + 1], training=True) for i in range(3)], 0)
    np.testing.assert_allclose(network(x, training=True), alone, rtol=1e-5, atol=1e-6)


def test_estimators_take_the_default_decoder_and_refuse_the_published_one():
    decoder, z = small_decoder(), tf.constant(rows(3))
    alone = tf.concat([decoder(z[i : i + 1], training=True) for i in range(3)], 0)
    np.testing.assert_allclose(decoder(z, training=True), alone, rtol=1e-4, atol=1e-5)
    check_own_density("It", GaussianGenerator(decoder))
    with pytest.raises(ValueError, match="BatchNormalization layer"):
        check_own_density("It", GaussianGenerator(small_decoder("batch")))


def test_batch_normalisation_has_the_published_settings():
    decoder = small_decoder("batch")
    for index in range(2):
        layer = decoder.get_layer(f"hidden_{index}_norm")
        assert (layer.momentum, layer.epsilon, layer.synchronized) == (0.9, 1e-5, True)


@WEIGHT_NORM
def test_energies_can_be_differentiated_twice(weight_normalization):
    network = small_energy(weight_normalization, num_outputs=1)
    with tf.GradientTape() as tape:
        _, gradient = energy_and_gradient(
            lambda x: network(x)[:, 0], tf.constant(rows(4))
        )
        penalty = tf.reduce_mean(squared_norm(gradient))
    weights = [v.value for v in network.trainable_variables if v.name != "bias"]
    for second in tape.gradient(penalty, weights):
        assert np.all(np.isfinite(second)) and np.any(second != 0)


@pytest.mark.parametrize(
    "network",
    [
        lambda: large_mlp_energy((64,), 10),
        lambda: large_mlp_energy((64,), 10, weight_normalization=True),
        lambda: large_mlp_decoder(64, (64,)),
    ],
    ids=["energy", "weight norm", "decoder"],
)
def test_weights_start_within_the_inverse_root_of_the_fan_in(network):
    layers = [
        layer
        for layer in network()._flatten_layers()
        if isinstance(layer, keras.layers.Dense)
    ]
    assert len(layers) in (4, 7)
    for layer in layers:
        bound = layer.kernel.shape[0] ** -0.5
        for weights in layer.get_weights():
            assert 0.5 * bound < np.abs(weights).max() <= bound


@WEIGHT_NORM
def test_features_are_what_the_last_layer_reads(weight_normalization):
    network = small_energy(weight_normalization)
    both = with_features(network)(rows(4))
    assert both["features"].shape == (3, 6)
    np.testing.assert_allclose(
        network.get_layer("logits")(both["features"]), both["logits"], rtol=1e-5
    )


@pytest.mark.parametrize(
    "build, size",
    [
        (lambda: small_energy(), 4),
        (lambda: small_energy(True), 4),
        (lambda: small_decoder(), 3),
        (lambda: small_decoder(None), 3),
        (lambda: small_decoder("batch"), 3),
    ],
    ids=["energy", "weight norm", "decoder", "None", "batch"],
)
def test_a_saved_network_is_the_same(build, size, tmp_path):
    network = build()
    network.save(tmp_path / "network.keras")
    copy = keras.models.load_model(tmp_path / "network.keras")
    x = rows(size)
    np.testing.assert_array_equal(copy(x), network(x))


# Errors


@pytest.mark.parametrize(
    "build, match",
    [
        (lambda: large_mlp_energy((4,), 0), "`num_outputs` must be an integer"),
        (lambda: large_mlp_energy((4,), hidden=(8, 0)), "`hidden` must be an integer"),
        (lambda: large_mlp_decoder(0, (4,)), "`latent_dim` must be an integer"),
        (lambda: large_mlp_decoder(2, (4,), hidden=(1.5,)), "`hidden` must be an int"),
        (
            lambda: large_mlp_decoder(2, (4,), normalization="group"),
            "`normalization` must be one of None, 'batch', 'layer'",
        ),
    ],
)
def test_arguments_are_checked(build, match):
    with pytest.raises(ValueError, match=match):
        build()
