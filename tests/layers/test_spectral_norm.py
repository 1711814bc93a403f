import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.layers import SelfAttention2D, SpectralNorm, update_spectral_norms

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 6, 5, 2)).astype(np.float32)
ROWS = RNG.normal(size=(3, 7)).astype(np.float32)
LAYERS = {
    "dense": lambda **k: (keras.layers.Dense(4, **k), ROWS),
    "convolution": lambda **k: (
        keras.layers.Conv2D(4, 3, padding="same", **k),
        IMAGES,
    ),
    "strided, with activation": lambda **k: (
        keras.layers.Conv2D(4, (3, 2), strides=2, activation="silu", **k),
        IMAGES,
    ),
    "dilated, without bias": lambda **k: (
        keras.layers.Conv2D(4, 2, dilation_rate=2, use_bias=False, **k),
        IMAGES,
    ),
}


def normal(stddev=1.0, seed=1):
    return keras.initializers.RandomNormal(stddev=stddev, seed=seed)


def wrapped(kind="convolution", stddev=1.0, bias_initializer="ones", **kwargs):
    """A built `SpectralNorm` and inputs for it."""
    layer, x = LAYERS[kind](
        kernel_initializer=normal(stddev), bias_initializer=bias_initializer
    )
    norm = SpectralNorm(layer, seed=3, **kwargs)
    norm(x)
    return norm, x


def largest(kernel):
    matrix = np.reshape(kernel, (-1, kernel.shape[-1]))
    return np.linalg.svd(matrix, compute_uv=False)[0]


@pytest.mark.parametrize("kind", LAYERS)
def test_sigma_is_the_largest_singular_value(kind):
    norm, _ = wrapped(kind)
    norm.update(300)
    np.testing.assert_allclose(norm.sigma(), largest(norm.layer.kernel), rtol=1e-5)
    np.testing.assert_allclose(largest(norm.normalized_kernel()), 1.0, rtol=1e-5)


@pytest.mark.parametrize("filters", [4, 32, 128])
def test_a_fresh_layer_is_normalised(filters):
    norm = SpectralNorm(keras.layers.Conv2D(filters, 3, kernel_initializer=normal()))
    norm.build((None, 8, 8, 32))
    # From below: the estimate is |W u| for a unit vector u, and never too large.
    # Twenty iterations come within 4% where singular values lie as close as here.
    assert 1.0 - 1e-6 < largest(norm.normalized_kernel()) < 1.04


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_it_is_the_layer_with_another_kernel(kind, scale):
    norm, x = wrapped(kind, scale=scale)
    plain, _ = LAYERS[kind]()
    plain.build(x.shape)
    expected = scale * norm.layer.kernel / norm.sigma()
    plain.set_weights([expected, *norm.layer.get_weights()[1:]])
    np.testing.assert_allclose(norm(x), plain(x), rtol=1e-5, atol=1e-6)
    assert norm.compute_output_shape(x.shape) == norm(x).shape == plain(x).shape


def test_a_call_changes_no_weight():
    norm, x = wrapped()
    before = norm.get_weights()
    for training in (False, True):
        norm(x, training=training)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("iterations", [1, 3])
def test_an_update_is_power_iterations_and_moves_u_alone(iterations):
    norm, _ = wrapped(power_iterations=iterations)
    norm.layer.kernel.assign(RNG.normal(size=norm.layer.kernel.shape))
    kernel, bias = norm.layer.get_weights()
    u = norm.u.numpy()
    matrix = kernel.reshape(-1, 4).astype(np.float64)
    for _ in range(iterations):
        v = matrix @ u / np.linalg.norm(matrix @ u)
        u = v @ matrix / np.linalg.norm(v @ matrix)
    norm.update()
    np.testing.assert_allclose(norm.u, u, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(norm.layer.kernel, kernel)
    np.testing.assert_array_equal(norm.layer.bias, bias)


def test_only_the_kernel_and_the_bias_are_trained():
    norm, _ = wrapped()
    assert {v.name for v in norm.trainable_variables} == {"kernel", "bias"}
    assert [v.name for v in norm.non_trainable_variables] == ["u"]


def test_an_upper_bound_leaves_small_kernels_and_caps_large_ones():
    small, _ = wrapped(stddev=1e-2, bound="upper", scale=2.0)
    assert largest(small.layer.kernel) < 1
    np.testing.assert_allclose(
        small.normalized_kernel(), 2.0 * small.layer.kernel, rtol=1e-6
    )
    large, _ = wrapped(stddev=10.0, bound="upper")
    large.update(300)
    # W / (sigma + 1e-6) with sigma of about 50.
    np.testing.assert_allclose(largest(large.normalized_kernel()), 1.0, rtol=1e-5)


def test_a_kernel_of_almost_nothing_keeps_its_direction():
    norm, _ = wrapped(stddev=1e-10, bound="upper")
    unit, _ = wrapped(stddev=1.0)
    # The same draw, 1e10 times smaller: squares of 1e-20 are still float32s.
    np.testing.assert_allclose(norm.u, unit.u, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.sigma(), 1e-10 * unit.sigma(), rtol=1e-5)


@pytest.mark.parametrize("bound", ["exact", "upper"])
def test_a_kernel_of_zeros_gives_no_nan(bound):
    norm, x = wrapped(bound=bound, bias_initializer="zeros")
    norm.layer.kernel.assign(np.zeros(norm.layer.kernel.shape))
    before = norm.u.numpy()
    norm.update()
    np.testing.assert_array_equal(norm.u, before)
    with tf.GradientTape() as tape:
        outputs = norm(x)
    np.testing.assert_array_equal(outputs, np.zeros(outputs.shape))
    assert np.isfinite(tape.gradient(outputs, norm.layer.kernel.value)).all()


def test_sigma_has_the_gradient_of_the_largest_singular_value():
    norm, _ = wrapped("dense")
    norm.update(300)
    with tf.GradientTape() as tape:
        sigma = norm.sigma()
    left, _, right = np.linalg.svd(norm.layer.kernel.numpy())
    gradient = tape.gradient(sigma, norm.layer.kernel.value)
    np.testing.assert_allclose(gradient, np.outer(left[:, 0], right[0]), atol=1e-4)


def test_no_gradient_is_along_the_kernel():
    # W_bar does not change with the length of W, whatever `u` is.
    norm, x = wrapped()
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(norm(x) ** 2)
    gradient = tape.gradient(value, norm.layer.kernel.value)
    along = np.sum(gradient * norm.layer.kernel)
    scale = np.linalg.norm(gradient) * np.linalg.norm(norm.layer.kernel)
    assert abs(along) < 1e-5 * scale and scale > 1


def penalty(norm, x):
    def energy(inputs):
        outputs = tf.tanh(norm(inputs))
        return tf.reduce_sum(tf.reshape(outputs, [tf.shape(x)[0], -1]), axis=-1)

    _, gradient = energy_and_gradient(energy, x)
    return tf.reduce_sum(squared_norm(gradient))


@pytest.mark.parametrize("kind", ["dense", "strided, with activation"])
@pytest.mark.parametrize("bound, stddev", [("exact", 1.0), ("upper", 0.05)])
def test_a_gradient_of_a_gradient_agrees_with_differences(kind, bound, stddev):
    norm, x = wrapped(kind, stddev=stddev, bound=bound)
    x = tf.constant(x)
    kernel = norm.layer.kernel
    with tf.GradientTape() as tape:
        value = penalty(norm, x)
    gradient = tape.gradient(value, kernel.value).numpy()
    start = kernel.numpy()
    direction = RNG.normal(size=start.shape).astype(np.float32)
    step = 1e-2 * stddev
    ends = []
    for sign in (1, -1):
        kernel.assign(start + sign * step * direction)
        ends.append(penalty(norm, x).numpy())
    # The error of central differences is of the order of (step / stddev)^2, and
    # rounding adds 1e-7 of the value over the step.
    difference = (ends[0] - ends[1]) / (2 * step)
    size = np.linalg.norm(gradient) * np.linalg.norm(direction)
    np.testing.assert_allclose(
        np.sum(gradient * direction), difference, atol=5e-3 * size
    )
    assert size > 0


def test_a_compiled_step_updates_once_and_shares_one_kernel():
    norm, x = wrapped()
    norm.layer.kernel.assign(RNG.normal(size=norm.layer.kernel.shape))
    copy, _ = wrapped()
    copy.set_weights(norm.get_weights())

    @tf.function
    def step(inputs):
        norm.update()
        return norm(inputs), norm(inputs)

    first, second = step(tf.constant(x))
    copy.update()
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, copy(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.u, copy.u, rtol=1e-5, atol=1e-6)


def test_a_layer_first_called_inside_a_function_is_normalised():
    network = keras.Sequential(
        [SpectralNorm(keras.layers.Dense(5, kernel_initializer=normal(10.0)))]
    )
    tf.function(network)(tf.constant(ROWS))
    (norm,) = network.layers
    # As in `test_a_fresh_layer_is_normalised`.
    assert 1.0 - 1e-6 < largest(norm.normalized_kernel()) < 1.04


def test_replicas_agree_with_one_device(strategy):
    one, x = wrapped()
    with strategy.scope():
        two, _ = wrapped()
    kernel = RNG.normal(size=one.layer.kernel.shape)
    for norm in (one, two):
        norm.layer.kernel.assign(kernel)

    @tf.function
    def step(inputs):
        def replica(rows):
            two.update()
            return two(rows)

        return strategy.run(replica, args=(inputs,))

    outputs = strategy.experimental_local_results(step(tf.constant(x)))
    one.update()
    copies = strategy.experimental_local_results(two.u.value)
    assert len(outputs) == len(copies) == 2
    for output, u in zip(outputs, copies, strict=True):
        np.testing.assert_array_equal(u, copies[0])
        np.testing.assert_allclose(u, one.u, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(output, one(x), rtol=1e-5, atol=1e-6)
    # Outside a replica too.
    with strategy.scope():
        two.update()
    one.update()
    for u in strategy.experimental_local_results(two.u.value):
        np.testing.assert_allclose(u, one.u, rtol=1e-5, atol=1e-6)


def nested():
    inner = keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            SpectralNorm(keras.layers.Conv2D(4, 3, kernel_initializer=normal())),
            SelfAttention2D(),
        ]
    )
    inputs = keras.Input((6, 5, 2))
    x = keras.layers.Flatten()(inner(inputs))
    shared = SpectralNorm(keras.layers.Dense(48), bound="upper")
    return keras.Model(inputs, keras.layers.Dense(1)(shared(shared(x))))


def test_all_layers_of_a_network_are_updated_and_counted_once():
    network = nested()
    vectors = [v for v in network.non_trainable_variables if v.name == "u"]
    for variable in vectors:
        variable.assign(np.ones(variable.shape) / np.sqrt(variable.shape[0]))
    before = [v.numpy() for v in vectors]
    assert update_spectral_norms(network) == len(vectors) == 5
    for old, variable in zip(before, vectors, strict=True):
        assert np.abs(old - variable).max() > 1e-3
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert update_spectral_norms(plain) == 0


def test_a_saved_network_gives_the_same_outputs(tmp_path):
    network = nested()
    for variable in network.trainable_variables:
        variable.assign_add(0.1 * RNG.normal(size=variable.shape))
    update_spectral_norms(network)
    network.save(tmp_path / "network.keras")
    copy = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(copy(IMAGES), network(IMAGES))
    assert update_spectral_norms(copy) == 5


def test_the_config_round_trips():
    layer = keras.layers.Conv2D(4, 3, strides=2)
    norm = SpectralNorm(layer, power_iterations=2, scale=0.5, bound="upper", seed=1)
    config = keras.saving.serialize_keras_object(norm)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == norm.get_config()


def test_sigma_is_float32_under_a_mixed_policy():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        norm, x = wrapped()
        outputs = norm(x)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert outputs.dtype == tf.bfloat16
    assert norm.sigma().dtype == norm.normalized_kernel().dtype == tf.float32
    exact, _ = wrapped()
    # bfloat16 keeps 8 bits, of each of the 18 products summed.
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), exact(x), atol=0.05)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Activation("relu"),
        keras.layers.Conv1D(2, 3),
        keras.layers.Conv2DTranspose(2, 3),
        keras.layers.Conv2D(2, 3, data_format="channels_first"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_other_layers_are_refused(layer):
    with pytest.raises(ValueError, match="`layer` must be.*leave other layers"):
        SpectralNorm(layer)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"power_iterations": 0}, "`power_iterations` must be an integer"),
        ({"scale": 0.0}, "`scale` must be a finite number above 0"),
        ({"bound": "lower"}, "`bound` must be one of 'exact', 'upper'"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        SpectralNorm(keras.layers.Dense(2), **arguments)


def test_an_update_before_the_first_call_is_refused():
    with pytest.raises(ValueError, match="must be built before.*call it once"):
        SpectralNorm(keras.layers.Dense(2)).update()
