import dataclasses
import hashlib
import warnings

import numpy as np
import pytest

from keras_ebm.data import splits as splits_lib
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.splits import make_splits, row_hashes, seen_rows

CLASSES = ("ant", "bee", "cow", "dog")


def numbered(num_rows, num_test=0):
    """Rows that differ, whose class is the row number modulo 4."""
    x = np.arange(2 * num_rows, dtype=np.float32).reshape(num_rows, 2)
    y = np.arange(num_rows) % 4
    return Dataset(x, y, "vector", CLASSES, num_test=num_test, name="numbered")


def parts(splits):
    return [getattr(splits, name) for name in splits_lib.PARTS]


def sizes(splits):
    return [len(rows) for rows in parts(splits)]


def test_rows_are_cut_from_the_permutation_of_the_seed():
    splits = make_splits(numbered(103), seed=5)
    # floor(7 * 103 / 10) = 72, of which floor(7.2) = 7 are for validation.
    order = np.random.default_rng(5).permutation(103)
    ends = [0, 65, 72, 82, 103]
    for name, start, end in zip(splits_lib.PARTS, ends, ends[1:], strict=False):
        np.testing.assert_array_equal(getattr(splits, name), order[start:end])
    assert len(splits.holdout) == 0


def test_an_official_test_split_stays_the_test():
    splits = make_splits(numbered(100, num_test=20), seed=1)
    order = np.random.default_rng(1).permutation(80)
    np.testing.assert_array_equal(np.concatenate(parts(splits)[:3]), order)
    assert sizes(splits) == [64, 8, 8, 20, 0]
    np.testing.assert_array_equal(splits.test, np.arange(80, 100))


@pytest.mark.parametrize("num_test", [0, 20])
def test_held_out_classes_are_in_no_other_part(num_test):
    dataset = numbered(100, num_test)
    splits = make_splits(dataset, seed=0, holdout_classes=["bee", 3])
    kept = np.concatenate(parts(splits)[:4])
    assert set(dataset.y[kept]) == {0, 2}
    assert set(dataset.y[splits.holdout]) == {1, 3}
    assert len(np.unique(np.concatenate(parts(splits)))) == sum(sizes(splits))
    assert splits.holdout.min() >= (80 if num_test else 0)


def test_the_sizes_with_held_out_classes():
    # 50 rows are left: 35 for training and validation, 5 to calibrate on.
    splits = make_splits(numbered(100), seed=0, holdout_classes=[1, 3])
    assert sizes(splits) == [32, 3, 5, 10, 50]
    # 40 training rows are left, a tenth each to validate and calibrate on.
    splits = make_splits(numbered(100, 20), seed=0, holdout_classes=[1, 3])
    assert sizes(splits) == [32, 4, 4, 10, 10]


def test_train_size_keeps_the_first_training_rows():
    whole = make_splits(numbered(100), seed=2)
    small = make_splits(numbered(100), seed=2, train_size=15)
    np.testing.assert_array_equal(small.train, whole.train[:15])
    assert sizes(small) == [15, 7, 10, 20, 0]
    official = make_splits(numbered(100, 20), seed=2, train_size=45)
    order = np.random.default_rng(2).permutation(80)
    np.testing.assert_array_equal(np.concatenate(parts(official)[:3]), order[:53])
    assert sizes(official) == [45, 4, 4, 20, 0]
    with pytest.warns(UserWarning, match="no rows to train on"):
        least = make_splits(numbered(100, 20), seed=2, train_size=3)
    assert sizes(least)[:3] == [3, 1, 1]


@pytest.mark.parametrize(
    "dataset, arguments, message",
    [
        (numbered(100), {"holdout_classes": ["emu"]}, "'emu'. The classes are: ant"),
        (numbered(100), {"holdout_classes": [4]}, "Received: 4"),
        (numbered(100), {"holdout_classes": [0, 1, 2]}, "leave two classes"),
        (numbered(100), {"train_size": 64}, "room for 63 training rows"),
        (numbered(100, 20), {"train_size": 69}, "room for 68"),
        (numbered(100), {"train_size": 0}, "train_size=0"),
        (numbered(3), {}, "'test'.*Give at least 4 rows"),
        (numbered(22, 20), {}, "'train'"),
        (numbered(20, 20), {}, "foreign set"),
    ],
)
def test_an_impossible_split_is_refused(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_splits(dataset, seed=0, **arguments)


def labelled(y, num_test=0, class_names=CLASSES):
    y = np.asarray(y)
    x = np.arange(2.0 * len(y), dtype=np.float32).reshape(-1, 2)
    return Dataset(x, y, "vector", class_names, num_test=num_test, name="labelled")


def in_part(part, place, seed=0, num_rows=100):
    """Labels 0 and 1, but 2 for the row that a split of this seed puts there."""
    y = np.arange(num_rows) % 2
    start = {"train": 0, "validation": 63, "calibration": 70, "test": 80}[part]
    y[np.random.default_rng(seed).permutation(num_rows)[start + place]] = 2
    return y


@pytest.mark.parametrize("part", ["validation", "test", "calibration"])
def test_the_only_row_of_a_class_is_trained_on(part):
    names = ("a", "b", "rare")
    plain = make_splits(labelled(np.arange(100) % 2, class_names=names[:2]), seed=0)
    with pytest.warns(UserWarning, match="'rare': no rows to test with") as told:
        splits = make_splits(labelled(in_part(part, 3), class_names=names), seed=0)
    assert len(told) == 1
    for name in splits_lib.PARTS[:4]:
        moved = np.sum(getattr(splits, name) != getattr(plain, name))
        assert moved == (name in ("train", part))
        has_rare = np.any(in_part(part, 3)[getattr(splits, name)] == 2)
        assert has_rare == (name == "train")
    assert sorted(np.concatenate(parts(splits))) == list(range(100))
    np.testing.assert_array_equal(
        splits.train_hashes,
        row_hashes(labelled(np.arange(100) % 2).x[np.concatenate(parts(splits)[:2])]),
    )


def test_a_class_without_test_rows_gives_one_of_its_training_rows():
    y = np.maximum(in_part("train", 3), in_part("train", 8))
    y = np.maximum(y, in_part("calibration", 0))
    plain = make_splits(labelled(np.arange(100) % 2, class_names=CLASSES[:2]), seed=0)
    with pytest.warns(UserWarning, match="'cow': no rows to validate on"):
        splits = make_splits(labelled(y, class_names=CLASSES[:3]), seed=0)
    counts = [np.sum(y[part] == 2) for part in parts(splits)]
    assert counts == [1, 0, 1, 1, 0]
    np.testing.assert_array_equal(splits.calibration, plain.calibration)
    np.testing.assert_array_equal(splits.validation, plain.validation)


def test_an_official_test_keeps_its_rows_and_says_what_it_lacks():
    y = np.arange(120) % 2
    y[[3, 4, 5, 6, 7]] = 2
    with pytest.warns(UserWarning, match="'dog': no rows at all; 'cow': no row"):
        splits = make_splits(labelled(y, num_test=20), seed=0)
    np.testing.assert_array_equal(splits.test, np.arange(100, 120))


def test_rows_that_are_left_over_are_taken_before_those_of_a_part():
    plain = make_splits(numbered(100), seed=2)
    small = make_splits(numbered(100), seed=2, train_size=5)
    assert set(small.train % 4) == {0, 1, 2, 3}
    assert set(small.train) <= set(plain.train)
    for mine, theirs in zip(parts(small)[1:], parts(plain)[1:], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_calibration_rows_are_those_drawn_whatever_the_rare_classes_are():
    drawn = make_splits(labelled(np.full(60, -1), class_names=()), seed=1).calibration
    for seed in range(20):
        y = np.random.default_rng(seed).choice(4, 60, p=[0.6, 0.28, 0.06, 0.06])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            splits = make_splits(labelled(y), seed=1)
        outside = np.setdiff1d(np.arange(60), drawn)
        assert set(y[splits.train]) == set(y)
        if set(y[outside]) == set(y):
            np.testing.assert_array_equal(splits.calibration, drawn)


def test_four_rows_are_a_row_for_each_part():
    splits = make_splits(labelled(np.full(4, -1), class_names=()), seed=0)
    assert sizes(splits) == [1, 1, 1, 1, 0]


def test_hashes_are_of_the_bytes_of_a_row():
    x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    digest = hashlib.blake2b(x[1].tobytes(), digest_size=8).digest()
    assert row_hashes(x)[1] == int.from_bytes(digest, "little")
    assert row_hashes(x).dtype == np.uint64
    # A view that is not contiguous hashes as its copy does.
    np.testing.assert_array_equal(row_hashes(x.T), row_hashes(x.T.copy()))


def test_training_and_validation_rows_are_recognised():
    dataset = numbered(100)
    splits = make_splits(dataset, seed=0)
    seen = seen_rows(dataset.x, splits)
    expected = np.isin(np.arange(100), np.concatenate(parts(splits)[:2]))
    np.testing.assert_array_equal(seen, expected)


def test_the_fingerprint_tells_any_change():
    dataset = numbered(100)
    x, y = dataset.x.copy(), dataset.y.copy()
    x[3, 1] += 1.0
    y[3] = -1
    changed = [
        dataclasses.replace(dataset, x=x),
        dataclasses.replace(dataset, y=y),
        dataclasses.replace(dataset, x=dataset.x.reshape(100, 1, 2)),
    ]
    prints = {make_splits(d, seed=0).fingerprint for d in [dataset, *changed]}
    assert len(prints) == 4 and all(len(text) == 64 for text in prints)
    assert make_splits(numbered(100), seed=1).fingerprint in prints


def test_saved_splits_load_back(tmp_path):
    splits = make_splits(numbered(100), seed=7, holdout_classes=["ant"])
    splits_lib.save_splits(tmp_path / "splits.npz", splits)
    loaded = splits_lib.load_splits(tmp_path / "splits.npz")
    for field in dataclasses.fields(splits):
        mine, theirs = (getattr(s, field.name) for s in (splits, loaded))
        assert type(mine) is type(theirs)
        np.testing.assert_array_equal(mine, theirs)
        assert field.name in ("seed", "fingerprint") or mine.dtype == theirs.dtype


def test_a_file_that_holds_no_splits_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=1)
    (tmp_path / "bad.npz").write_bytes(b"bad")
    for name in ("other.npz", "bad.npz", "absent.npz"):
        with pytest.raises(ValueError, match="save_splits"):
            splits_lib.load_splits(tmp_path / name)


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"train": np.array([0, 50])},
            "'train' must hold row numbers from 0 to 39.*50",
        ),
        ({"test": np.array([-1])}, "'test' must hold row numbers from 0 to 39.*-1, at"),
        ({"train": np.array([0.0, 1.0])}, "'train' must be row numbers.*float64"),
        ({"train": np.array([[0], [1]])}, r"'train' must be row numbers.*\(2, 1\)"),
        ({"train": np.array([True])}, "'train' must be row numbers.*bool"),
        ({"train": np.array(3)}, "'train' must be row numbers"),
        ({"calibration": np.array([], int)}, "'calibration' must have rows.*none"),
        ({"test": np.array([5, 5])}, "row 5 more than once in 'test'"),
        ({"holdout": np.array([3])}, "row 3 more than once in 'train' and 'holdout'"),
        ({"train": None}, "it lacks train"),
        ({"seed": np.array(1.5)}, "'seed' must be as it was written.*float64"),
        ({"train_hashes": np.array([1.5])}, "'train_hashes' must be as it was written"),
        ({"fingerprint": np.array([1])}, "'fingerprint' must be as it was written"),
    ],
)
def test_row_numbers_that_are_none_are_refused_by_the_name_of_their_part(
    tmp_path, change, words
):
    good = {
        "train": np.array([3, 1]),
        "validation": np.array([2]),
        "calibration": np.array([4]),
        "test": np.array([5]),
        "holdout": np.array([], np.int64),
        "seed": np.array(0),
        "fingerprint": np.array("0"),
        "train_hashes": np.array([1, 2, 3], np.uint64),
    }
    path = tmp_path / "split.npz"
    np.savez(path, **good)
    assert splits_lib.load_splits(path, 40).train.tolist() == [3, 1]
    changed = {k: v for k, v in {**good, **change}.items() if v is not None}
    np.savez(path, **changed)
    with pytest.raises(ValueError, match=f"split.npz: .*{words}.*Restore the file"):
        splits_lib.load_splits(path, 40)
