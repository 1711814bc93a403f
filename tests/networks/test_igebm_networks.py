import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.layers import SpectralNorm, update_spectral_norms
from keras_ebm.networks import (
    igebm_dsprites,
    igebm_mnist,
    igebm_resnet32,
    igebm_resnet128,
    with_features,
)

RNG = np.random.default_rng(0)
# Each small enough for a test, with the sizes of image that it halves.
SMALL = {
    "plain": lambda *a, **k: igebm_resnet32((8, 16, 3), *a, filters=4, **k),
    "large": lambda *a, **k: igebm_resnet32(
        (8, 8, 3), *a, size="large", filters=3, **k
    ),
    "wider": lambda *a, **k: igebm_resnet32(
        (8, 8, 1), *a, size="wider", filters=3, **k
    ),
    "attentive": lambda *a, **k: igebm_resnet32(
        (8, 8, 3), *a, filters=4, attention=True, **k
    ),
    "128": lambda *a, **k: igebm_resnet128((32, 64, 3), *a, filters=2, **k),
    "attentive 128": lambda *a, **k: igebm_resnet128(
        (32, 32, 3), *a, filters=2, attention=True, **k
    ),
    "dsprites": lambda *a, **k: igebm_dsprites((16, 20, 1), *a, filters=4, **k),
    "mnist": lambda *a, **k: igebm_mnist((14, 9, 1), *a, filters=3, **k),
}
NETWORKS = pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)
# Between them they have every kind of layer.
KINDS = {name: SMALL[name] for name in ("plain", "attentive", "dsprites")}
EACH_KIND = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)


def images(network, count=3):
    network = network if hasattr(network, "inputs") else network.network
    shape = network.inputs[0].shape[1:]
    return RNG.uniform(size=(count, *shape)).astype(np.float32)


def shake(network, size=0.3):
    """Moves all weights, as training would: the blocks are no identities then."""
    for variable in network.trainable_variables:
        variable.assign_add(size * RNG.normal(size=variable.shape))
    update_spectral_norms(network)
    return network


def num_trained(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def tables(network):
    """Weights of biases and gains."""
    return sum(
        layer.count_params()
        for layer in network.layers
        if type(layer).__name__ in ("ConditionalBias", "ConditionalGain")
    )


# Sizes. Counted by hand from the papers' layers: pairs of channels that each block
# takes and gives.


def kernels(stem, blocks):
    """3x3 kernels of the stem and of two convolutions a block, or three."""
    total = 9 * stem[0] * stem[1]
    for a, b in blocks:
        total += 9 * (a * b + b * b + (a * b if a != b else 0))
    return total


def per_channel(blocks, classes):
    """Biases of both inputs and the gain of the second output; and a shared gain."""
    rows = sum(a + b + b for a, b in blocks)
    return classes * rows + sum(b for _, b in blocks) if classes else rows


def defined_but_unused(blocks, classes):
    """Tables that the published code makes and no energy depends on: gains of the
    first convolutions, biases and gains of the shortcuts."""
    gains = sum(b for _, b in blocks)
    return classes * (gains + sum(a + b for a, b in blocks if a != b))


def assert_counts(network, stem, blocks, classes=0):
    assert tables(network) == per_channel(blocks, classes)
    expected = kernels(stem, blocks) + per_channel(blocks, classes)
    expected += blocks[-1][1] + 1
    assert num_trained(network) == expected
    return expected


def stages(start, *widths, count):
    """Blocks of stages that each begin with a change to their width."""
    blocks = []
    for width in widths:
        blocks += [(start, width)] + (count - 1) * [(width, width)]
        start = width
    return blocks


def test_plain_has_the_published_number_of_weights():
    blocks = stages(128, 128, 256, 256, count=2)
    count = assert_counts(igebm_resnet32(), (3, 128), blocks)
    assert count == 5_315_841  # 5.3 M


@pytest.mark.parametrize(
    "size, count, millions", [("large", 3, 18.6), ("larger", 5, 31.0)]
)
def test_large_and_larger_have_the_published_number_of_weights(size, count, millions):
    network = igebm_resnet32(size=size)
    blocks = stages(128, 128, 256, 512, count=count)
    assert round(assert_counts(network, (3, 128), blocks) / 1e6, 1) == millions


def test_wider_has_the_published_number_of_weights():
    network = igebm_resnet32(size="wider", filters=192, num_classes=10)
    blocks = stages(128, 192, 384, 768, count=3)
    assert round(assert_counts(network, (3, 128), blocks, 10) / 1e6) == 42


def test_wider_of_1000_classes_has_the_published_number_less_unused_tables():
    network = igebm_resnet32(size="wider", num_classes=1000)
    blocks = stages(128, 256, 512, 1024, count=3)
    used = assert_counts(network, (3, 128), blocks, 1000)
    assert used == 89_559_681
    assert round((used + defined_but_unused(blocks, 1000)) / 1e6) == 98


def test_resnet128_has_the_published_number_less_unused_tables():
    network = igebm_resnet128(num_classes=1000)
    blocks = stages(64, 64, 128, 256, 512, 512, 512, count=1)
    used = assert_counts(network, (3, 64), blocks, 1000)
    assert used == 21_212_289
    assert round((used + defined_but_unused(blocks, 1000)) / 1e6, 1) == 24.5


def test_dsprites_and_mnist_have_the_published_number_of_weights():
    kernels = 9 * 32 + 16 * (32 * 64 + 64 * 128 + 2 * 128**2) + 2048 * 128
    per_channel = 32 + 64 + 128 + 128 + 128
    expected = kernels + per_channel + 128 + 129
    assert num_trained(igebm_dsprites()) == expected == 951_297  # 0.95 M
    kernels = 9 * 64 + 16 * (64**2 + 64 * 128 + 128 * 256) + 4096 * 128
    per_channel = 64 + 64 + 128 + 256
    expected = kernels + per_channel + 128 + 129
    assert num_trained(igebm_mnist()) == expected == 1_246_529  # 1.25 M


# What they compute


@NETWORKS
@pytest.mark.parametrize("num_classes", [0, 2], ids=["density", "classes"])
def test_a_row_has_one_logit(build, num_classes):
    network = build(num_classes)
    x = images(network)
    inputs = [x, np.eye(2, dtype=np.float32)[[0, 1, 1]]] if num_classes else x
    assert network(inputs).shape == (3, 1) and network.output_shape == (None, 1)
    assert np.isfinite(network(inputs)).all()
    assert network.layers[-1].name == "logits"


@NETWORKS
def test_every_kernel_but_the_last_is_normalised_and_none_has_a_bias(build):
    network = build()
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    flat = network._flatten_layers()
    norms = [layer for layer in flat if isinstance(layer, SpectralNorm)]
    inside = {id(norm.layer) for norm in norms}
    bare = [layer for layer in flat if isinstance(layer, kinds)]
    assert [layer.name for layer in bare if id(layer) not in inside] == ["logits"]
    biased = {layer.name for layer in bare if layer.use_bias}
    assert biased <= {"logits", "features", "query", "key"}
    assert update_spectral_norms(build(spectral_norm=False)) == 0


@EACH_KIND
def test_an_energy_depends_on_its_own_row_alone(build):
    network = shake(build())
    x = tf.constant(images(network, 2))
    alone = tf.concat([network(x[i : i + 1], training=True) for i in range(2)], 0)
    # Sums over the image reach 100 or so in float32.
    np.testing.assert_allclose(network(x, training=True), alone, rtol=1e-4, atol=1e-4)


@EACH_KIND
def test_energies_can_be_differentiated_twice(build):
    network = shake(build())
    x = tf.constant(images(network))
    with tf.GradientTape() as tape:
        _, gradient = energy_and_gradient(lambda v: network(v)[:, 0], x)
        penalty = tf.reduce_mean(squared_norm(gradient))
    kernels = [v.value for v in network.trainable_variables if v.name == "kernel"]
    for second in tape.gradient(penalty, kernels):
        assert np.all(np.isfinite(second)) and np.any(second != 0)


@EACH_KIND
def test_the_label_enters_and_no_label_is_no_class(build):
    network = shake(build(2))
    x = images(network, 1)
    first, second, none = (
        network([x, np.array([label], np.float32)]).numpy()
        for label in ([1, 0], [0, 1], [0, 0])
    )
    assert len({float(first[0, 0]), float(second[0, 0]), float(none[0, 0])}) == 3


@EACH_KIND
def test_classes_start_alike(build):
    network = build(3)
    x = images(network, 1)
    one_hot = np.eye(3, dtype=np.float32)
    logits = network([np.repeat(x, 3, axis=0), one_hot]).numpy()
    # Biases start at 0 and gains at 1, so that all that is left is rounding.
    np.testing.assert_allclose(logits, logits[:1].repeat(3, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_a_block_starts_as_its_shortcut(spectral_norm):
    network = SMALL["plain"](spectral_norm=spectral_norm)
    sums = [layer for layer in network.layers if isinstance(layer, keras.layers.Add)]
    both = [end for layer in sums for end in (layer.input[0], layer.output)]
    values = keras.Model(network.input, both)(images(network))
    for shortcut, out in zip(values[::2], values[1::2], strict=True):
        assert np.abs(shortcut).max() > 0
        # A kernel of N(0, 1e-10) against values of size 1.
        np.testing.assert_allclose(out, shortcut, atol=1e-6)


def test_initial_weights_are_those_of_the_paper():
    normal = igebm_resnet32((8, 8, 3), filters=32)
    xavier = igebm_resnet32((8, 8, 3), filters=32, spectral_norm=False)
    # 18,432 weights: the standard error of their spread is half a percent.
    first = normal.get_layer("block_1_0_first_norm").layer.kernel.numpy()
    np.testing.assert_allclose(first.std(), 1.0, rtol=0.03)
    second = normal.get_layer("block_1_0_second_norm")
    np.testing.assert_allclose(second.layer.kernel.numpy().std(), 1e-10, rtol=0.03)
    assert second.bound == "upper"
    kernel = xavier.get_layer("block_1_0_first").kernel.numpy()
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 96)), rtol=0.03)
    assert not xavier.get_layer("block_1_0_second").kernel.numpy().any()


def test_the_head_sums_over_the_image():
    network = shake(igebm_resnet32((8, 8, 3), filters=4))
    head = network.get_layer("head_activation")
    both = keras.Model(network.input, [head.output, *network.outputs])
    maps, logits = both(images(network))
    kernel, bias = network.get_layer("logits").get_weights()
    expected = maps.numpy().sum((1, 2)) @ kernel + bias
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_the_head_is_a_relu_unless_the_network_is_smooth():
    def head(activation):
        network = igebm_resnet32((8, 8, 3), filters=2, activation=activation)
        return network.get_layer("head_activation").activation

    assert head("leaky_relu") is head("relu") is keras.activations.relu
    assert head("silu") is keras.activations.silu


@pytest.mark.parametrize(
    "name, shapes",
    [
        ("plain", [(4, 8), (4, 8), (2, 4), (2, 4), (1, 2), (1, 2)]),
        ("128", [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2), (1, 2)]),
    ],
)
def test_blocks_halve_where_the_paper_does(name, shapes):
    network = SMALL[name]()
    ends = [
        layer.output.shape[1:3]
        for layer in network.layers
        if layer.name.startswith("block")
        and layer.name.endswith("activation")
        and "first" not in layer.name
    ]
    assert ends == shapes


@pytest.mark.parametrize(
    "size, replaced, filters",
    [
        ("plain", "block_1_1", 2 * 4),
        ("large", "block_1_1", 2 * 4),
        ("wider", "block_0_1", 4),
    ],
)
def test_attention_takes_the_place_of_a_block(size, replaced, filters):
    arguments = {"size": size, "filters": 4}
    with_it = igebm_resnet32((8, 8, 3), attention=True, **arguments)
    without = igebm_resnet32((8, 8, 3), **arguments)
    names = [{layer.name for layer in n.layers} for n in (without, with_it)]
    assert {name[: len(replaced)] for name in names[0] - names[1]} == {replaced}
    assert with_it.get_layer("attention").output.shape[-1] == filters


def test_dropout_is_in_every_block_and_in_training_alone():
    network = shake(igebm_resnet32((8, 8, 3), filters=4, dropout=0.5))
    kinds = [type(layer) for layer in network.layers]
    assert kinds.count(keras.layers.Dropout) == 6
    x = images(network)
    np.testing.assert_array_equal(network(x), network(x))
    first, second = network(x, training=True), network(x, training=True)
    assert np.abs(first - second).max() > 1e-3


@EACH_KIND
def test_features_are_what_the_last_layer_reads(build):
    network = shake(build())
    x = images(network)
    both = with_features(network)(x)
    np.testing.assert_allclose(
        network.layers[-1](both["features"]), network(x), rtol=1e-5, atol=1e-5
    )
    assert len(both["features"].shape) == 2


@EACH_KIND
@pytest.mark.parametrize("num_classes", [0, 2], ids=["density", "classes"])
def test_a_saved_network_is_the_same(build, num_classes, tmp_path):
    network = shake(build(num_classes))
    network.save(tmp_path / "network.keras")
    copy = keras.models.load_model(tmp_path / "network.keras")
    x = images(network)
    y = RNG.normal(size=(3, 2)).astype(np.float32)
    inputs = [x, y] if num_classes else x
    np.testing.assert_array_equal(copy(inputs), network(inputs))


# Errors


@pytest.mark.parametrize(
    "build, shape, match",
    [
        (igebm_resnet32, (28, 32, 3), "divisible by 8.*crop or pad"),
        (igebm_resnet128, (128, 48, 3), "divisible by 32"),
        (igebm_mnist, (28, 28), r"\(height, width, channels\).*mlp_energy"),
        (igebm_dsprites, (64,), r"\(height, width, channels\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(build, shape, match):
    with pytest.raises(ValueError, match=match):
        build(shape)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"size": "huge"}, "`size` must be one of 'plain', 'large', 'larger', 'wider'"),
        ({"num_classes": -1}, "`num_classes` must be an integer"),
        ({"filters": 1.5}, "`filters` must be an integer"),
        ({"dropout": 1.0}, "`dropout` must be below 1"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        igebm_resnet32(**arguments)
