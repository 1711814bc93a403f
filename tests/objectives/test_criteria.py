"""The losses without a sampler, on Gaussians whose answers are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.networks import NICE, GaussianMixture, mlp_energy
from keras_ebm.objectives import (
    ConditionalNoiseContrastive,
    DenoisingScoreMatching,
    MaximumLikelihood,
    SlicedScoreMatching,
)
from keras_ebm.random import StepRandom

MEAN, STDDEV = np.array([1.0, -0.5], np.float32), np.array([0.8, 1.5], np.float32)
COUNT = 20_000


def data(seed=0, count=COUNT):
    rng = np.random.default_rng(seed)
    return tf.constant(MEAN + STDDEV * rng.normal(size=(count, 2)), tf.float32)


def normal_energy(mean, log_stddev):
    """`-log N(x; mean, diag(exp(log_stddev)^2))`, in nats."""

    def energy(x):
        scaled = (x - mean) * tf.exp(-log_stddev)
        constant = np.log(2 * np.pi) + tf.reduce_sum(log_stddev)
        return 0.5 * tf.reduce_sum(tf.square(scaled), axis=-1) + constant

    return energy


def row_gradients(criterion, mean, stddev, seed=0):
    """Gradient of every row's loss in mean and log stddev, `(rows, 4)`."""
    rows = COUNT // 2
    parameters = [tf.constant(mean), tf.math.log(tf.constant(stddev))]
    # Each row with parameters of its own, whose gradients are the row's.
    parameters = [tf.tile(p[None], [rows, 1]) for p in parameters]
    x = data(seed, rows)
    with tf.GradientTape() as tape:
        tape.watch(parameters)

        def energy(x):
            scaled = (x - parameters[0]) * tf.exp(-parameters[1])
            log_volume = tf.reduce_sum(parameters[1], axis=-1)
            return 0.5 * tf.reduce_sum(tf.square(scaled), axis=-1) + log_volume

        loss = tf.reduce_sum(criterion(energy, x, StepRandom(seed, 0)))
    return np.concatenate(tape.gradient(loss, parameters), axis=-1)


CRITERIA = {
    "ml": MaximumLikelihood(),
    "ssm": SlicedScoreMatching(variance_reduced=False),
    "ssm, reduced": SlicedScoreMatching(),
    "ssm, gaussian slices": SlicedScoreMatching(False, 2, "gaussian"),
    "cnce": ConditionalNoiseContrastive(0.7, num_noise=2),
    "dsm": DenoisingScoreMatching(0.6),
}


def target_stddev(name):
    # Denoising fits the data smoothed by its noise.
    return np.sqrt(STDDEV**2 + 0.36) if name == "dsm" else STDDEV


@pytest.mark.parametrize("name", CRITERIA)
def test_the_gradient_vanishes_at_the_truth_and_points_to_it_elsewhere(name):
    stddev = target_stddev(name).astype(np.float32)
    at_truth = row_gradients(CRITERIA[name], MEAN, stddev)
    error = at_truth.std(axis=0) / np.sqrt(len(at_truth))
    # Rows are independent; five standard errors.
    assert np.all(np.abs(at_truth.mean(axis=0)) < 5 * error)
    away = row_gradients(CRITERIA[name], MEAN + 0.5 * STDDEV, 1.3 * stddev)
    error = away.std(axis=0) / np.sqrt(len(away))
    # Descending moves mean and spread back down.
    assert np.all(away.mean(axis=0) > 5 * error)


@pytest.mark.parametrize("slices", ["rademacher", "gaussian"])
@pytest.mark.parametrize("reduced", [False, True])
def test_sliced_score_matching_is_half_the_fisher_divergence(reduced, slices):
    centre, spread = np.float32([0.3, 0.0]), np.float32([1.2, 1.0])
    criterion = SlicedScoreMatching(reduced, num_slices=4, slices=slices)
    x = data()
    losses = criterion(
        normal_energy(tf.constant(centre), tf.math.log(spread)), x, StepRandom(0, 0)
    ).numpy()
    # E[tr ds/dx + |s|^2 / 2], for s = -(x - centre) / spread^2.
    score = np.mean(((MEAN - centre) ** 2 + STDDEV**2) / spread**4 / 2)
    expected = 2 * score - np.sum(1 / spread**2)
    error = losses.std() / np.sqrt(COUNT)
    assert abs(losses.mean() - expected) < 5 * error
    # By integration by parts that is half the divergence, less the data's part.
    gap = (MEAN - centre) / spread**2, 1 / STDDEV**2 - 1 / spread**2
    divergence = np.sum(gap[0] ** 2 + gap[1] ** 2 * STDDEV**2)
    np.testing.assert_allclose(
        expected, 0.5 * divergence - 0.5 * np.sum(1 / STDDEV**2), rtol=1e-5
    )


def test_the_reduced_form_is_the_average_over_slices():
    x = data(count=5)
    energy = normal_energy(tf.constant(MEAN), tf.math.log(2 * STDDEV))
    reduced = SlicedScoreMatching()(energy, x, StepRandom(0, 0))
    many = SlicedScoreMatching(False, num_slices=400)(energy, x, StepRandom(0, 0))
    # Signs: the slices' variance is that of the product of the two slopes.
    score = (x.numpy() - MEAN) / (2 * STDDEV) ** 2
    error = np.abs(np.prod(score, axis=-1)) / np.sqrt(400)
    assert np.all(np.abs(many - reduced) < 5 * error + 1e-5)


def test_denoising_is_half_the_squared_distance_to_the_noise():
    x, stddev = data(count=6), 0.6
    loss = DenoisingScoreMatching(stddev)(
        normal_energy(tf.constant(MEAN), tf.math.log(STDDEV)), x, StepRandom(3, 1)
    )
    noise = StepRandom(3, 1).normal([6, 2], "denoising").numpy()
    score = -(x + stddev * noise - MEAN) / STDDEV**2
    expected = 0.5 * np.sum((stddev * score + noise) ** 2, axis=-1)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)


def test_a_flat_energy_costs_two_log_two_under_noise_contrast():
    loss = ConditionalNoiseContrastive(0.5)(
        lambda x: 0.0 * x[:, 0], data(count=3), StepRandom(0, 0)
    )
    np.testing.assert_allclose(loss, 2 * np.log(2.0), rtol=1e-6)


def test_an_energy_that_is_linear_has_no_curvature():
    loss = SlicedScoreMatching()(
        lambda x: 3.0 * x[:, 0] - 4.0 * x[:, 1], data(count=3), StepRandom(0, 0)
    )
    np.testing.assert_allclose(loss, 12.5, rtol=1e-6)


def test_likelihood_needs_a_normalised_network():
    criterion = MaximumLikelihood()
    criterion.check_network(NICE(2, hidden=(4,)))
    criterion.check_network(GaussianMixture(2, 2))
    with pytest.raises(ValueError, match="`log_prob`.*score matching"):
        criterion.check_network(mlp_energy((2,), hidden=(4,)))


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: SlicedScoreMatching(num_slices=0), "`num_slices`"),
        (lambda: SlicedScoreMatching(slices="axis"), "`slices` must be one of"),
        (lambda: DenoisingScoreMatching(0.0), "`stddev`"),
        (lambda: ConditionalNoiseContrastive(-1.0), "`stddev`"),
        (lambda: ConditionalNoiseContrastive(1.0, 0), "`num_noise`"),
    ],
)
def test_bad_arguments_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("name", CRITERIA)
def test_the_config_round_trips(name):
    criterion = CRITERIA[name]
    config = keras.saving.serialize_keras_object(criterion)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(criterion)
    assert copy.get_config() == criterion.get_config()
