import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.random import StepRandom, replica_context


def test_a_draw_is_a_function_of_seed_iteration_and_name():
    draw = StepRandom(3, 5).normal([4, 2], "noise")
    np.testing.assert_array_equal(draw, StepRandom(3, 5).normal([4, 2], "noise"))


@pytest.mark.parametrize(
    "seed, iteration, name",
    [(4, 5, "noise"), (3, 6, "noise"), (3, 5, "latents"), (5, 3, "noise")],
)
def test_another_seed_iteration_or_name_is_another_draw(seed, iteration, name):
    draw = StepRandom(3, 5).normal([4, 2], "noise")
    other = StepRandom(seed, iteration).normal([4, 2], name)
    assert not np.any(np.isclose(draw, other))


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_compiled_draws_equal_eager_ones(xla):
    def draw(iteration):
        random = StepRandom(0, iteration)
        folded = random.fold(iteration + 1)
        return (
            random.normal([800, 3], "n"),
            random.uniform([8], "u", -1.0, 2.0),
            folded.normal([8], "n"),
            tf.cast(folded.integers([8], "i", 5), tf.float32),
        )

    iteration = tf.constant(7, tf.int64)
    drawn = tf.function(draw, autograph=False, jit_compile=xla)(iteration)
    for actual, expected in zip(drawn, draw(iteration), strict=True):
        # Logarithm and cosine are rounded differently by XLA.
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6)


def test_folding_gives_another_draw_for_each_index():
    random = StepRandom(3, 5)
    draws = [random.normal([40], "n")]
    draws += [random.fold(i).normal([40], "n") for i in (0, 1, 2)]
    for i in range(4):
        for j in range(i):
            assert not np.any(np.isclose(draws[i], draws[j]))
    again = StepRandom(3, 5).fold(tf.constant(2)).normal([40], "n")
    np.testing.assert_array_equal(draws[3], again)


def test_integers_are_uniform():
    x = StepRandom(0, 0).integers([40_000], "i", 8).numpy()
    counts = np.bincount(x, minlength=8)
    assert len(counts) == 8
    assert np.abs(counts - 5000).max() < 5 * 66.2  # sqrt(40000 * 1/8 * 7/8)


def test_the_iteration_is_the_one_at_the_start_of_the_step():
    counter = tf.Variable(3, dtype=tf.int64)
    random = StepRandom(0, counter)
    counter.assign_add(1)
    expected = StepRandom(0, 3).normal([4], "n")
    np.testing.assert_array_equal(random.normal([4], "n"), expected)


def test_shapes_may_be_tensors():
    x = tf.zeros([5, 2])
    random = StepRandom(1, 1)
    expected = random.normal([5, 2], "n")
    np.testing.assert_array_equal(random.normal(tf.shape(x), "n"), expected)
    graph = tf.function(lambda v: random.normal(tf.shape(v), "n"), autograph=False)
    np.testing.assert_allclose(graph(x), expected, rtol=1e-6)


def test_replicas_get_the_rows_of_the_one_global_draw(strategy):
    def draw():
        random = StepRandom(2, 9)
        return random.normal([3, 2], "n"), random.uniform([3], "u")

    per_replica = strategy.run(tf.function(draw, autograph=False))
    normal, uniform = (
        np.concatenate(strategy.experimental_local_results(value))
        for value in per_replica
    )
    random = StepRandom(2, 9)
    np.testing.assert_array_equal(uniform, random.uniform([6], "u"))
    np.testing.assert_allclose(normal, random.normal([6, 2], "n"), rtol=1e-6)


def test_replica_context_counts_replicas(strategy):
    assert replica_context() == (0, 1)
    with strategy.scope():  # the cross-replica context: nothing is split here
        assert replica_context() == (0, 1)
    seen = strategy.run(lambda: tf.stack([*map(tf.convert_to_tensor, replica())]))
    results = np.stack(strategy.experimental_local_results(seen))
    np.testing.assert_array_equal(results, [[0, 2], [1, 2]])


def replica():
    replica_id, count = replica_context()
    return tf.cast(replica_id, tf.int32), count


def test_normal_draws_have_standard_moments():
    x = StepRandom(0, 0).normal([40_000, 2], "n").numpy()
    # 40,000 rows: standard errors 0.005 (mean, correlation) and 0.007
    # (variance). Five of them is the margin.
    assert np.abs(x.mean(0)).max() < 0.025
    assert np.abs(x.var(0) - 1.0).max() < 0.036
    assert abs(np.corrcoef(x.T)[0, 1]) < 0.025


def test_uniform_draws_fill_their_interval():
    x = StepRandom(0, 0).uniform([40_000], "u", -1.0, 3.0).numpy()
    assert -1.0 <= x.min() < -0.99 and 2.99 < x.max() < 3.0
    # Standard deviation 4 / sqrt(12): standard error 0.0058 of the mean.
    assert abs(x.mean() - 1.0) < 0.03
    counts, _ = np.histogram(x, bins=8, range=(-1.0, 3.0))
    assert np.abs(counts - 5000).max() < 5 * 66.2  # sqrt(40000 * 1/8 * 7/8)


def test_draws_of_successive_iterations_are_uncorrelated():
    draws = [StepRandom(0, i).normal([10_000], "n").numpy() for i in range(3)]
    correlation = np.corrcoef(draws)
    # Standard error 0.01 for each of the three pairs.
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.05
