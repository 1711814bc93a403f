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
