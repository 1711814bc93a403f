import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.models import VERA
from keras_ebm.networks import NICE, with_features


def shaken(input_dim, seed=0, size=0.3, **kwargs):
    """A small NICE with all weights moved, as training would."""
    kwargs.setdefault("hidden", (7, 5))
    network = NICE(input_dim, **kwargs)
    rng = np.random.default_rng(seed)
    for weight in network.weights:
        weight.assign(weight + size * rng.normal(size=weight.shape))
    return network


def rows(count, input_dim, seed=1):
    return np.random.default_rng(seed).normal(size=(count, input_dim)).astype("float32")


def test_the_defaults_have_the_papers_number_of_weights():
    # 4 couplings of 392-1000-1000-1000-1000-392, and 784 scales.
    assert NICE(784).count_params() == 15_154_352


def test_a_network_is_built_and_has_its_shapes_from_the_start():
    network = NICE(5, hidden=(4,))
    assert network.built and len(network.trainable_variables) == 4 * 4 + 1
    assert network.input_shape == (None, 5) and network.output_shape == (None, 1)
    assert network(rows(3, 5)).shape == (3, 1)
    assert network.compute_output_shape((9, 5)) == (9, 1)


@pytest.mark.parametrize("input_dim", [2, 3, 8, 9])
def test_the_density_starts_as_the_standard_normal(input_dim):
    x = rows(10, input_dim)
    expected = -0.5 * np.sum(x**2, -1) - 0.5 * input_dim * np.log(2 * np.pi)
    network = NICE(input_dim, hidden=(6,))
    np.testing.assert_allclose(network.log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(network(x)[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("num_couplings", [1, 2, 4])
@pytest.mark.parametrize("input_dim", [2, 3, 8, 9])
def test_inverse_undoes_forward(input_dim, num_couplings):
    network = shaken(input_dim, num_couplings=num_couplings)
    x = rows(10, input_dim)
    y, _ = network.forward(x)
    assert np.abs(y - x).max() > 0.1
    # Sums and products of numbers of size 1 in float32.
    np.testing.assert_allclose(network.inverse(y), x, atol=1e-5)


def test_even_entries_come_first_and_the_second_half_moves_first():
    network = shaken(5, num_couplings=1)
    network.log_scale.assign(np.zeros(5))
    x = rows(4, 5)
    y, _ = network.forward(x)
    np.testing.assert_array_equal(y[:, :3], x[:, ::2])
    shift = network.couplings[0](x[:, ::2])
    np.testing.assert_allclose(y[:, 3:], x[:, 1::2] + shift, rtol=1e-6)


@pytest.mark.parametrize("input_dim", [2, 5, 8])
def test_log_det_is_that_of_the_jacobian(input_dim):
    network = shaken(input_dim)
    x = tf.constant(rows(6, input_dim))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_det = network.forward(x)
    jacobian = tape.batch_jacobian(y, x).numpy().astype(np.float64)
    _, expected = np.linalg.slogdet(jacobian)
    np.testing.assert_allclose(log_det, expected, atol=1e-5)


def test_every_output_depends_on_every_input():
    network = shaken(8)
    x = tf.constant(rows(1, 8))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, _ = network.forward(x)
    assert np.all(tape.batch_jacobian(y, x).numpy() != 0)


def test_the_density_integrates_to_one():
    network = shaken(2)
    line = np.linspace(-15.0, 15.0, 601, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    density = np.exp(network.log_prob(points).numpy().astype(np.float64))
    # The sum over a grid far finer than the density is exact but for float32.
    np.testing.assert_allclose(density.sum() * 0.05**2, 1.0, atol=1e-3)


def test_samples_go_forward_to_the_normal_and_repeat():
    network = shaken(6)
    x = network.sample(4000, seed=3)
    np.testing.assert_array_equal(x, network.sample(4000, seed=3))
    assert not np.allclose(x, network.sample(4000, seed=4))
    y = network.forward(x)[0].numpy()
    # Standard errors of 4,000 normal draws: 0.016 for means and correlations,
    # 0.022 for variances; five of them.
    assert np.abs(y.mean(0)).max() < 0.08
    assert np.abs(np.cov(y.T) - np.eye(6)).max() < 0.11


def test_the_score_can_be_differentiated_in_every_weight():
    network = shaken(4)
    x = tf.constant(rows(8, 4))
    weights = [v.value for v in network.trainable_variables]
    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = network.log_prob(x)
        loss = tf.reduce_sum(tf.square(tape.gradient(value, x)))
    for gradient in outer.gradient(loss, weights):
        assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)


def test_a_saved_network_is_the_same(tmp_path):
    network = shaken(5, hidden=(4, 3), num_couplings=3, activation="tanh")
    network.save(tmp_path / "nice.keras")
    copy = keras.models.load_model(tmp_path / "nice.keras")
    x = rows(4, 5)
    np.testing.assert_array_equal(copy(x), network(x))
    assert copy.get_config() == network.get_config()
    assert copy.hidden == (4, 3) and copy.num_couplings == 3


def test_the_policy_does_not_lower_the_precision():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        network = shaken(4)
        assert network(rows(3, 4)).dtype == "float32"
        y, _ = network.forward(rows(3, 4))
        np.testing.assert_allclose(network.inverse(y), rows(3, 4), atol=1e-5)
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def test_there_are_no_features_to_have():
    network = NICE(4, hidden=(3,))
    with pytest.raises(ValueError, match="Features need a functional"):
        with_features(network)
    network(keras.Input((4,)))
    with pytest.raises(ValueError, match="Features need a functional"):
        with_features(network)


def test_it_serves_as_an_energy_against_a_generator():
    from support import FEATURES, change, compile_sgd, make_generator
    from support import rows as class_rows

    model = VERA(NICE(FEATURES, hidden=(6,)), make_generator(), gradient_penalty=0.1)
    compile_sgd(model)
    x, _ = class_rows(12)
    assert change(model.network, lambda: model.train_step(x)) > 0
    np.testing.assert_allclose(
        model.energy(x), -model.network.log_prob(x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"input_dim": 1}, "`input_dim` must be at least 2.*input_dim=1"),
        ({"input_dim": 0}, "`input_dim` must be an integer"),
        ({"input_dim": 4, "hidden": (3, 0)}, "`hidden` must be an integer"),
        ({"input_dim": 4, "num_couplings": 0}, "`num_couplings`"),
    ],
)
def test_sizes_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        NICE(**arguments)
