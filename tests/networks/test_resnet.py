import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.entropy.requirements import check_own_density
from keras_ebm.generators import GaussianGenerator
from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.networks import resnet_decoder, resnet_energy, with_features

RNG = np.random.default_rng(0)
OWN_ROW = [None, "group", "layer", "instance"]
ALL = pytest.mark.parametrize("normalization", OWN_ROW + ["batch"], ids=str)


def num_trained(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def shake(network, size=0.1):
    """Moves all weights, as training would: biases are no longer 0."""
    for variable in network.trainable_variables:
        variable.assign_add(size * RNG.normal(size=variable.shape))
    return network


def small_energy(num_outputs=1):
    return shake(resnet_energy((8, 12, 3), num_outputs, filters=4))


def images(count=3):
    return RNG.uniform(-1, 1, size=(count, 8, 12, 3)).astype(np.float32)


def small_decoder(normalization="layer", shape=(16, 24, 3)):
    filters = 32 if normalization == "group" else 4
    return shake(resnet_decoder(5, shape, filters=filters, normalization=normalization))


def latents(count=3):
    return RNG.normal(size=(count, 5)).astype(np.float32)


# Sizes


def test_the_energy_has_the_published_number_of_weights():
    assert num_trained(resnet_energy()) == 1_037_313


@pytest.mark.parametrize("filters, count", [(128, 1_154_947), (256, 4_079_363)])
@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_the_decoder_has_the_published_number_of_weights(filters, count, normalization):
    decoder = resnet_decoder(filters=filters, normalization=normalization)
    assert num_trained(decoder) == count
    assert decoder.output_shape == (None, 32, 32, 3)


def test_a_decoder_without_normalisation_has_the_rest():
    # Two normalisations a block and the head's, of two weights a channel.
    assert num_trained(resnet_decoder(normalization=None)) == 1_154_947 - 7 * 2 * 128


# What they compute. By hand, in float64.


def by_hand(x, layer):
    """A convolution of stride 1 that keeps the image's size."""
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    padding = kernel.shape[0] // 2
    rows, columns = x.shape[1:3]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    total = bias
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            total = total + x[:, i : i + rows, j : j + columns] @ kernel[i, j]
    return total


def pooled(x):
    return sum(x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4


def doubled(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def test_the_energy_computes_what_the_paper_does():
    network = small_energy(2)
    leaky = lambda x: np.where(x > 0, x, 0.2 * x)  # noqa: E731
    inputs = images()
    x = np.float64(inputs)
    for index in range(4):
        h = x if index == 0 else leaky(x)
        h = leaky(by_hand(h, network.get_layer(f"block_{index}_first")))
        h = by_hand(h, network.get_layer(f"block_{index}_second"))
        if index < 2:
            x, h = pooled(x), pooled(h)
        if index == 0:
            x = by_hand(x, network.get_layer("block_0_shortcut"))
        x = x + h
    kernel, bias = network.get_layer("logits").get_weights()
    expected = leaky(x).mean((1, 2)) @ kernel + bias
    np.testing.assert_allclose(network(inputs), expected, rtol=1e-4, atol=1e-5)


def test_the_decoder_computes_what_the_paper_does():
    decoder = small_decoder("layer")

    def activate(x, name):
        layer = decoder.get_layer(f"{name}_norm")
        mean = x.mean((1, 2, 3), keepdims=True)
        x = (x - mean) / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
        return np.maximum(x * layer.gamma.numpy() + layer.beta.numpy(), 0.0)

    z = latents()
    kernel, bias = decoder.get_layer("map").get_weights()
    x = (z @ np.float64(kernel) + bias).reshape(3, 2, 3, 4)
    for index in range(3):
        name = f"block_{index}"
        h = doubled(activate(x, f"{name}_first"))
        h = activate(by_hand(h, decoder.get_layer(f"{name}_first")), f"{name}_second")
        x = doubled(x) + by_hand(h, decoder.get_layer(f"{name}_second"))
    expected = np.tanh(by_hand(activate(x, "head"), decoder.get_layer("outputs")))
    np.testing.assert_allclose(decoder(z), expected, rtol=1e-3, atol=1e-4)


def test_an_energy_depends_on_its_own_row_alone():
    network, x = small_energy(), tf.constant(images(2))
    alone = tf.concat([network(x[i : i + 1], training=True) for i in range(2)], 0)
    np.testing.assert_allclose(network(x, training=True), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalization", OWN_ROW, ids=str)
def test_a_sample_depends_on_its_own_latent_alone(normalization):
    decoder, z = small_decoder(normalization), tf.constant(latents(2))
    alone = tf.concat([decoder(z[i : i + 1], training=True) for i in range(2)], 0)
    np.testing.assert_allclose(decoder(z, training=True), alone, rtol=1e-4, atol=1e-5)


def test_energies_can_be_differentiated_twice():
    network = small_energy()
    with tf.GradientTape() as tape:
        _, gradient = energy_and_gradient(
            lambda x: network(x)[:, 0], tf.constant(images())
        )
        penalty = tf.reduce_mean(squared_norm(gradient))
    kernels = [v.value for v in network.trainable_variables if v.name == "kernel"]
    for second in tape.gradient(penalty, kernels):
        assert np.all(np.isfinite(second)) and np.any(second != 0)


def test_estimators_take_the_default_decoder_and_refuse_the_published_one():
    check_own_density("It", GaussianGenerator(small_decoder()))
    with pytest.raises(ValueError, match="BatchNormalization layer"):
        check_own_density("It", GaussianGenerator(small_decoder("batch")))


def test_batch_normalisation_has_the_published_settings():
    layers = [
        layer
        for layer in small_decoder("batch").layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == 7
    for layer in layers:
        assert (layer.momentum, layer.epsilon, layer.synchronized) == (0.9, 1e-5, True)


@pytest.mark.parametrize(
    "network, first",
    [
        (lambda: resnet_energy((8, 8, 3), filters=64), "block_0_first"),
        (lambda: resnet_decoder(8, (16, 16, 3), filters=64), "map"),
    ],
    ids=["energy", "decoder"],
)
def test_kernels_start_as_scaled_xavier_and_biases_at_zero(network, first):
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    layers = [layer for layer in network().layers if isinstance(layer, kinds)]
    for layer in layers:
        *window, fan_in, fan_out = layer.kernel.shape
        fans = np.prod(window) * (fan_in + fan_out)
        bound = np.sqrt((1 if layer.name == first else 2) * 6 / fans)
        largest = np.abs(layer.kernel).max()
        # The fewest are the 64 of the last layer.
        assert 0.9 * bound < largest <= bound, layer.name
        assert not layer.bias.numpy().any()


def test_a_side_that_is_no_multiple_of_8_is_cropped():
    larger, smaller = small_decoder(shape=(32, 32, 3)), small_decoder(shape=(28, 29, 3))
    smaller.set_weights(larger.get_weights())
    z = latents()
    np.testing.assert_array_equal(smaller(z), larger(z)[:, 2:30, 1:30])


@pytest.mark.parametrize(
    "output_activation, bounds",
    [("tanh", (-1, 1)), ("sigmoid", (0, 1)), (None, (-np.inf, np.inf))],
)
def test_the_output_activation_bounds_the_image(output_activation, bounds):
    decoder = resnet_decoder(
        5, (8, 8, 1), filters=4, output_activation=output_activation
    )
    x = decoder(100.0 * latents(20)).numpy()
    assert bounds[0] <= x.min() and x.max() <= bounds[1]


def test_features_are_the_mean_over_the_last_map():
    network = small_energy(2)
    both = with_features(network)(images())
    assert both["features"].shape == (3, 4)
    np.testing.assert_allclose(
        network.get_layer("logits")(both["features"]), both["logits"], rtol=1e-5
    )


def test_a_saved_energy_is_the_same(tmp_path):
    network = small_energy()
    network.save(tmp_path / "network.keras")
    x = images()
    copy = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(copy(x), network(x))


@ALL
def test_a_saved_decoder_is_the_same(normalization, tmp_path):
    decoder = small_decoder(normalization)
    decoder.save(tmp_path / "decoder.keras")
    z = latents()
    copy = keras.models.load_model(tmp_path / "decoder.keras")
    np.testing.assert_array_equal(copy(z), decoder(z))


# Errors


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"input_shape": (30, 32, 3)}, "divisible by 4.*crop or pad"),
        ({"input_shape": (32, 32)}, r"\(height, width, channels\).*mlp_energy"),
        ({"num_outputs": 0}, "`num_outputs` must be an integer"),
        ({"filters": 1.5}, "`filters` must be an integer"),
    ],
)
def test_arguments_of_the_energy_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        resnet_energy(**arguments)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"latent_dim": 0}, "`latent_dim` must be an integer"),
        ({"output_shape": (32,)}, r"`output_shape` must be \(height.*mlp_decoder"),
        ({"output_shape": (0, 32, 3)}, "`output_shape` must be .* at least 1"),
        ({"filters": 0}, "`filters` must be an integer"),
        ({"normalization": "spectral"}, "`normalization` must be one of None"),
        ({"normalization": "group", "filters": 48}, "multiples of 32. Received: 48"),
        (
            {"normalization": "instance", "output_shape": (8, 8, 3)},
            "needs maps of several pixels.*'layer'",
        ),
    ],
)
def test_arguments_of_the_decoder_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        resnet_decoder(**arguments)
