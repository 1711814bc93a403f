import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from support import assert_same_weights, batches

from keras_ebm.layers import SpectralNorm, update_spectral_norms
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import CutAndBlend
from keras_ebm.networks import (
    ClassConditional,
    igebm_mnist,
    igebm_resnet32,
    mlp_energy,
)

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(6, 8, 8, 1)).astype(np.float32)
Y = np.array([0, 2, 1, 1, 0, 2], np.int32)


def shaken(build=igebm_mnist, **kwargs):
    keras.utils.set_random_seed(1)
    network = build((8, 8, 1), 3, filters=2, **kwargs)
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:
        variable.assign_add(0.3 * rng.normal(size=variable.shape))
    update_spectral_norms(network)
    return ClassConditional(network)


def one_by_one(model, x=X):
    """`(batch, K)` logits of the inner network, class by class."""
    labels = [np.tile(row, (len(x), 1)) for row in np.eye(3, dtype=np.float32)]
    return np.concatenate([model.network([x, y]) for y in labels], axis=1)


@pytest.mark.parametrize("build", [igebm_mnist, igebm_resnet32])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_logits_are_the_networks_at_every_class(build, compiled):
    model = shaken(build)
    call = tf.function(model) if compiled else model
    logits = call(X)
    assert logits.shape == (6, 3) and logits.dtype == tf.float32
    assert np.ptp(one_by_one(model), axis=1).min() > 1e-3
    np.testing.assert_allclose(logits, one_by_one(model), rtol=1e-5, atol=1e-5)


def test_class_logits_are_those_of_each_rows_label():
    model = shaken()
    expected = one_by_one(model)[np.arange(6), Y]
    np.testing.assert_allclose(model.class_logits(X, Y), expected, rtol=1e-5, atol=1e-5)
    assert model.class_logits(X, Y).shape == (6,)


def test_an_unlabelled_row_has_no_class():
    model = shaken()
    expected = model.network([X, np.zeros((6, 3), np.float32)])[:, 0]
    np.testing.assert_array_equal(model.class_logits(X, -np.ones(6)), expected)


def test_it_has_its_shapes_from_the_start():
    model = shaken()
    assert model.built and model.num_classes == 3
    assert model.input_shape == (None, 8, 8, 1) and model.output_shape == (None, 3)
    assert model.compute_output_shape((5, 8, 8, 1)) == (5, 3)
    outer = keras.Input((8, 8, 1))
    assert model(outer).shape == (None, 3)
    # All layers of the inner network are found through it.
    assert update_spectral_norms(model) == 5


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_gradients_are_those_of_the_single_passes(compiled):
    model = shaken()
    variables = [v.value for v in model.trainable_variables]

    def gradients(logits_of):
        def run(x):
            # As `EnergyModel` does: the variables are watched, not found.
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([x, *variables])
                energy = -tf.reduce_logsumexp(logits_of(x), axis=-1)
            return tape.gradient(energy, [x, *variables])

        return (tf.function(run) if compiled else run)(tf.constant(X))

    def stacked(x):
        return tf.stack([model.class_logits(x, tf.fill([6], k)) for k in range(3)], 1)

    ours, theirs = gradients(model), gradients(stacked)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_an_energy_model_of_it_has_the_energies_of_both_kinds():
    network = shaken()
    model = EnergyModel(network)
    logits = one_by_one(network)
    assert model.num_classes == 3
    np.testing.assert_allclose(model.energy(X), -logsumexp(logits, -1), rtol=1e-5)
    expected = -logits[np.arange(6), Y]
    np.testing.assert_allclose(model.energy(X, Y), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(
        np.argmin([model.energy(X, np.full(6, k)) for k in range(3)], axis=0),
        model(X).numpy().argmax(-1),
    )


def test_it_is_fitted_with_a_penalty_and_every_weight_moves():
    network = shaken(activation="silu")
    model = EnergyModel(network, negatives=CutAndBlend(), gradient_penalty=0.1)
    model.compile(keras.optimizers.SGD(1e-2))
    before = [v.numpy() for v in network.trainable_variables]
    history = model.fit(batches(X, Y, 6), verbose=0, shuffle=False).history
    assert np.isfinite(list(history.values())).all()
    for old, variable in zip(before, network.trainable_variables, strict=True):
        # Of -E + E at data and negatives the last bias alone has no gradient, and
        # softmax takes away what all classes share.
        if variable.path != network.network.get_layer("logits").bias.path:
            assert np.abs(old - variable).max() > 0, variable.path


def dense():
    """Of one hidden layer, which is normalised: quicker to trace twice over."""
    keras.utils.set_random_seed(1)
    x, y = keras.Input((8, 8, 1)), keras.Input((3,))
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(x), y])
    hidden = keras.layers.Dense(4, activation="tanh")
    h = SpectralNorm(hidden, seed=1)(joined)
    return ClassConditional(keras.Model([x, y], keras.layers.Dense(1)(h)))


def test_two_replicas_take_the_step_of_one(strategy):
    def train():
        model = EnergyModel(dense(), energy_weight=0.0)
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(batches(X, Y, 6), verbose=0, shuffle=False)
        return model

    one = train()
    with strategy.scope():
        two = train()
    assert_same_weights(one, two, rtol=1e-4, atol=1e-5)


def test_a_saved_model_is_the_same(tmp_path):
    model = EnergyModel(shaken())
    model.compile("sgd")
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(copy.network, ClassConditional)
    np.testing.assert_array_equal(copy(X), model(X))
    model.network.save(tmp_path / "network.keras")
    network = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(network(X), model(X))


@pytest.mark.parametrize(
    "network",
    [
        mlp_energy((4,), 1, hidden=(3,)),
        igebm_mnist((8, 8, 1), filters=1),
        keras.Sequential([keras.layers.Dense(1)]),
    ],
    ids=["vectors", "unconditional", "unbuilt"],
)
def test_a_network_without_labels_is_refused(network):
    with pytest.raises(ValueError, match="`network` must be.*`num_classes` above 0"):
        ClassConditional(network)
