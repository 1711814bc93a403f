"""And, or and not of the labels of one network, at every level of noise."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import compose, networks
from keras_ebm.random import StepRandom
from keras_ebm.samplers import annealed_langevin, noise_levels

STDDEV, COUNT = 0.5, 2_000
MEANS = np.array([[-2.0, 0.0], [0.0, 2.0], [2.0, 0.0]], np.float32)


class Gaussians:
    """`N(m_y, .25 I)` of each label, and `N(0, 4 I)` of none, with noise on them."""

    num_classes = 3
    name = "gaussians"

    def level_energy(self, x, stddev, training=False, labels=None):
        if labels is None:
            return 0.5 * tf.reduce_sum(x**2, axis=1) / (4.0 + stddev**2)
        gap = x - tf.gather(MEANS, labels)
        return 0.5 * tf.reduce_sum(gap**2, axis=1) / (STDDEV**2 + stddev**2)


def sample(energy, seed=0, **settings):
    random = StepRandom(seed, 0)
    x = 4.0 * random.normal([COUNT, 2], "begin")
    return annealed_langevin(
        energy, x, noise_levels(0.02, 4.0, 40), random=random, **settings
    ).numpy()


def filled(label):
    return tf.fill([COUNT], label)


def test_annealed_chains_draw_each_rows_label():
    labels = tf.range(COUNT) % 3
    x = sample(compose.all_of(Gaussians(), [labels]), steps_per_level=12)
    gaps = x - MEANS[labels]
    # Steps of .15 variances stretch them by 1 / .925; the rest is the levels' lag.
    np.testing.assert_allclose(gaps.mean(0), 0.0, atol=5 * 0.012)
    np.testing.assert_allclose(gaps.var(0), STDDEV**2 / 0.925, rtol=0.15)


def test_and_is_the_product_with_the_inputs_counted_once():
    x = sample(compose.all_of(Gaussians(), [filled(0), filled(1)]))
    # Precisions 4 + 4 - 1/4 about (4 m_0 + 4 m_1) / 7.75.
    np.testing.assert_allclose(x.mean(0), [-8 / 7.75, 8 / 7.75], atol=0.06)
    np.testing.assert_allclose(x.var(0), 1 / 7.75, rtol=0.25)


def test_or_goes_to_both_and_not_away():
    x = sample(compose.any_of(Gaussians(), [filled(0), filled(2)]))
    assert 0.4 < np.mean(x[:, 0] > 0) < 0.6 and np.mean(np.abs(x[:, 0]) > 1) > 0.95
    x = sample(compose.all_but(Gaussians(), [filled(1)], filled(0), against=0.3))
    # Precision 4 - .3 * 3.75 about (4 m_1 - 1.2 m_0) / 2.875.
    np.testing.assert_allclose(x.mean(0), [2.4 / 2.875, 8 / 2.875], atol=0.1)


def test_conditions_need_labels_and_chains_good_numbers():
    unlabelled = networks.ReconstructionEnergy(
        networks.convolutional_denoiser((4, 4, 1), filters=(2,), bottleneck=2)
    )
    with pytest.raises(ValueError, match="must have labels"):
        compose.any_of(unlabelled, [filled(0)])
    with pytest.raises(ValueError, match="`high` must be above `low`"):
        noise_levels(1.0, 0.5, 3)
    for wrong in ({"step_share": 1.5}, {"steps_per_level": -1}, {"max_gradient": 0.0}):
        with pytest.raises(ValueError, match="must be"):
            sample(compose.all_of(Gaussians(), [filled(0)]), **wrong)


def test_a_chain_that_leaves_the_numbers_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="left the numbers"):
        sample(lambda x, stddev: tf.reduce_sum(tf.sqrt(-x), axis=1), max_gradient=1.0)


@pytest.mark.parametrize("vectors", [False, True])
def test_denoising_energies_of_labels_train_compose_and_are_saved(vectors, tmp_path):
    from keras_ebm import models

    denoiser = networks.convolutional_denoiser(
        (8, 8, 1), filters=(4,), bottleneck=0, num_classes=3
    )
    network = networks.ReconstructionEnergy(denoiser, vector_labels=vectors)
    model = models.DenoisingModel(network)
    model.compile(keras.optimizers.Adam(1e-3))
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
    y = np.arange(16) % 3
    given = np.eye(3, dtype=np.float32)[y] if vectors else y
    before = model.evaluate(x, given, verbose=0, return_dict=True)["loss"]
    model.fit(x, given, batch_size=8, epochs=4, verbose=0)
    after = model.evaluate(x, given, verbose=0, return_dict=True)["loss"]
    assert after < before
    label = [0.0, 1.0, 0.0] if vectors else 1
    parts = [networks.GivenLabel(network, label), network]
    both = compose.Product(parts[:1] if vectors else parts)
    expected = network.level_energy(x, 0.5, labels=tf.constant([label] * 16))
    if not vectors:
        expected += network.level_energy(x, 0.5)
    np.testing.assert_allclose(both.level_energy(x, 0.5), expected, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.energy(x, given), model.energy(x, given), rtol=1e-6
    )
