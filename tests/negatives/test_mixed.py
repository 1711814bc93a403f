"""Batches of negatives of several kinds, and a bank of rows among them."""

import keras
import numpy as np
import pytest
import support
import tensorflow as tf

from keras_ebm.models import VERA, EnergyModel
from keras_ebm.negatives import (
    Bank,
    Blend,
    ColumnShuffle,
    CutJoin,
    Jitter,
    LangevinMoves,
    MarkovChains,
    Mixed,
    Negatives,
    NegativeSource,
    ReplayBuffer,
)
from keras_ebm.random import StepRandom

X, Y = support.rows(24)
RANDOM = StepRandom(0, 0)
ROWS = 50.0 + np.arange(12, dtype=np.float32).reshape(3, 4)


@keras.saving.register_keras_serializable(package="tests")
def shifted(x, random):
    """A user's own negatives."""
    del random
    return x + 1.0


def energy(x):
    return tf.reduce_sum(x * x, axis=1)


def drawn(source, x, random=RANDOM, training=True):
    return source.draw(energy, x, random, training=training)


def test_each_source_has_the_rows_of_its_share():
    mixed = Mixed([shifted, Bank(ROWS), lambda x, random: 0.0 * x], (2, 1, 1))
    made = drawn(mixed, tf.constant(X[:16])).x.numpy()
    np.testing.assert_array_equal(made[:8], X[:8] + 1.0)
    assert np.all((made[8:12, None] == ROWS).all(axis=2).any(axis=1))
    np.testing.assert_array_equal(made[12:], 0.0)


@pytest.mark.parametrize("size", [3, 4, 7, 64, 101])
@pytest.mark.parametrize("shares", [None, (1, 2, 3), (0.001, 0.001, 1), (1, 1e-9, 1)])
def test_shares_are_rounded_to_whole_rows_one_at_least(shares, size):
    mixed = Mixed([shifted] * 3, shares)
    counts = mixed.counts(size)
    assert sum(counts) == size and min(counts) >= 1
    np.testing.assert_array_equal(mixed.counts(tf.constant(size)), counts)
    exact = np.array(shares or (1, 1, 1)) / sum(shares or (1, 1, 1)) * size
    assert np.abs(counts - np.maximum(exact, 1)).max() <= 2.0


def test_a_batch_of_fewer_rows_than_sources_goes_to_the_last():
    mixed = Mixed([shifted, shifted, Bank(ROWS)])
    assert mixed.counts(2) == [0, 1, 1] and mixed.counts(1) == [0, 0, 1]
    for x in (X[:1], X[:2]):
        made = drawn(mixed, tf.constant(x)).x
        assert made.shape == x.shape and made[-1, 0] >= 50.0


@pytest.mark.parametrize("rows", [1, 2, 5, 24])
@pytest.mark.parametrize("size, shares", [(3.0, None), (0.5, None), (1.5, (2, 1, 1))])
def test_a_size_makes_more_or_fewer_negatives_than_data(rows, size, shares):
    mixed = Mixed([shifted, Jitter(), Bank(ROWS)], shares, size=size)
    counts = mixed.counts(rows)
    np.testing.assert_array_equal(mixed.counts(tf.constant(rows)), counts)
    # At least one negative, and at most one of a source for a row.
    assert abs(sum(counts) - max(1, size * rows)) <= 1.0 and max(counts) <= rows
    made = drawn(mixed, tf.constant(X[:rows])).x
    assert made.shape == (sum(counts), 4)
    np.testing.assert_array_equal(made[: counts[0]], X[: counts[0]] + 1.0)


def test_one_source_may_serve_a_part_of_the_rows():
    made = drawn(Mixed([shifted], size=0.25), tf.constant(X)).x
    np.testing.assert_array_equal(made, X[:6] + 1.0)


def test_terms_count_by_their_weights_whatever_their_shares():
    mixed = Mixed([shifted, Bank(ROWS)], (3, 1), term_weights=(1, 4))
    made = drawn(mixed, tf.constant(X[:8]))
    np.testing.assert_allclose(made.weights, [0.2 / 6] * 6 + [0.8 / 2] * 2, rtol=1e-6)
    # Of a batch without a row for the first, the other is all.
    np.testing.assert_allclose(drawn(mixed, tf.constant(X[:1])).weights, [1.0])


def test_a_source_makes_one_negative_of_a_row_at_most():
    with pytest.raises(ValueError, match="use size=1.333 or less"):
        Mixed([shifted, Jitter()], (3, 1), size=2.0)


def test_an_unknown_batch_is_divided_like_a_known_one():
    mixed = Mixed([Jitter(), CutJoin(), Bank(ROWS), ColumnShuffle()], (3, 2, 1, 1))
    spec = [tf.TensorSpec([None, 4])]
    graph = tf.function(lambda x: drawn(mixed, x).x, input_signature=spec)
    for size in (1, 3, 9, 24):
        expected = drawn(mixed, tf.constant(X[:size])).x
        np.testing.assert_allclose(graph(X[:size]), expected, atol=1e-5)


def test_sources_of_one_kind_draw_for_themselves():
    made = drawn(Mixed([Jitter(), Jitter()]), tf.zeros([8, 4])).x
    assert not np.any(np.isclose(made[:4], made[4:]))


def test_several_inputs_are_divided_alike():
    x = {"a": tf.constant(X), "word": tf.constant([f"w{row}" for row in range(24)])}
    made = drawn(Mixed([CutJoin(), CutJoin()]), x).x
    assert set(made) == {"a", "word"} and made["a"].shape == X.shape
    for half in (slice(0, 12), slice(12, 24)):
        assert set(made["word"][half].numpy()) <= set(x["word"][half].numpy())


def chains():
    buffer = ReplayBuffer((4,), 32)
    return MarkovChains(LangevinMoves(2, 0.1), buffer, start="data", start_stddev=0.0)


def test_chains_walk_for_their_rows_and_none_are_outside_of_training():
    walk = chains()
    mixed = Mixed([shifted, walk], (3, 1))
    made = drawn(mixed, tf.constant(X[:8]))
    np.testing.assert_array_equal(made.x[:6], X[:6] + 1.0)
    assert np.all(np.isfinite(made.x)) and int(walk.buffer.stored.numpy()) == 2
    assert set(made.logs) == set(mixed.log_names) == set(walk.log_names)
    assert drawn(mixed, tf.constant(X), training=False) is None
    assert mixed.num_gradients == walk.num_gradients / 4
    assert not mixed.starts_without_data or walk.starts_without_data


def test_chains_without_a_row_log_finite_numbers():
    mixed = Mixed([chains(), shifted])
    made = drawn(mixed, tf.constant(X[:1]))
    np.testing.assert_array_equal(made.x, X[:1] + 1.0)
    assert all(np.isfinite(value) for value in made.logs.values())


class Weighted(NegativeSource):
    """Negatives of equal weights, given as weights."""

    def draw(self, energy_fn, x, random, labels=None, training=False, **options):
        return Negatives(x, tf.ones(len(x)) / len(x), {})


def test_what_cannot_be_mixed_is_refused_by_name():
    with pytest.raises(ValueError, match="without weights. Received: Weighted"):
        drawn(Mixed([shifted, Weighted()]), tf.constant(X))
    with pytest.raises(ValueError, match="Mixed has no labels"):
        Mixed([shifted, shifted]).draw(energy, X, RANDOM, labels=Y, training=True)


def test_a_mix_computes_if_a_source_does():
    assert Mixed([ColumnShuffle(), Blend()]).computes
    assert not Mixed([ColumnShuffle(), CutJoin()]).computes


@pytest.fixture(scope="module")
def trained():
    bank = Bank(ROWS / 60.0)
    mixed = Mixed([Jitter((0.1, 1.0)), bank, shifted, chains()], (4, 2, 1, 1))
    model = EnergyModel(support.make_network(), negatives=mixed, seed=0)
    model.compile(keras.optimizers.SGD(0.01))
    # The last batch is smaller.
    logs = model.fit(X, Y, batch_size=10, epochs=2, verbose=0).history
    return model, logs


def test_a_mix_trains(trained):
    model, logs = trained
    assert (
        np.isfinite(logs["loss"]).all() and np.isfinite(logs["negative_energy"]).all()
    )
    names = [variable.name for variable in model.trainable_variables]
    assert "rows" not in names and len(names) == 4


def test_a_mix_is_saved_with_the_rows_of_its_bank(trained, tmp_path):
    model, _ = trained
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    ours, theirs = model.negatives, copy.negatives
    assert theirs.shares == ours.shares
    assert [type(one) for one in theirs.sources] == [type(one) for one in ours.sources]
    np.testing.assert_array_equal(theirs.sources[1].rows, ours.sources[1].rows)
    states = [one.sources[3].buffer.states.numpy() for one in (ours, theirs)]
    np.testing.assert_array_equal(*states)
    expected = drawn(ours, tf.constant(X)).x
    np.testing.assert_array_equal(drawn(theirs, tf.constant(X)).x, expected)


def test_a_mix_trains_compiled_by_xla_and_beside_a_generator():
    model = EnergyModel(
        support.make_network(), negatives=Mixed([Jitter(), Bank(ROWS)]), seed=0
    )
    model.compile(keras.optimizers.SGD(1e-4), jit_compile=True)
    assert np.isfinite(model.train_on_batch(X, Y)).all()
    beside = VERA(
        support.make_network(),
        support.make_generator(),
        entropy=None,
        entropy_weight=0.0,
        negatives=Mixed([shifted, Jitter()]),
    )
    support.compile_sgd(beside, rate=1e-4)
    assert np.isfinite(beside.train_on_batch(X, Y)).all()


def test_replicas_divide_their_own_rows(strategy):
    with strategy.scope():
        mixed = Mixed([shifted, Bank(ROWS)], (3, 1))
    x = strategy.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(X[:16]).batch(16)
    )
    run = tf.function(
        lambda rows: strategy.run(lambda own: drawn(mixed, own).x, [rows])
    )
    first, second = strategy.experimental_local_results(run(next(iter(x))))
    for made, own in ((first, X[:8]), (second, X[8:16])):
        np.testing.assert_array_equal(made[:6], own[:6] + 1.0)
        assert np.all((made.numpy()[6:, None] == ROWS).all(axis=2).any(axis=1))


def test_a_bank_gives_each_row_equally_often_and_anew_each_step():
    bank = Bank(ROWS)
    made = bank.draw(None, tf.zeros([3000, 4]), RANDOM).x.numpy()
    rows, counts = np.unique(made, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows, ROWS)
    # A third of 3,000, and five standard errors of 26.
    assert np.abs(counts - 1000).max() < 130
    other = bank.draw(None, tf.zeros([3000, 4]), StepRandom(0, 1)).x.numpy()
    assert not np.array_equal(made, other)


def test_a_bank_of_codes_serves_codes_of_their_own_type():
    made = Bank(np.arange(8).reshape(2, 4)).draw(
        None, tf.zeros([5, 4], tf.int32), RANDOM
    )
    assert made.x.dtype == tf.int32 and made.x.numpy().max() < 8


@pytest.mark.parametrize(
    "x",
    [tf.zeros([2, 5]), tf.zeros([2, 4], tf.int32), {"a": 1}, tf.constant([["a"] * 4])],
)
def test_a_bank_of_other_rows_than_the_data_is_refused(x):
    with pytest.raises(ValueError, match="`rows` of Bank must be like .*preprocess"):
        Bank(ROWS).draw(None, x, RANDOM)


def test_a_bank_whose_configuration_comes_alone_has_no_rows():
    config = Bank(ROWS, name="mine").get_config()
    copy = Bank.from_config(config)
    assert copy.name == "mine" and config["rows"]["shape"] == [3, 4]
    np.testing.assert_array_equal(copy.rows, np.zeros([3, 4]))
