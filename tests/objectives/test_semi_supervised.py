import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import objectives
from keras_ebm.models import Batch, Drawn, EnergyModel
from keras_ebm.objectives import SemiSupervised
from keras_ebm.random import StepRandom

#: A linear classifier of two classes: p(1|x) = sigmoid(2 a.x), its gradient along a.
DIRECTION = np.array([0.6, -0.8, 0.0], np.float32)
X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


def linear_logits(x):
    margin = tf.linalg.matvec(x, DIRECTION)
    return tf.stack([-margin, margin], axis=-1)


def divergence(x, offset):
    """KL between Bernoulli variables, in closed form."""
    p, q = (1 / (1 + np.exp(-2 * rows @ DIRECTION)) for rows in (x, x + offset))
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def test_the_adversary_of_a_linear_classifier_walks_along_its_weights():
    noise = StepRandom(0, 0).normal(X.shape, "adversarial")
    found = objectives.virtual_adversarial_loss(
        linear_logits, X, noise, radius=0.5, probe=0.05
    )
    ahead, back = (divergence(X, sign * 0.5 * DIRECTION) for sign in (1.0, -1.0))
    # Of the two ends of the line the power iteration takes the random one's side.
    side = np.sign(noise.numpy() @ DIRECTION)
    expected = np.where(side > 0, ahead, back)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_no_other_direction_of_that_length_diverges_more():
    noise = StepRandom(0, 0).normal(X.shape, "adversarial")
    found = objectives.virtual_adversarial_loss(
        linear_logits, X, noise, radius=0.01, probe=0.001
    ).numpy()
    others = np.random.default_rng(1).normal(size=(50, 3))
    others *= 0.01 / np.linalg.norm(others, axis=1, keepdims=True)
    worst = np.max([divergence(X, offset) for offset in others], axis=0)
    # So close to x the divergence is a quadratic form, equal on both sides, up to
    # the third order; float32 tells it to some per cent.
    assert np.all(worst <= 1.05 * found)


def test_only_the_perturbed_prediction_is_pulled():
    layer = keras.layers.Dense(2, kernel_initializer="ones")
    layer.build((None, 3))
    noise = StepRandom(0, 0).normal(X.shape, "adversarial")
    with tf.GradientTape() as tape:
        values = objectives.virtual_adversarial_loss(
            layer, X, noise, radius=0.5, probe=0.05
        )
    gradient = tape.gradient(values, layer.trainable_variables)
    assert all(np.isfinite(part).all() for part in gradient)


def test_confident_rows_get_the_label_they_point_to():
    logits = tf.constant([[4.0, 0.0], [0.1, 0.0], [0.0, 9.0], [9.0, 0.0]])
    unlabelled = tf.constant([True, True, True, False])
    terms = SemiSupervised(pseudo_label_weight=2.0, pseudo_label_threshold=0.9)
    loss, logs = terms.loss(None, None, logits, unlabelled, None)
    # Rows 0 and 2 of the three unlabelled ones.
    expected = 2.0 * (np.log1p(np.exp(-4.0)) + np.log1p(np.exp(-9.0))) / 3
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    confident, counted = logs["pseudo_labelled"]
    assert confident.numpy().tolist() == [1, 0, 1, 1]
    assert counted is unlabelled


def test_no_gradient_goes_through_the_label():
    logits = tf.Variable([[2.0, 0.0]])
    with tf.GradientTape() as tape:
        values, _ = objectives.pseudo_label_loss(logits, 0.5)
    expected = tf.nn.softmax(logits) - [[1.0, 0.0]]
    np.testing.assert_allclose(tape.gradient(values, logits), expected, rtol=1e-5)


def make_model(**arguments):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(8, "silu"), keras.layers.Dense(2)]
    )
    return EnergyModel(network, **arguments)


def test_terms_rise_with_the_ramp_and_leave_the_cross_entropy():
    terms = SemiSupervised(pseudo_label_weight=1.0, pseudo_label_threshold=0.51)
    y = np.array([0, 1] + [-1] * 14)
    losses = []
    for arguments in (
        {},
        {"semi_supervised": terms},
        {"semi_supervised": terms, "ramp_steps": 4},
    ):
        model = make_model(**arguments)
        model.compile(keras.optimizers.SGD(0.0))
        loss, _ = model.energy_loss(X, y, [], training=True, random=StepRandom(0, 0))
        losses.append(float(loss))
    plain, full, first = losses
    assert full - plain > 0.01
    np.testing.assert_allclose(first - plain, (full - plain) / 4, rtol=1e-4)


def test_a_generator_learns_from_the_energy_whatever_the_ramp():
    def gradient(**arguments):
        model = make_model(objective="logistic", **arguments)
        model.compile(keras.optimizers.SGD(0.0))
        y = np.zeros(16, np.int32)
        batch = Batch(tf.constant(X), tf.constant(y), StepRandom(0, 0))
        drawn = Drawn(samples=tf.constant(X + 1))
        return model.descend_energy(batch, drawn).sample_gradient

    np.testing.assert_allclose(
        gradient(ramp_steps=100), gradient(), rtol=1e-4, atol=1e-6
    )


def test_it_trains_and_comes_back_with_its_model(tmp_path):
    terms = SemiSupervised(
        pseudo_label_weight=0.5, virtual_adversarial_weight=0.3, radius=0.2
    )
    model = make_model(semi_supervised=terms, ramp_steps=3)
    model.compile(keras.optimizers.Adam(0.01))
    y = np.array([0, 1] * 2 + [-1] * 12)
    history = model.fit(X, y, batch_size=8, epochs=2, verbose=0).history
    assert {"pseudo_labelled", "virtual_adversarial"} <= set(history)
    assert np.isfinite(history["loss"]).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.semi_supervised.get_config() == terms.get_config()
    assert loaded.ramp_steps == 3
    np.testing.assert_array_equal(loaded.logits(X), model.logits(X))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"pseudo_label_threshold": 1.0}, "pseudo_label_threshold` must be below 1"),
        ({"virtual_adversarial_weight": -1.0}, "virtual_adversarial_weight"),
        ({"radius": 0.0}, "radius"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SemiSupervised(**arguments)


def test_a_density_has_no_labels_to_guess():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`semi_supervised` needs a network with"):
        EnergyModel(network, semi_supervised=SemiSupervised())
