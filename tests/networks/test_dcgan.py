import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.entropy.requirements import check_own_density
from keras_ebm.generators import GaussianGenerator
from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.networks import dcgan_decoder, dcgan_energy, with_features

RNG = np.random.default_rng(0)
OWN_ROW = [None, "group", "layer", "instance"]
ALL = pytest.mark.parametrize("normalization", OWN_ROW + ["batch"], ids=str)
EACH = pytest.mark.parametrize("normalization", OWN_ROW, ids=str)


def num_trained(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def filters(normalization):
    return 32 if normalization == "group" else 2


def small_energy(normalization=None, shape=(32, 32, 3), num_outputs=2):
    return dcgan_energy(
        shape,
        num_outputs,
        filters=filters(normalization),
        normalization=normalization,
    )


def images(shape=(32, 32, 3), count=3):
    return RNG.uniform(-1, 1, size=(count, *shape)).astype(np.float32)


def small_decoder(normalization="layer", shape=(32, 32, 3)):
    return dcgan_decoder(
        5, shape, filters=filters(normalization), normalization=normalization
    )


def latents(count=3):
    return RNG.normal(size=(count, 5)).astype(np.float32)


# Sizes


@pytest.mark.parametrize(
    "side, count", [(64, 2_764_736), (32, 2_758_592), (28, 2_758_592)]
)
def test_the_energy_has_the_published_number_of_weights(side, count):
    assert num_trained(dcgan_energy((side, side, 3))) == count


def test_a_normalised_energy_has_gains_for_biases_and_a_last_bias():
    # Gains and biases of 128, 256, 512 channels for their biases.
    expected = 2_758_592 + 128 + 256 + 512 + 1
    network = dcgan_energy((32, 32, 3), normalization="batch")
    assert num_trained(network) == expected
    biased = {
        layer.name: layer.use_bias
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    }
    assert [name for name, bias in biased.items() if bias] == ["halving_0", "logits"]


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_the_decoder_has_the_published_number_of_weights(normalization):
    decoder = dcgan_decoder(normalization=normalization)
    assert num_trained(decoder) == 3_576_707
    assert decoder.output_shape == (None, 64, 64, 3)


def test_a_decoder_without_normalisation_has_biases_instead():
    # 4x4x512 biases of the map, and one for each of 256, 128, 64 channels.
    gains = 2 * (512 + 256 + 128 + 64)
    expected = 3_576_707 - gains + 8192 + 256 + 128 + 64
    assert num_trained(dcgan_decoder(normalization=None)) == expected


# What they compute. By hand, in float64.


def halved(x, layer):
    """A 4x4 convolution of stride 2 with one row of zeros on each side."""
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = bias
    for i in range(4):
        for j in range(4):
            window = x[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2]
            total = total + window @ kernel[i, j]
    return total


def doubled(x, layer):
    """Its transpose: a pixel (r, c) spreads over (2r - 1 + i, 2c - 1 + j)."""
    kernel, *bias = (np.float64(weight) for weight in layer.get_weights())
    rows, columns = x.shape[1:3]
    total = np.zeros((len(x), 2 * rows + 2, 2 * columns + 2, kernel.shape[2]))
    for i in range(4):
        for j in range(4):
            part = x @ kernel[i, j].T
            total[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] += part
    return total[:, 1:-1, 1:-1] + (bias[0] if bias else 0.0)


@pytest.mark.parametrize("shape", [(32, 32, 3), (64, 48, 1)])
def test_the_energy_computes_what_the_paper_does(shape):
    network = small_energy(shape=shape)
    inputs = images(shape)
    x = np.float64(inputs)
    for index in range(4):
        x = halved(x, network.get_layer(f"halving_{index}"))
        x = np.where(x > 0, x, 0.2 * x)
    expected = x.reshape(3, -1) @ network.get_layer("logits").kernel.numpy()
    np.testing.assert_allclose(network(inputs), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("normalization", [None, "layer"], ids=str)
def test_the_decoder_computes_what_the_paper_does(normalization):
    decoder = small_decoder(normalization, (48, 32, 3))

    def activate(x, name):
        if normalization:
            layer = decoder.get_layer(f"{name}_norm")
            x = x - x.mean((1, 2, 3), keepdims=True)
            x = x / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
            x = x * layer.gamma.numpy() + layer.beta.numpy()
        return np.maximum(x, 0.0)

    for layer in decoder.layers:
        if layer.name.endswith("norm"):
            layer.gamma.assign(RNG.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(RNG.normal(size=layer.beta.shape))
    z = latents()
    kernel, *bias = decoder.get_layer("map").get_weights()
    x = z @ np.float64(kernel) + (bias[0] if bias else 0.0)
    x = activate(x.reshape(3, 3, 2, 16), "map")
    for index in range(3):
        name = f"doubling_{index}"
        x = activate(doubled(x, decoder.get_layer(name)), name)
    expected = np.tanh(doubled(x, decoder.get_layer("outputs")))
    np.testing.assert_allclose(decoder(z), expected, rtol=1e-3, atol=1e-4)


def test_28_pixels_are_the_middle_of_32():
    energy, larger_energy = small_energy(shape=(28, 28, 3)), small_energy()
    decoder, larger_decoder = small_decoder(shape=(28, 28, 3)), small_decoder()
    energy.set_weights(larger_energy.get_weights())
    decoder.set_weights(larger_decoder.get_weights())
    x = images((28, 28, 3))
    bordered = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(energy(x), larger_energy(bordered), rtol=1e-6)
    z = latents()
    np.testing.assert_array_equal(decoder(z), larger_decoder(z)[:, 2:30, 2:30])


@EACH
def test_an_energy_depends_on_its_own_row_alone(normalization):
    network, x = small_energy(normalization), tf.constant(images(count=2))
    alone = tf.concat([network(x[i : i + 1], training=True) for i in range(2)], 0)
    np.testing.assert_allclose(network(x, training=True), alone, rtol=1e-4, atol=1e-5)


@EACH
def test_a_sample_depends_on_its_own_latent_alone(normalization):
    decoder, z = small_decoder(normalization), tf.constant(latents(2))
    alone = tf.concat([decoder(z[i : i + 1], training=True) for i in range(2)], 0)
    np.testing.assert_allclose(decoder(z, training=True), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalization", [None, "layer", "batch"], ids=str)
def test_energies_can_be_differentiated_twice(normalization):
    network = small_energy(normalization, num_outputs=1)
    with tf.GradientTape() as tape:
        _, gradient = energy_and_gradient(
            lambda x: network(x, training=True)[:, 0], tf.constant(images())
        )
        penalty = tf.reduce_mean(squared_norm(gradient))
    kernels = [v.value for v in network.trainable_variables if v.name == "kernel"]
    for second in tape.gradient(penalty, kernels):
        assert np.all(np.isfinite(second)) and np.any(second != 0)


def test_estimators_take_the_default_decoder_and_refuse_the_published_one():
    check_own_density("It", GaussianGenerator(small_decoder()))
    with pytest.raises(ValueError, match="BatchNormalization layer"):
        check_own_density("It", GaussianGenerator(small_decoder("batch")))


@pytest.mark.parametrize("build, count", [(small_energy, 3), (small_decoder, 4)])
def test_batch_normalisation_has_the_published_settings(build, count):
    layers = [
        layer
        for layer in build("batch").layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == count
    for layer in layers:
        assert (layer.momentum, layer.epsilon, layer.synchronized) == (0.9, 1e-5, True)


@pytest.mark.parametrize("normalization", [None, "batch"], ids=str)
def test_weights_start_within_the_inverse_root_of_the_fan_in(normalization):
    network = dcgan_energy((32, 32, 3), 5, filters=8, normalization=normalization)
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    layers = [layer for layer in network.layers if isinstance(layer, kinds)]
    assert len(layers) == 5
    for layer in layers:
        bound = np.prod(layer.kernel.shape[:-1]) ** -0.5
        for weights in layer.get_weights():
            assert 0.4 * bound < np.abs(weights).max() <= bound


def test_weights_of_the_decoder_start_within_the_root_of_what_comes_out():
    decoder = dcgan_decoder(10, (32, 32, 3), filters=8)
    fans = {"map": 4 * 64, "doubling_0": 16 * 32, "doubling_1": 16 * 16}
    fans |= {"doubling_2": 16 * 8, "outputs": 16 * 3}
    for name, fan in fans.items():
        for weights in decoder.get_layer(name).get_weights():
            assert np.abs(weights).max() <= fan**-0.5
        kernel = decoder.get_layer(name).kernel.numpy()
        assert np.abs(kernel).max() > 0.95 * fan**-0.5


@pytest.mark.parametrize(
    "output_activation, bounds",
    [("tanh", (-1, 1)), ("sigmoid", (0, 1)), (None, (-np.inf, np.inf))],
)
def test_the_output_activation_bounds_the_image(output_activation, bounds):
    decoder = dcgan_decoder(
        5, (16, 16, 1), filters=2, output_activation=output_activation
    )
    x = decoder(100.0 * latents(20)).numpy()
    assert bounds[0] <= x.min() and x.max() <= bounds[1]


def test_features_are_the_last_map():
    network = small_energy("layer")
    both = with_features(network)(images())
    assert both["features"].shape == (3, 2 * 2 * 16)
    np.testing.assert_allclose(
        network.get_layer("logits")(both["features"]), both["logits"], rtol=1e-5
    )


@ALL
@pytest.mark.parametrize("side", [28, 32])
def test_saved_networks_are_the_same(normalization, side, tmp_path):
    shape = (side, side, 3)
    for network, inputs in (
        (small_energy(normalization, shape), images(shape)),
        (small_decoder(normalization, shape), latents()),
    ):
        network.save(tmp_path / "network.keras")
        copy = keras.models.load_model(tmp_path / "network.keras")
        np.testing.assert_array_equal(copy(inputs), network(inputs))


# Errors


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"input_shape": (784,)}, r"\(height, width, channels\).*mlp_energy"),
        ({"num_outputs": 0}, "`num_outputs` must be an integer"),
        ({"filters": 1.5}, "`filters` must be an integer"),
        ({"normalization": "weight"}, "`normalization` must be one of None, 'batch'"),
        ({"normalization": "group", "filters": 8}, "multiples of 32. Received: 16"),
        (
            {"normalization": "instance", "input_shape": (16, 16, 1)},
            "needs maps of several pixels",
        ),
    ],
)
def test_arguments_of_the_energy_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        dcgan_energy(**arguments)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"latent_dim": 0}, "`latent_dim` must be an integer"),
        ({"output_shape": (784,)}, r"`output_shape` must be \(height.*mlp_decoder"),
        ({"output_shape": (0, 32, 3)}, "`output_shape` must be .* at least 1"),
        ({"filters": 0}, "`filters` must be an integer"),
        ({"normalization": "weight"}, "`normalization` must be one of None, 'batch'"),
    ],
)
def test_arguments_of_the_decoder_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        dcgan_decoder(**arguments)
