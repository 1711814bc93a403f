"""Learners of streams against what is known of their classes."""

import functools

import keras
import numpy as np
import pytest
from scipy.fft import dctn

from keras_ebm.continual import (
    ChainLearner,
    DensityLearner,
    FirstTaskScaling,
    KerasLearner,
    NearestMean,
    RidgeFeatures,
    StreamingLDA,
    class_stream,
    cosine_features,
    run_stream,
)
from keras_ebm.models import LangevinModel
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer
from keras_ebm.networks import mlp_energy

MEANS = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])


def blobs(count=300, stddev=0.7, seed=0):
    """Four Gaussians of the plane."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, count)
    return (MEANS[y] + stddev * rng.normal(size=(count, 2))).astype(np.float32), y


@functools.cache
def built_chain_model():
    """A model for all learners here, so that its step is traced once."""
    keras.utils.set_random_seed(0)
    network = mlp_energy((2,), hidden=(16,), base_stddev=1.0)
    moves = LangevinMoves(5, 0.1, None)
    chains = MarkovChains(moves, ReplayBuffer((2,), 64))
    model = LangevinModel(network, chains)
    model.compile(keras.optimizers.Adam(1e-2))
    variables = [*network.variables, *model.optimizer.variables]
    return model, [(v, keras.ops.convert_to_numpy(v)) for v in variables]


def chain_model(shape):
    assert shape == (2,)
    model, start = built_chain_model()
    for variable, value in start:
        variable.assign(value)
    return model


def softmax(units=4):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.1), loss)
    return model


LEARNERS = {
    "mean": NearestMean,
    "lda": StreamingLDA,
    "ridge": lambda: RidgeFeatures(100),
    "density": lambda: DensityLearner(2, ridge=0.01),
    "chains": lambda: ChainLearner(chain_model, base=True, batch_size=16),
    "scaled": lambda: FirstTaskScaling(StreamingLDA()),
}


@pytest.fixture(scope="module")
def learnt():
    """Each learner and its result on the blobs, one class a task."""
    test = blobs(400, seed=1)
    results = {}
    for name, make in LEARNERS.items():
        learner = make()
        tasks = class_stream(*blobs(), classes_per_task=1)
        results[name] = learner, run_stream(learner, tasks, test)
    return results


@pytest.mark.parametrize("name", LEARNERS)
def test_classes_that_lie_apart_are_told_one_after_another(learnt, name):
    # At four standard deviations over the half distance: 99.1 % by Bayes's rule.
    assert learnt[name][1].final > 0.96


@pytest.mark.parametrize("name", LEARNERS)
def test_no_row_is_kept(learnt, name):
    learner, _ = learnt[name]
    rows, _ = blobs()
    for array in keras.tree.flatten(learner.kept()):
        array = np.asarray(array)
        if array.ndim == 2 and array.shape[1] == 2:
            assert not (array[:, None] == rows).all(axis=2).any()


@pytest.mark.parametrize("name", ["mean", "lda", "ridge", "density", "chains"])
def test_the_order_of_classes_changes_nothing(learnt, name):
    again = LEARNERS[name]()
    if name == "ridge":
        # The features are scaled by the first task's rows.
        again._projection = learnt[name][0]._projection
        again.gram = np.zeros([100, 100], np.float32)
    order = [2, 0, 3, 1]
    tasks = class_stream(*blobs(), order=order, classes_per_task=2)
    result = run_stream(again, tasks, blobs(400, seed=1))
    assert again.classes == [0, 2, 1, 3]
    assert abs(result.final - learnt[name][1].final) < 0.005


@pytest.mark.parametrize("name", ["mean", "density", "chains"])
def test_later_classes_leave_the_scores_of_the_former_as_they_were(learnt, name):
    learner, _ = learnt[name]
    x, y = blobs()
    before = learner.scores(x[:20])
    learner.learn(x[y == 2], y[y == 2] + 5)
    np.testing.assert_array_equal(learner.scores(x[:20])[:, :4], before)
    learner.classes.pop()


def test_sums_of_ridge_give_the_regression_on_all_rows_at_once(learnt):
    learner, _ = learnt["ridge"]
    x, y = blobs()
    features = learner._features(x).astype(np.float64)
    gram = features.T @ features
    level = learner.ridge * np.trace(gram) / 100
    weights = np.linalg.solve(gram + level * np.eye(100), features.T @ np.eye(4)[y])
    np.testing.assert_allclose(learner.scores(x), features @ weights, atol=0.02)


def test_running_sums_are_the_covariance_within_classes(learnt):
    learner, _ = learnt["lda"]
    x, y = blobs()
    centred = x - np.stack([x[y == k].mean(axis=0) for k in range(4)])[y]
    np.testing.assert_allclose(
        learner.scatter / learner.count, centred.T @ centred / len(x), rtol=1e-3
    )


def test_a_gaussian_class_has_the_density_of_its_gaussian():
    x, y = blobs(4_000, stddev=0.5)
    learner = DensityLearner(1, ridge=1e-6)
    learner.learn(x[y == 1], y[y == 1])
    points = MEANS[[1, 1]] + [[0.0, 0.0], [0.5, 0.0]]
    expected = -np.log(2 * np.pi * 0.25) - np.array([0.0, 0.5])
    np.testing.assert_allclose(learner.scores(points)[:, 0], expected, atol=0.1)


def test_a_learnt_log_ratio_brings_a_density_nearer_to_the_true_one():
    # A ring, which one Gaussian is far from.
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 2_000)
    radius = 1 + 0.05 * rng.normal(size=2_000)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    y = np.zeros(2_000, int)
    held_out, scores = x[:500], []
    for epochs in (0, 20):
        learner = DensityLearner(1, epochs=epochs, learning_rate=0.02, hidden=(64, 64))
        learner.learn(x[500:], y[500:])
        scores.append(learner.scores(held_out).mean())
    assert scores[1] > scores[0] + 0.5


def test_chains_without_updates_that_count_are_the_classes_gaussians():
    def still(shape):
        model = chain_model(shape)
        model.network.get_layer("logits").set_weights([np.zeros([16, 1]), np.zeros(1)])
        model.optimizer.learning_rate.assign(0.0)
        return model

    x, y = blobs()
    learner = ChainLearner(still, base=True, batch_size=16)
    learner.learn(x, y)
    rows = x[y == 2].astype(np.float64)
    covariance = np.cov(rows.T, bias=True)
    covariance += 0.03 * np.trace(covariance) / 2 * np.eye(2)
    off = x[:5] - rows.mean(axis=0)
    expected = -0.5 * np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
    expected -= 0.5 * np.log(np.linalg.det(2 * np.pi * covariance))
    np.testing.assert_allclose(learner.scores(x[:5])[:, 2], expected, rtol=1e-3)
    assert [energy.share for energy in learner.energies] == pytest.approx([1.0] * 4)


def test_every_class_begins_with_the_same_weights_and_an_empty_buffer():
    x, y = blobs()
    same = np.concatenate([x[y == 0][:32]] * 2)
    learner = ChainLearner(chain_model, batch_size=16)
    learner.learn(same[:32], np.zeros(32, int))
    learner.learn(same[:32], np.ones(32, int))
    scores = learner.scores(x[:10])
    np.testing.assert_array_equal(scores[:, 0], scores[:, 1])


def test_the_mean_of_the_weights_is_over_the_last_updates():
    x, _ = blobs(64)
    weights = []
    for share in (0.0, 0.75):
        learner = ChainLearner(chain_model, batch_size=16, average_from=share)
        learner.learn(x, np.zeros(64, int))
        weights.append(learner.energies[0].weights[0])
        last = learner.model.network
    # Of four updates, the mean of the last alone is where training ends.
    np.testing.assert_array_equal(last.get_weights()[0], weights[1])
    assert (weights[0] != weights[1]).any()


def test_fine_tuning_forgets_what_came_before():
    result = run_stream(
        KerasLearner(softmax(), epochs=10, batch_size=16),
        class_stream(*blobs(), classes_per_task=2),
        blobs(400, seed=1),
    )
    # Nothing but the biases of two outputs tells it what it forgets.
    assert result.seen[0] > 0.95 and result.accuracy[-1][0] < 0.6, result
    assert result.forgetting > 0.4


def test_a_model_of_this_package_learns_a_stream_and_has_its_buffer_emptied():
    network = mlp_energy((2,), 4, hidden=(8,))
    chains = MarkovChains(LangevinMoves(2, 0.1), ReplayBuffer((2,), 32))
    model = LangevinModel(network, chains, conditional=True)
    model.compile(keras.optimizers.Adam(1e-2))
    held = []

    def empty(model):
        buffer = model.negatives.buffer
        buffer.reset()
        held.append(bool(buffer.holds(1)))

    learner = KerasLearner(model, batch_size=16, before_task=empty)
    x, y = blobs(200)
    result = run_stream(learner, class_stream(x, y), (x, y))
    assert held == [False, False] and len(result.seen) == 2
    assert learner.looks_once


def test_columns_are_standardised_by_the_first_task():
    x, y = blobs()
    x = x * [1e-3, 1e3] + 7.0
    learner = FirstTaskScaling(NearestMean())
    for task in class_stream(x, y):
        learner.learn(task.x, task.y)
    first = x[y < 2]
    np.testing.assert_allclose(learner.scale[0], first.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(learner.scale[1], first.std(axis=0), rtol=1e-3)
    assert learner.memory() > learner.learner.memory()


def test_cosine_features_are_the_low_corner_of_the_transform():
    images = np.random.default_rng(0).normal(size=(3, 12, 10)).astype(np.float32)
    expected = dctn(images, axes=(1, 2), norm="ortho")[:, :4, :4].reshape(3, -1)
    for given in (images, images[..., None]):
        np.testing.assert_allclose(cosine_features(4)(given), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"rows of shape \(2,\); lower `size`"):
        cosine_features(4)(np.zeros([3, 2]))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: DensityLearner(0), "`num_components`"),
        (lambda: DensityLearner(ridge=0.0), "`ridge`"),
        (lambda: DensityLearner(epochs=-1), "`epochs`"),
        (lambda: RidgeFeatures(1.5), "`num_features`"),
        (lambda: StreamingLDA(-1.0), "`shrinkage`"),
        (lambda: ChainLearner(chain_model, average_from=1.0), "`average_from`"),
        (lambda: KerasLearner(keras.Sequential()), "must be compiled"),
        (lambda: cosine_features(0), "`size`"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ChainLearner(chain_model), "batch_size=64 for 5 rows of class 0"),
        (
            lambda: ChainLearner(lambda shape: softmax(), batch_size=5),
            "`build` must give a compiled LangevinModel",
        ),
        (lambda: KerasLearner(softmax(1)), "class 1 for 1 outputs"),
        (lambda: DensityLearner(), "1 of class 1"),
    ],
)
def test_a_task_that_cannot_be_learnt_is_refused_before_it_is(make, words):
    learner = make()
    y = np.array([0] * 5 + [1])
    y = y if "1 of class" in words else np.array([0] * 5 + [1] * 5)
    with pytest.raises(ValueError, match=words):
        learner.learn(np.arange(2.0 * len(y)).reshape(-1, 2), y)
    assert learner.classes == []
