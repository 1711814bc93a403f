import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.networks import wide_resnet, with_features
from keras_ebm.networks.image_blocks import convolve

RNG = np.random.default_rng(0)
OWN_ROW = [None, "group", "layer", "instance"]
EACH = pytest.mark.parametrize("normalization", OWN_ROW, ids=str)


def small(normalization=None, shape=(8, 8, 3), **kwargs):
    """WRN-10-2 of a few images a side, with gains and biases that are not 1 and 0."""
    network = wide_resnet(
        shape, 3, depth=10, width=2, normalization=normalization, **kwargs
    )
    for layer in network.layers:
        if layer.name.endswith("norm"):
            layer.gamma.assign(RNG.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(RNG.normal(size=layer.beta.shape))
    return network


def images(shape=(8, 8, 3), count=3):
    return RNG.uniform(-1, 1, size=(count, *shape)).astype(np.float32)


def num_trained(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


# Sizes


@pytest.mark.parametrize(
    "arguments, count",
    [
        ({}, 36_471_338),
        ({"num_outputs": 100}, 36_529_028),
        ({"width": 2}, 1_466_026),
    ],
    ids=["WRN-28-10", "100 classes", "WRN-28-2"],
)
def test_it_has_the_published_number_of_weights(arguments, count):
    assert num_trained(wide_resnet(**arguments)) == count


@pytest.mark.parametrize("normalization", OWN_ROW + ["batch"], ids=str)
def test_a_normalisation_has_two_weights_a_channel(normalization):
    # WRN-10-2: 32, 64, 128 channels. Each block normalises what comes in, but the
    # first, and what comes between; and the head.
    channels = 32 + (32 + 64) + (64 + 128) + 128 if normalization else 0
    plain = num_trained(wide_resnet(depth=10, width=2))
    network = wide_resnet(depth=10, width=2, normalization=normalization)
    assert num_trained(network) - plain == 2 * channels


def test_depth_is_six_convolutions_a_block_and_four():
    for depth in (10, 16, 28):
        network = wide_resnet((4, 4, 1), depth=depth, width=1)
        layers = [type(layer) for layer in network.layers]
        num_blocks = 3 * (depth - 4) // 6
        assert layers.count(keras.layers.Add) == num_blocks
        # Two a block, the stem, and a shortcut of each of two stages: those of the
        # first keep their 16 channels.
        assert layers.count(keras.layers.Conv2D) == 2 * num_blocks + 1 + 2


@pytest.mark.parametrize(
    "shape, last",
    [((32, 32, 3), (8, 8)), ((28, 12, 1), (7, 3)), ((39, 32, 3), (10, 8))],
)
def test_the_image_is_halved_twice(shape, last):
    network = wide_resnet(shape, depth=10, width=1)
    assert network.get_layer("head_activation").output.shape[1:3] == last
    assert network.output_shape == (None, 10)


def test_the_second_convolution_of_a_stage_is_the_strided_one():
    network = wide_resnet(depth=16, width=1)
    strided = {
        layer.name
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.strides == (2, 2)
    }
    expected = {"block_1_0_second", "block_1_0_shortcut"}
    expected |= {"block_2_0_second", "block_2_0_shortcut"}
    assert strided == expected


# What it computes. By hand, in float64, with the same zeros on every side.


def by_hand(x, layer, strides=1, padding=0):
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = (
        (side - size) // strides + 1
        for side, size in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    )
    total = bias
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            window = x[:, i : i + strides * rows : strides]
            window = window[:, :rows, j : j + strides * columns : strides]
            total = total + window[:, :, :columns] @ kernel[i, j]
    return total


def normalized_by_hand(x, layer, groups):
    parts = x.reshape(*x.shape[:3], groups, -1)
    mean = parts.mean((1, 2, 4), keepdims=True)
    variance = parts.var((1, 2, 4), keepdims=True)
    parts = (parts - mean) / np.sqrt(variance + 1e-5)
    return parts.reshape(x.shape) * layer.gamma.numpy() + layer.beta.numpy()


def wide_resnet_by_hand(network, x, normalization):
    groups = {"group": lambda c: 32, "layer": lambda c: 1, "instance": lambda c: c}

    def activate(x, name):
        if normalization and name != "block_0_0_first":
            layer = network.get_layer(f"{name}_norm")
            x = normalized_by_hand(x, layer, groups[normalization](x.shape[-1]))
        return np.where(x > 0, x, 0.2 * x)

    x = by_hand(np.float64(x), network.get_layer("stem"), padding=1)
    for stage in range(3):
        name, strides = f"block_{stage}_0", 1 if stage == 0 else 2
        h = activate(x, f"{name}_first")
        h = by_hand(h, network.get_layer(f"{name}_first"), padding=1)
        h = activate(h, f"{name}_second")
        h = by_hand(h, network.get_layer(f"{name}_second"), strides, padding=1)
        x = by_hand(x, network.get_layer(f"{name}_shortcut"), strides) + h
    features = activate(x, "head").mean((1, 2))
    kernel, bias = network.get_layer("logits").get_weights()
    return features @ kernel + bias


@EACH
@pytest.mark.parametrize("shape", [(8, 8, 3), (5, 12, 1)])
def test_it_computes_what_the_paper_does(normalization, shape):
    network = small(normalization, shape)
    x = images(shape)
    expected = wide_resnet_by_hand(network, x, normalization)
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-4)


def test_a_strided_convolution_pads_all_sides_alike():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, :, :, 0] = np.arange(16).reshape(4, 4)
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, convolve(inputs, 1, 3, 2, "convolution"))
    layer = model.get_layer("convolution")
    layer.set_weights([np.ones((3, 3, 1, 1)), np.zeros(1)])
    # Windows around the pixels 0, 2, 8, 10; the border is outside of the first.
    expected = [[0 + 1 + 4 + 5, 1 + 2 + 3 + 5 + 6 + 7], [4 + 5 + 8 + 9 + 12 + 13, 90]]
    np.testing.assert_array_equal(model(x)[0, :, :, 0], expected)
    # Keras's own way takes those around 5, 7, 13, 15.
    same = keras.layers.Conv2D(1, 3, 2, padding="same", kernel_initializer="ones")
    assert float(same(x)[0, 0, 0, 0]) == 45.0


def test_a_strided_1x1_convolution_takes_the_first_pixel_of_each_pair():
    x = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    inputs = keras.Input((5, 5, 1))
    model = keras.Model(inputs, convolve(inputs, 1, 1, 2, "convolution"))
    model.get_layer("convolution").set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
    np.testing.assert_array_equal(model(x)[0, :, :, 0], x[0, ::2, ::2, 0])


@EACH
def test_an_energy_depends_on_its_own_row_alone(normalization):
    network = small(normalization)
    x = tf.constant(images(count=2))
    alone = tf.concat([network(x[i : i + 1], training=True) for i in range(2)], 0)
    np.testing.assert_allclose(network(x, training=True), alone, rtol=1e-4, atol=1e-5)


def test_batch_normalisation_mixes_rows_in_training_alone():
    network = small("batch")
    x = images(count=2)
    alone = network(x[:1], training=False)
    np.testing.assert_allclose(network(x, training=False)[:1], alone, rtol=1e-4)
    difference = network(x, training=True)[:1] - network(x[:1], training=True)
    assert np.abs(difference).max() > 1e-3


def test_batch_normalisation_has_the_published_settings():
    layers = [
        layer
        for layer in small("batch").layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == 6
    for layer in layers:
        assert (layer.momentum, layer.epsilon, layer.synchronized) == (0.1, 1e-5, True)


@pytest.mark.parametrize("normalization", OWN_ROW + ["batch"], ids=str)
def test_energies_can_be_differentiated_twice(normalization):
    network = small(normalization)

    def energy(x):
        return tf.reduce_logsumexp(network(x, training=True), axis=-1)

    with tf.GradientTape() as tape:
        _, gradient = energy_and_gradient(energy, tf.constant(images()))
        penalty = tf.reduce_mean(squared_norm(gradient))
    kernels = [v.value for v in network.trainable_variables if v.name == "kernel"]
    for second in tape.gradient(penalty, kernels):
        assert np.all(np.isfinite(second)) and np.any(second != 0)


def test_weights_start_within_the_inverse_root_of_the_fan_in():
    network = wide_resnet(depth=10, width=4)
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    layers = [layer for layer in network.layers if isinstance(layer, kinds)]
    assert len(layers) == 1 + 3 * 3 + 1
    for layer in layers:
        bound = np.prod(layer.kernel.shape[:-1]) ** -0.5
        for weights in layer.get_weights():
            assert np.abs(weights).max() <= bound
            # 10 biases or more: the largest of 10 is below a half once in 1024.
            assert np.abs(weights).max() > 0.5 * bound
    kernel = network.get_layer("block_2_0_second").kernel.numpy()  # 600,000 of them
    np.testing.assert_allclose(kernel.std(), (9 * 256 * 3) ** -0.5, rtol=0.01)


def test_dropout_is_in_every_block_and_in_training_alone():
    network = small(dropout=0.5)
    kinds = [type(layer) for layer in network.layers]
    assert kinds.count(keras.layers.Dropout) == 3
    x = images()
    np.testing.assert_array_equal(network(x), network(x))
    first, second = network(x, training=True), network(x, training=True)
    assert np.abs(first - second).max() > 1e-4


def test_features_are_the_mean_over_the_last_map():
    network = small("layer")
    both = with_features(network)(images())
    assert both["features"].shape == (3, 128)
    np.testing.assert_allclose(
        network.get_layer("logits")(both["features"]), both["logits"], rtol=1e-5
    )


@pytest.mark.parametrize("normalization", OWN_ROW + ["batch"], ids=str)
def test_a_saved_network_is_the_same(normalization, tmp_path):
    network = small(normalization)
    network.save(tmp_path / "network.keras")
    copy = keras.models.load_model(tmp_path / "network.keras")
    x = images()
    np.testing.assert_array_equal(copy(x), network(x))


# Errors


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"depth": 27}, r"`depth` must be 6 n \+ 4.*depth=27; use 10, 16"),
        ({"depth": 4}, r"`depth` must be 6 n \+ 4"),
        ({"width": 0}, "`width` must be an integer"),
        ({"num_outputs": 0}, "`num_outputs` must be an integer"),
        ({"dropout": 1.0}, "`dropout` must be below 1"),
        ({"normalization": "weight"}, "`normalization` must be one of None, 'batch'"),
        (
            {"normalization": "group", "width": 1},
            "`normalization='group'` needs channels in multiples of 32. "
            "Received: 16 channels .*width",
        ),
        (
            {"normalization": "instance", "input_shape": (4, 4, 3), "depth": 10},
            "`normalization='instance'` needs maps of several pixels",
        ),
        ({"input_shape": (32, 32)}, r"`input_shape` must be \(height, width, channels"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        wide_resnet(**arguments)
