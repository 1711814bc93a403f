import itertools

import numpy as np
import pytest

from keras_ebm.data.batches import training_batches

X = np.arange(50, dtype=np.float32)[:, None]
Y = np.arange(50) % 3


FEW = np.where(np.arange(50) < 6, Y, -1)


def epochs(count, y=Y, **kwargs):
    """Row numbers of `count` epochs, each `(steps, batch)`, or two where in halves."""
    kwargs = {"batch_size": 8, "seed": 0, **kwargs}
    batches, steps = training_batches(X, y, **kwargs)
    stream = itertools.islice(batches.as_numpy_iterator(), count * steps)
    parts = [x if isinstance(x, tuple) else (x,) for x, _ in stream]
    rows = np.stack([np.concatenate(x)[:, 0].astype(int) for x in parts])
    return rows.reshape(count, steps, -1)


def test_an_epoch_visits_a_row_once_at_most():
    for rows in epochs(3):
        assert rows.shape == (6, 8)  # 48 of 50: the last two make no batch
        assert len(set(rows.ravel())) == 48


def test_each_epoch_and_each_seed_has_its_own_order():
    first, second = epochs(2)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epochs(1, seed=1)[0])


def test_a_resumed_run_sees_the_epochs_of_the_whole_run():
    whole = epochs(5)
    np.testing.assert_array_equal(epochs(2, first_epoch=3), whole[3:])
    y = np.where(np.arange(50) < 12, Y, -1)
    whole = epochs(5, y=y)
    np.testing.assert_array_equal(epochs(2, y=y, first_epoch=3), whole[3:])


def test_labels_stay_with_their_rows():
    batches, _ = training_batches(X, Y, batch_size=10, seed=3)
    x, y = next(batches.as_numpy_iterator())
    np.testing.assert_array_equal(y, Y[x[:, 0].astype(int)])


def test_half_of_a_batch_is_labelled_where_labels_are_few():
    rows = epochs(2, y=FEW)
    assert rows.shape == (2, 12, 8)  # four labelled rows, then four of all 50
    assert np.all(rows[..., :4] < 6)
    for epoch in rows:
        assert len(set(epoch[:, 4:].ravel())) == 48
        counts = np.bincount(epoch[:, :4].ravel(), minlength=6)
        assert counts.tolist() == [8] * 6  # 48 places for six rows


def test_labels_stay_with_the_rows_of_both_halves():
    batches, _ = training_batches(X, FEW, batch_size=8, seed=0)
    (few, rows), (few_labels, labels) = next(batches.as_numpy_iterator())
    np.testing.assert_array_equal(few_labels, FEW[few[:, 0].astype(int)])
    np.testing.assert_array_equal(labels, FEW[rows[:, 0].astype(int)])
    assert np.all(few_labels >= 0) and np.any(labels < 0)


def test_an_odd_batch_has_no_halves():
    with pytest.raises(ValueError, match="must be even.*batch_size=7"):
        training_batches(X, FEW, batch_size=7, seed=0)


@pytest.mark.parametrize("y, batch_size", [(Y, 51), (Y, 0), (Y, -1), (FEW, 52)])
def test_a_batch_that_cannot_be_filled_is_refused(y, batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size} for 50 rows"):
        training_batches(X, y, batch_size=batch_size, seed=0)


def test_guessed_labels_are_half_of_the_classifiers_rows():
    guessed = np.where(np.arange(50) < 40, 2, -1)
    options = {"batch_size": 8, "seed": 0, "guessed": guessed, "guessed_weight": 0.5}
    batches, steps = training_batches(X, FEW, **options)
    for (few, x), (few_y, y), (weights, own) in itertools.islice(
        batches.as_numpy_iterator(), 2 * steps
    ):
        assert set(few[:2, 0]) <= set(range(6)) and (few[2:, 0] >= 6).all()
        assert (few[:, 0] < 40).all()
        np.testing.assert_array_equal(few_y[:2], few[:2, 0] % 3)
        np.testing.assert_array_equal(few_y[2:], [2, 2])
        # The rows for the density are as without, and so are their labels.
        np.testing.assert_array_equal(y, FEW[x[:, 0].astype(int)])
        # The mean over four rows is that over two, plus half of that over two others.
        np.testing.assert_array_equal(weights, [2.0, 2.0, 1.0, 1.0])
        np.testing.assert_array_equal(own, np.ones(4))
    rows = [
        next(iter(training_batches(X, FEW, **{**options, "guessed": g})[0]))[0][1]
        for g in (guessed, None)
    ]
    np.testing.assert_array_equal(*rows)


def test_guessed_labels_go_on_where_a_run_was_interrupted():
    options = {"batch_size": 10, "seed": 0, "guessed": np.full(50, 1)}
    whole, steps = training_batches(X, FEW, **options)
    later, _ = training_batches(X, FEW, first_epoch=1, first_step=2, **options)
    expected = next(whole.skip(steps + 2).as_numpy_iterator())
    for one, other in zip(expected, next(later.as_numpy_iterator()), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_a_batch_too_small_for_guessed_labels_is_refused():
    with pytest.raises(
        ValueError, match="`batch_size` must be at least 4 with guessed"
    ):
        training_batches(X, FEW, batch_size=2, seed=0, guessed=np.zeros(50, int))
