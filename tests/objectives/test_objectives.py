import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import log_expit, log_softmax

from keras_ebm import objectives

DATA = tf.constant([0.5, -1.0, 2.0])
NEGATIVES = tf.constant([3.0, -4.0, 0.0, 1.0, -90.0])
LOGITS = np.array([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0], [30.0, -30.0, 5.0]], np.float32)


def test_contrastive_loss_is_the_difference_of_means():
    expected = np.mean(DATA) - np.mean(NEGATIVES)
    np.testing.assert_allclose(
        objectives.contrastive_loss(DATA, NEGATIVES), expected, rtol=1e-6
    )


def test_logistic_loss_is_a_binary_cross_entropy_in_minus_the_energy():
    data, negatives = DATA.numpy().astype(float), NEGATIVES.numpy().astype(float)
    expected = -np.mean(log_expit(-data)) - np.mean(log_expit(negatives))
    np.testing.assert_allclose(
        objectives.logistic_loss(DATA, NEGATIVES), expected, rtol=1e-5
    )


def test_the_logistic_optimum_is_the_log_density_ratio():
    # On two points the best energy is -log(p_data / p_negatives).
    data, negatives = np.array([0.8, 0.2]), np.array([0.3, 0.7])
    energy = tf.Variable(-np.log(data / negatives), dtype=tf.float32)
    with tf.GradientTape() as tape:
        index = [0] * 8 + [1] * 2, [0] * 3 + [1] * 7
        drawn = [tf.gather(energy, rows) for rows in index]
        loss = objectives.logistic_loss(*drawn)
    gradient = tf.convert_to_tensor(tape.gradient(loss, energy))
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


@pytest.mark.parametrize("objective", objectives.GENERATOR_OBJECTIVES)
def test_the_negative_slope_is_the_losss_derivative(objective):
    with tf.GradientTape() as tape:
        tape.watch(NEGATIVES)
        loss = objectives.OBJECTIVES[objective](DATA, NEGATIVES)
    expected = -len(NEGATIVES) * tape.gradient(loss, NEGATIVES)
    slope = objectives.negative_slope(objective, NEGATIVES)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-30)


def test_the_logistic_slope_is_never_0():
    slope = objectives.negative_slope("logistic", tf.constant([60.0, 1000.0]))
    np.testing.assert_allclose(slope[0], np.exp(-60.0), rtol=1e-4)
    assert slope[1] > 0
    assert np.isnan(objectives.negative_slope("logistic", tf.constant([np.nan])))


def test_the_penalty_is_half_the_mean_squared_norm():
    gradient = tf.reshape(tf.range(12, dtype=tf.float32), [2, 2, 3])
    expected = 0.5 * np.sum(np.square(gradient)) / 2
    np.testing.assert_allclose(
        objectives.gradient_penalty(gradient), expected, rtol=1e-6
    )


def test_cross_entropy_is_0_where_unlabelled():
    values = objectives.cross_entropy(LOGITS, tf.constant([2, -1, 0]))
    expected = -log_softmax(LOGITS, axis=-1)
    np.testing.assert_allclose(
        values, [expected[0, 2], 0.0, expected[2, 0]], rtol=1e-6, atol=1e-9
    )


def test_conditional_entropy_is_the_entropy_of_the_softmax():
    probabilities = np.exp(log_softmax(LOGITS.astype(np.float64), axis=-1))
    expected = stats.entropy(probabilities, axis=-1)
    actual = objectives.conditional_entropy(LOGITS)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_mean_over_takes_the_masked_rows_alone():
    values = tf.constant([1.0, 20.0, 3.0])
    mask = tf.constant([True, False, True])
    np.testing.assert_allclose(objectives.mean_over(values, mask), 2.0)
    np.testing.assert_allclose(objectives.mean_over(values, ~mask), 20.0)


def test_mean_over_no_row_is_0():
    assert objectives.mean_over(tf.constant([5.0]), tf.constant([False])) == 0


def test_replicas_with_unequal_shares_of_labels_average_to_the_global_mean(strategy):
    values = tf.constant([1.0, 2.0, 3.0, 10.0])
    mask = tf.constant([True, False, False, False]), tf.constant([True] * 3 + [False])

    def replica():
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        rows = tf.stack(mask)[index]
        return objectives.mean_over(values + 5.0 * tf.cast(index, tf.float32), rows)

    means = strategy.experimental_local_results(strategy.run(replica))
    # Labelled: 1 on the first replica, 6, 7 and 8 on the second.
    np.testing.assert_allclose(np.mean(means), (1 + 6 + 7 + 8) / 4, rtol=1e-6)


def test_the_logsumexp_objective_counts_low_negatives_most():
    data, negative = tf.constant([1.0, 2.0]), tf.Variable([0.0, 50.0])
    with tf.GradientTape() as tape:
        loss = objectives.OBJECTIVES["logsumexp"](data, negative)
    np.testing.assert_allclose(loss, 1.5 - 0.0, atol=1e-6)
    # The weights are held fixed: minus them is the gradient.
    np.testing.assert_allclose(tape.gradient(loss, negative), [-1.0, 0.0], atol=1e-6)
    equal = objectives.OBJECTIVES["logsumexp"](data, tf.constant([3.0, 3.0]))
    np.testing.assert_allclose(equal, 1.5 - 3.0, rtol=1e-6)


def test_the_softplus_objective_pairs_data_with_negatives():
    data, negative = tf.constant([1.0, 2.0]), tf.constant([3.0, -1.0])
    expected = np.mean(np.log1p(np.exp([1.0 - 3.0, 2.0 + 1.0])))
    loss = objectives.OBJECTIVES["softplus"](data, negative)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="2 inputs and 1 negatives"):
        objectives.OBJECTIVES["softplus"](data, negative[:1])
