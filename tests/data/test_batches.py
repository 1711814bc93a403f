import itertools

import numpy as np
import pytest

from keras_ebm.data.batches import training_batches

X = np.arange(50, dtype=np.float32)[:, None]
Y = np.arange(50) % 3


def epochs(count, y=Y, **kwargs):
    """Row numbers of `count` epochs, each `(steps, batch)`."""
    kwargs = {"batch_size": 8, "seed": 0, **kwargs}
    batches, steps = training_batches(X, y, **kwargs)
    stream = itertools.islice(batches.as_numpy_iterator(), count * steps)
    rows = np.stack([x[:, 0].astype(int) for x, _ in stream])
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
    y = np.where(np.arange(50) < 6, Y, -1)
    rows = epochs(2, y=y)
    assert rows.shape == (2, 12, 8)  # four of all 50 rows a step
    assert np.all(rows[..., 4:] < 6)
    for epoch in rows:
        assert len(set(epoch[:, :4].ravel())) == 48
        counts = np.bincount(epoch[:, 4:].ravel(), minlength=6)
        assert counts.tolist() == [8] * 6  # 48 places for six rows


@pytest.mark.parametrize(
    "y, batch_size", [(Y, 51), (Y, 0), (Y, -1), (np.where(Y == 0, 0, -1), 1)]
)
def test_a_batch_that_cannot_be_filled_is_refused(y, batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size} for 50 rows"):
        training_batches(X, y, batch_size=batch_size, seed=0)
