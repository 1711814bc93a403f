import inspect
import os
import sys

import numpy as np
import pytest

from keras_ebm import data
from keras_ebm.data.dataset import KINDS

IMAGES = np.arange(8 * 4 * 4 * 3, dtype=np.uint8).reshape(8, 4, 4, 3)
LABELS = np.array([0, 1, 0, 1, 1, 0, 0, 1])


@pytest.fixture
def save(tmp_path):
    def save_arrays(**arrays):
        np.savez(tmp_path / "rows.npz", **arrays)
        return f"npz:{tmp_path / 'rows.npz'}"

    return save_arrays


def test_digits_span_the_range_of_uint8():
    dataset = data.load("digits")
    assert dataset.x.shape == (1797, 8, 8, 1) and dataset.x.dtype == np.uint8
    assert (dataset.x.min(), dataset.x.max()) == (0, 255)
    # The sixteen levels above 0 are 255/16 apart; the first image is a 0.
    assert sorted({int(v) for v in dataset.x.flat})[:3] == [0, 16, 32]
    np.testing.assert_array_equal(dataset.x[0, 0, :4, 0], [0, 0, 80, 207])
    assert dataset.class_names == tuple("0123456789") and dataset.y[0] == 0
    assert dataset.num_test == 0


def test_a_toy_density_is_unlabelled():
    dataset = data.load("toy:rings", num_rows=50, seed=2)
    np.testing.assert_array_equal(dataset.x, data.draw("rings", 50, 2))
    assert dataset.class_names == () and np.all(dataset.y == -1)
    assert dataset.kind == "vector"


@pytest.mark.parametrize(
    "x, shape, kind",
    [
        (IMAGES, (8, 4, 4, 3), "image"),
        (IMAGES[..., 0], (8, 4, 4, 1), "image"),
        (IMAGES[:, 0, 0], (8, 3), "vector"),
        (np.ones((8, 2)), (8, 2), "vector"),
    ],
)
def test_an_npz_file_holds_images_or_vectors(save, x, shape, kind):
    dataset = data.load(save(x=x, y=LABELS))
    assert dataset.x.shape == shape and dataset.kind == kind
    assert dataset.x.dtype == (np.uint8 if kind == "image" else np.float32)
    np.testing.assert_array_equal(dataset.x.reshape(x.shape), x)
    np.testing.assert_array_equal(dataset.y, LABELS)
    assert dataset.class_names == ("0", "1")


def test_labels_of_an_npz_file_may_be_absent_or_missing(save):
    assert np.all(data.load(save(x=IMAGES)).y == -1)
    some = np.where(LABELS == 1, 2, -LABELS - 1)
    some[0] = 0
    dataset = data.load(save(x=IMAGES, y=some))
    np.testing.assert_array_equal(dataset.y, np.where(some == 2, 1, some))
    assert dataset.class_names == ("0", "2")


def test_labels_of_an_npz_file_may_be_whole_floats_and_nan(save):
    some = np.where(LABELS == 1, 1.0, np.nan)
    some[0] = 0.0
    dataset = data.load(save(x=IMAGES, y=some))
    np.testing.assert_array_equal(dataset.y, [0, 1, -1, 1, 1, -1, -1, 1])


def test_one_and_minus_one_are_two_classes_of_an_npz_file(save):
    spec = save(x=IMAGES, y=2 * LABELS - 1)
    with pytest.warns(UserWarning, match="taken for two classes"):
        dataset = data.load(spec)
    assert dataset.class_names == ("-1", "1")
    np.testing.assert_array_equal(dataset.y, LABELS)
    with pytest.warns(UserWarning, match="taken for two classes"):
        known = data.load(spec, class_names=("0", "1", "2"))
    np.testing.assert_array_equal(known.y, 2 * LABELS - 1)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"X": IMAGES, "y": LABELS}, "array 'x'.*Received: X, y"),
        ({"x": IMAGES / 255.0}, "float64 of shape .8, 4, 4, 3.*uint8"),
        ({"x": IMAGES[0, 0, 0]}, "rank 3 or 4"),
        ({"x": np.array([["a"]])}, "rank 3 or 4"),
        ({"x": np.array([[None]])}, "could not be read: Object arrays"),
        ({"x": np.array([[1.0], [np.nan]])}, "nan in column 0, first in row 1"),
        ({"x": np.array([[1.0], [np.inf]])}, "inf in column 0, first in row 1"),
        ({"x": IMAGES, "y": LABELS.astype("U1")}, "integer.*return_inverse"),
        ({"x": IMAGES, "y": 0.05 + 0.9 * LABELS}, "'y' must hold classes.*0.05"),
        ({"x": IMAGES, "y": LABELS + np.inf}, "'y' must hold classes.*inf"),
        ({"x": IMAGES, "y": LABELS[:3]}, "each of the 8 rows"),
        ({"x": IMAGES, "y": LABELS - 2}, "from 0, with -1.*from -2 to -1"),
        ({"x": IMAGES, "y": LABELS + 10**9}, "Renumber"),
        ({"x": IMAGES, "y": 0 * LABELS}, "class '0' alone"),
        ({"x": IMAGES[:0]}, "at least one row"),
    ],
)
def test_bad_arrays_are_refused(save, arrays, message):
    with pytest.raises(ValueError, match=message):
        data.load(save(**arrays))


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04rest"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(ValueError, match="could not be read"):
        data.load(f"npz:{tmp_path / 'bad.npz'}")


def test_vectors_that_float32_would_merge_are_float64(save):
    times = 1.7e12 + np.random.default_rng(0).permutation(3_600_000)[:500]
    spec = save(x=np.stack([times, np.arange(500.0)], axis=1))
    assert data.load(spec).x.dtype == np.float64
    assert data.load(spec, dtype="float32").x.dtype == np.float32
    assert data.load(save(x=np.arange(10.0)[:, None])).x.dtype == np.float32


def test_an_absent_or_a_single_array_file_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", IMAGES)
    for name in ("absent.npz", "one.npy"):
        with pytest.raises(ValueError, match="could not be read"):
            data.load(f"npz:{tmp_path / name}")


@pytest.mark.parametrize(
    "spec",
    ["", "cars", "cars:3", "digits:3", "digits:", "toy", "tfds:", "csv:", "npz:"],
)
def test_an_unknown_spec_lists_the_forms_of_all_sources(spec):
    with pytest.raises(ValueError) as error:
        data.load(spec)
    assert f"must be one of {', '.join(data.forms())}. Received" in str(error.value)
    listed = ["images:DIR", "stacked:NAME", "digits", "toy:NAME"]
    assert all(form in data.forms() for form in listed)


def test_a_spec_is_taken_apart_at_its_first_colon():
    assert data.parse_spec("csv:a:b.csv") == ("csv", "a:b.csv")
    assert data.parse_spec("digits") == ("digits", None)
    assert data.parse_spec("images:") == ("images", "")


def test_only_a_source_of_one_file_has_a_file():
    assert data.file_of("csv:~/rows.csv") == os.path.expanduser("~/rows.csv")
    assert data.file_of("images:folder") is None and data.file_of("digits") is None


def test_every_argument_that_a_source_takes_is_one_of_read():
    arguments = set(inspect.signature(data.read).parameters)
    for source in data.SOURCES.values():
        assert set(source.takes) <= arguments and set(source.kinds) <= set(KINDS)


def test_the_docstring_of_load_has_a_line_for_every_source():
    assert all(f"| `{form}` |" in data.load.__doc__ for form in data.forms())


def test_a_table_is_loaded_with_its_target_and_schema(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("class,x\na,1\nb,2\n")
    known = data.load(f"csv:{path}", target="class")
    assert known.name == f"csv:{path}"
    path.write_text("class,x\nb,3\n")
    one_class = data.load(f"csv:{path}", schema=known.schema)
    np.testing.assert_array_equal(one_class.y, [1])
    with pytest.raises(ValueError, match="class 'b' alone"):
        data.load(f"csv:{path}", target="class")


def test_labels_are_renumbered_by_name_to_given_classes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,class\n1,b\n2,c\n3,\n4,c\n")
    dataset = data.load(f"csv:{path}", class_names=("c", "a", "b"))
    np.testing.assert_array_equal(dataset.y, [2, 0, -1, 0])
    assert dataset.schema.class_names == dataset.class_names == ("c", "a", "b")
    with pytest.raises(ValueError, match="one of a, b. Received: c"):
        data.load(f"csv:{path}", class_names=("a", "b"))


def test_the_classes_of_an_npz_file_are_the_labels_that_occur(save):
    dataset = data.load(save(x=IMAGES, y=3 * LABELS + 1))
    assert dataset.class_names == ("1", "4")
    np.testing.assert_array_equal(dataset.y, LABELS)
    kept = data.load(save(x=IMAGES, y=np.arange(8) % 4 + 1))
    kept = data.relabel(kept, ["3"])
    assert kept.class_names == ("1", "2", "4")
    np.testing.assert_array_equal(kept.y, [0, 1, -1, 2, 0, 1, -1, 2])


@pytest.mark.parametrize(
    "class_names, expected",
    [
        (("1", "2"), [1, 1, -1, 1]),
        (("0", "1", "2"), [2, 2, -1, 2]),  # As earlier versions named them.
        (("2", "7"), [0, 0, -1, 0]),
        (("cat", "dog", "owl"), [2, 2, -1, 2]),  # Names of their own, by place.
    ],
)
def test_labels_of_an_npz_file_are_found_among_the_classes(save, class_names, expected):
    spec = save(x=IMAGES[:4], y=np.array([2, 2, -1, 2]))
    dataset = data.load(spec, class_names=class_names)
    np.testing.assert_array_equal(dataset.y, expected)
    assert dataset.class_names == class_names


@pytest.mark.parametrize("class_names", [("0", "1"), ("cat", "dog")])
def test_a_label_that_is_no_class_of_the_model_is_refused(save, class_names):
    with pytest.raises(ValueError, match="one of 0, 1. Received: 2"):
        data.load(save(x=IMAGES, y=LABELS + 1), class_names=class_names)


def test_a_package_that_is_absent_comes_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "keras_ebm\[data\]"'):
        data.load("digits")
