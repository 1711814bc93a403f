import numpy as np
import pytest

from keras_ebm.data.dataset import Dataset
from keras_ebm.data.labels import class_codes, mask_labels, relabel
from keras_ebm.data.schema import Column, TableSchema

Y = np.array([1, 0, 1, -1, 0, 1, 0])


def test_the_first_rows_of_each_class_keep_their_labels():
    masked = mask_labels(Y, 2)
    np.testing.assert_array_equal(masked, [1, 0, 1, -1, 0, -1, -1])
    assert masked.dtype == np.int64 and masked is not Y


def test_with_a_seed_other_rows_keep_their_labels():
    y = np.arange(1000) % 2
    masked = mask_labels(y, 50, seed=1)
    np.testing.assert_array_equal(masked, mask_labels(y, 50, seed=1))
    np.testing.assert_array_equal(np.bincount(masked + 1), [900, 50, 50])
    assert np.all(masked[masked >= 0] == y[masked >= 0])
    assert np.flatnonzero(masked >= 0).max() > 500


def test_a_class_of_fewer_labelled_rows_keeps_them_all():
    with pytest.warns(UserWarning, match="class 'no' has 2, class 'yes' has 3") as told:
        masked = mask_labels(Y[:6], 4, class_names=("no", "yes"))
    np.testing.assert_array_equal(masked, Y[:6])
    assert len(told) == 1
    with pytest.warns(UserWarning, match="class 0 has 2"):
        np.testing.assert_array_equal(mask_labels(Y[:6], 3), Y[:6])
    with pytest.raises(ValueError, match="labels_per_class=0"):
        mask_labels(Y, 0)


def test_names_and_numbers_of_classes_are_looked_up():
    names = ("3", "1", "x", "y")
    assert class_codes(names, ["1", 3]) == [1, 3]
    assert class_codes(names, ["y", 3]) == [3]
    assert class_codes((), ()) == []
    with pytest.raises(ValueError, match="classes are: none"):
        class_codes((), ["x"])


def test_the_classes_that_are_left_are_renumbered():
    dataset = Dataset(
        x=np.zeros((5, 1), np.float32),
        y=np.array([0, 1, 2, 3, -1]),
        kind="table",
        class_names=("a", "b", "c", "d"),
        schema=TableSchema((Column("x", "numeric"),), "t", ("a", "b", "c", "d")),
    )
    known = relabel(dataset, ["b"])
    np.testing.assert_array_equal(known.y, [0, -1, 1, 2, -1])
    assert known.class_names == known.schema.class_names == ("a", "c", "d")
    np.testing.assert_array_equal(relabel(dataset, ()).y, dataset.y)
