"""Answers after walks of each class, and training on attacked rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import (
    VERA,
    EnergyModel,
    GaussianGenerator,
    LangevinModel,
    networks,
)
from keras_ebm.negatives import LangevinMoves, MALAMoves, MarkovChains
from keras_ebm.random import StepRandom
from keras_ebm.robust import Adversarial, Refined, pgd

RANDOM = StepRandom(0, 0)
CENTRES = np.array([[0.0, 0.0], [1.0, 0.0]], np.float32)


class Bowls(keras.Model):
    """Logits `-||x - c_k||^2 / 2`: each class's energy is a bowl about its centre."""

    input_shape = (None, 2)
    output_shape = (None, 2)

    def call(self, x, training=False):
        return -0.5 * tf.reduce_sum((x[:, None] - CENTRES) ** 2, axis=-1)


@pytest.fixture(scope="module")
def bowls():
    moves = LangevinMoves(3, 0.5, 0.0)
    return EnergyModel(Bowls(), negatives=MarkovChains(moves))


def test_each_class_walks_down_its_own_energy(bowls):
    refined = Refined(bowls, radius=10.0)
    x = tf.constant([[0.4, 0.8]])
    # Half of what is left to the centre, three times.
    ends = CENTRES + (x.numpy() - CENTRES) / 8
    np.testing.assert_allclose(refined.ends(x)[:, 0], ends, rtol=1e-5)
    expected = -0.5 * ((x.numpy() - CENTRES) ** 2).sum(axis=1) / 64
    np.testing.assert_allclose(refined(x)[0], expected, rtol=1e-5)


def test_no_class_leaves_the_ball_about_the_given_input(bowls):
    refined = Refined(bowls, radius=0.1)
    x = tf.constant([[0.5, 0.8], [0.5, -0.8]])
    assert np.abs(refined.ends(x) - x[None]).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(
        refined.ends(x)[:, 0], [[0.4, 0.7], [0.6, 0.7]], rtol=1e-5
    )


@pytest.mark.parametrize("radius", [10.0, 0.1])
def test_gradients_through_all_steps_are_those_of_finite_differences(bowls, radius):
    refined = Refined(bowls, radius=radius)
    x = tf.constant([[0.45, 0.8]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        logit = refined(x)[0, 1]
    gradient = tape.gradient(logit, x)[0].numpy()
    for axis in range(2):
        step = 1e-2 * np.eye(2, dtype=np.float32)[axis]
        change = refined(x + step)[0, 1] - refined(x - step)[0, 1]
        np.testing.assert_allclose(gradient[axis], change / 2e-2, rtol=2e-2, atol=1e-4)


def test_gradients_of_the_identity_give_the_same_answers(bowls):
    refined = Refined(bowls, radius=0.1)
    blind = refined.with_gradient("identity")
    x = tf.constant([[0.45, 0.8]])
    np.testing.assert_allclose(refined(x), blind(x), rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logit = blind(x)[0, 1]
    ends = refined.ends(x)[1]
    np.testing.assert_allclose(tape.gradient(logit, x), CENTRES[1] - ends, rtol=1e-5)


def test_noise_of_the_walks_is_averaged_over_by_eot():
    moves = LangevinMoves(1, 0.1, 0.3)
    model = EnergyModel(Bowls(), negatives=MarkovChains(moves))
    refined = Refined(model, radius=0.5)
    x = tf.constant([[0.3, 0.0]])
    assert not np.allclose(refined(x, StepRandom(0, 0)), refined(x, StepRandom(1, 0)))
    np.testing.assert_array_equal(refined(x, RANDOM), refined(x, RANDOM))
    found = pgd(refined, x, [0], bound=0.4, num_steps=5, eot=2, random=RANDOM)
    assert found.success > 0


def test_a_refinement_needs_classes_and_differentiable_chains(bowls):
    density = EnergyModel(networks.mlp_energy((2,), 1, hidden=(4,)))
    with pytest.raises(ValueError, match="`model` must have classes"):
        Refined(density, LangevinMoves(2), radius=0.1)
    plain = EnergyModel(networks.mlp_energy((2,), 2, hidden=(4,)))
    with pytest.raises(ValueError, match="`moves` must be LangevinMoves"):
        Refined(plain, radius=0.1)
    with pytest.raises(ValueError, match="`moves` must be LangevinMoves"):
        Refined(plain, MALAMoves(2), radius=0.1)
    with pytest.raises(ValueError, match="`radius` must be"):
        Refined(bowls, radius=0.0)


# Adversarial training.


def rows(count=600, seed=0):
    """Class by the sign of a weak sure entry, or of a strong one that often lies."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    sign = 2.0 * y - 1.0
    weak = 0.2 * sign + 0.02 * rng.normal(size=count)
    strong = sign * np.where(rng.random(count) < 0.9, 1.0, -1.0)
    strong += 0.1 * rng.normal(size=count)
    return np.stack([weak, strong], axis=1).astype(np.float32), y


def fitted(adversarial, **arguments):
    keras.utils.set_random_seed(0)
    model = EnergyModel(
        networks.mlp_energy((2,), 2, hidden=(16,)), adversarial=adversarial, **arguments
    )
    model.compile(keras.optimizers.Adam(0.03))
    x, y = rows(400)
    model.fit(x, y, epochs=15, batch_size=100, verbose=0)
    return model


def left(model, bound):
    x, y = rows(seed=1)
    logits = lambda x: model.network(x, training=False)  # noqa: E731
    found = pgd(logits, x, y, bound=bound, random=RANDOM)
    return np.mean(found.success.numpy() < 0)


def test_adversarial_training_leaves_what_a_small_change_can_undo():
    plain, robust = fitted(None), fitted(Adversarial(0.3, num_steps=5))
    # The sure entry is undone by 0.3; of the other 90 % are right, and stay so.
    assert left(plain, 0.0) > 0.97 and left(plain, 0.3) < 0.7
    assert left(robust, 0.3) > 0.85


def test_attacked_rows_stay_in_the_ball_and_rows_without_labels_where_they_are():
    adversarial = Adversarial(0.1, box=(0.0, 1.0), num_steps=4)
    x = tf.constant(np.random.default_rng(0).uniform(size=(6, 2)), tf.float32)
    y = tf.constant([0, 1, -1, 0, 1, -1])
    network = networks.mlp_energy((2,), 2, hidden=(8,))
    made = adversarial.rows(network, x, y, RANDOM).numpy()
    change = np.abs(made - x)
    assert change.max() <= 0.1 + 1e-6 and made.min() >= 0 and made.max() <= 1
    assert (change[[2, 5]] == 0).all() and (change[[0, 1, 3, 4]].max(axis=1) > 0).all()


def test_a_share_of_the_rows_is_attacked():
    adversarial = Adversarial(0.1, num_steps=2, share=0.5)
    x, y = tf.zeros([7, 2]), tf.zeros([7], tf.int32)
    made = adversarial.rows(networks.mlp_energy((2,), 2, hidden=(8,)), x, y, RANDOM)
    moved = np.abs(made).max(axis=1) > 0
    np.testing.assert_array_equal(moved, [True] * 4 + [False] * 3)


def test_a_generators_energy_is_trained_on_attacked_rows_too():
    decoder = networks.mlp_decoder(2, (2,), hidden=(8,))
    generator = GaussianGenerator(decoder)
    classifier = networks.mlp_energy((2,), 2, hidden=(8,))
    model = VERA(classifier, generator, adversarial=Adversarial(0.1, num_steps=2))
    model.compile()
    x, y = rows(40)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])


def test_adversarial_training_is_saved_with_the_model(tmp_path):
    model = LangevinModel(
        networks.mlp_energy((2,), 2, hidden=(8,)),
        MarkovChains(LangevinMoves(2, 0.1), start="normal"),
        adversarial=Adversarial(0.3, norm="l2", box=(-1, 1), share=0.5),
    )
    model.compile("adam")
    x, y = rows(40)
    history = model.fit(x, y, verbose=0).history
    assert np.isfinite(history["loss"][0]) and "accuracy" in history
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").adversarial
    assert again.get_config() == model.adversarial.get_config()
    assert again.box == (-1, 1) and again.share == 0.5


def test_attacked_rows_keep_their_sample_weights():
    x, y = rows(64)
    model = EnergyModel(
        networks.mlp_energy((2,), 2, hidden=(8,)), adversarial=Adversarial(0.1)
    )
    model.compile("adam")
    before = model.get_weights()
    history = model.fit(x, y, sample_weight=np.zeros(64), verbose=0).history
    assert history["loss"][0] == 0.0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_adversarial_training_needs_a_cross_entropy():
    with pytest.raises(ValueError, match="`adversarial` is for the cross-entropy"):
        EnergyModel(networks.mlp_energy((2,), 1), adversarial=Adversarial(0.1))
    with pytest.raises(ValueError, match="classification_weight=0"):
        EnergyModel(
            networks.mlp_energy((2,), 2),
            adversarial=Adversarial(0.1),
            classification_weight=0,
        )
    with pytest.raises(ValueError, match="`adversarial` must be"):
        EnergyModel(networks.mlp_energy((2,), 2), adversarial=0.1)
    with pytest.raises(ValueError, match="`share` must be at most 1"):
        Adversarial(0.1, share=1.5)
