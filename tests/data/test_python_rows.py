"""Rows that a function returns, by the spec `python:MODULE:FUNCTION`."""

import itertools
import sys

import numpy as np
import pytest

from keras_ebm import data

NAMES = (f"rows_of_a_test_{i}" for i in itertools.count())
SEVERAL = """
import numpy as np
import tensorflow as tf

WORDS = np.array(["good", "bad film"] * 10, object)

def arrays():
    x = {"tokens": np.arange(60).reshape(20, 3), "age": np.arange(20) / 4.0}
    return {"words": WORDS, **x}, np.array(["yes", "no"] * 10)

def rows():
    return tf.data.Dataset.from_tensor_slices(arrays())

def batches():
    return rows().batch(7)

def split():
    return {"train": rows(), "test": rows().take(6)}
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Writes a module into the current folder, and loads what a function returns."""
    monkeypatch.chdir(tmp_path)
    written = []

    def load_rows(text, function="load", **options):
        name = next(NAMES)
        (tmp_path / f"{name}.py").write_text(
            f"import numpy as np\nimport tensorflow as tf\n{text}\n"
        )
        written.append(name)
        return data.load(f"python:{name}:{function}", **options)

    yield load_rows
    for name in written:
        sys.modules.pop(name, None)


def test_parts_of_lists_are_joined(load):
    rows = "{'a': [[1], [2]], 'b': [1.5, 2.5]}, ['u', 'v']"
    dataset = load(returning(f"{{'train': ({rows}), 'test': ({rows})}}"))
    np.testing.assert_array_equal(dataset.x["a"], [[1], [2], [1], [2]])
    assert dataset.num_test == 2 and dataset.y.tolist() == [0, 1, 0, 1]


def returning(text):
    return f"def load():\n    return {text}"


def test_arrays_rows_and_batches_are_the_same_rows(load):
    before = list(sys.path)
    found = [load(SEVERAL, name) for name in ("arrays", "rows", "batches")]
    assert sys.path == before
    for dataset in found:
        assert dataset.kind == "inputs" and dataset.num_rows == 20
        assert dataset.input_shape == {"age": (), "tokens": (3,), "words": ()}
        types = {"age": "float32", "tokens": "int64", "words": "object"}
        assert data.types_of(dataset.x) == types
        assert dataset.class_names == ("no", "yes") and dataset.y[:2].tolist() == [1, 0]
        assert data.fingerprint(dataset) == data.fingerprint(found[0])
        hashes = data.row_hashes(dataset.x)
        np.testing.assert_array_equal(hashes, data.row_hashes(found[0].x))
        assert len(set(hashes)) == 20


def test_a_test_split_of_its_own_is_the_official_one(load):
    dataset = load(SEVERAL, "split")
    assert (dataset.num_rows, dataset.num_test) == (26, 6)
    splits = data.make_splits(dataset, seed=0)
    np.testing.assert_array_equal(splits.test, np.arange(20, 26))
    # The six rows are rows of the training data again.
    seen = data.seen_rows({k: v[20:] for k, v in dataset.x.items()}, splits)
    assert (
        seen.sum() == np.isin(np.arange(6), [*splits.train, *splits.validation]).sum()
    )


@pytest.mark.parametrize(
    "inputs, kind, dtype, shape",
    [
        ("np.zeros((6, 4, 4, 1), np.uint8)", "image", "uint8", (4, 4, 1)),
        ("np.ones((6, 3))", "vector", "float32", (3,)),
        ("tf.ones((6, 3))", "vector", "float32", (3,)),
        ("np.ones((6, 3), np.int32)", "inputs", "int64", (3,)),
        ("np.ones((6, 3, 2))", "inputs", "float32", (3, 2)),
        ("['a', 'bc'] * 3", "inputs", "object", ()),
        ("{'only': np.ones((6, 3))}", "vector", "float32", (3,)),
    ],
)
def test_one_input_is_of_the_kind_that_its_array_is(load, inputs, kind, dtype, shape):
    dataset = load(returning(f"{inputs}, [0, 2, -1] * 2"))
    assert (dataset.kind, dataset.input_shape) == (kind, shape)
    assert str(dataset.x.dtype) == dtype
    assert dataset.class_names == ("0", "2")
    np.testing.assert_array_equal(dataset.y, [0, 1, -1] * 2)


@pytest.mark.parametrize(
    "text, told",
    [
        ("def other(): pass", "must have a function load"),
        ("load = 3", "must be a function. Received: a int"),
        ("def load(path): pass", "must take no arguments.*'path'"),
        ("def load():\n    return 1 / 0", r"ZeroDivisionError.*\.py, line 4\)"),
        ("import no_such_module_here", "ModuleNotFoundError.*no_such_module_here"),
        ("def load(:", r"SyntaxError.*\.py, line 3\)"),
        ("raise SystemExit(3)", "SystemExit"),
        (returning("range(3)"), r"tf.data.Dataset or arrays \(x, y\).*a range"),
        (returning("np.ones((3, 2))"), r"arrays \(x, y\).*a ndarray.*label -1"),
        (returning("(np.ones(3), np.ones(3), 1)"), r"arrays \(x, y\).*3 values"),
        (returning("{'a': np.ones(3)}"), "'train' and 'test'.*'a'"),
        (returning("np.ones((3, 2)), None"), "must have labels. Received: None"),
        (returning("np.ones((3, 2)), [0, 1]"), r"shape \(2,\) for 3 rows"),
        (returning("np.ones((3, 2)), np.eye(3)"), "one-hot labels take np.argmax"),
        (returning("np.ones((3, 2)), [.5, 0, 1]"), "whole numbers"),
        (returning("[[1], [1, 2]], [0, 1]"), "rows of one shape.*pad"),
        (returning("tf.ragged.constant([[1], [1, 2]]), [0, 1]"), "ragged.*to_tensor"),
        (returning("{'a': [1, 2], 'b': [1]}, [0, 1]"), "as many rows for each input"),
        (returning("{'a': {'b': [1]}, 'c': [1]}, [0]"), "'a' must be an array"),
        (returning("['a', None], [0, 1]"), r"'None' \(NoneType\) in row 1"),
        (returning("np.array([1j, 2]), [0, 1]"), "numbers or strings.*complex"),
        (
            returning("{'a': [1.0, np.nan], 'b': [1, 2]}, [0, 1]"),
            "nan of input 'a', first in row 1",
        ),
    ],
)
def test_what_is_no_function_of_labelled_rows_is_refused(load, text, told):
    with pytest.raises(ValueError, match=f"(?s){told}") as error:
        load(text)
    assert "\n" not in str(error.value)


DATASETS = "tf.data.Dataset"
GENERATOR = """
def load():
    shapes = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int32)
    rows = lambda: (([1] * n, 0) for n in (1, 2))
    return tf.data.Dataset.from_generator(rows, output_signature=shapes)
"""


@pytest.mark.parametrize(
    "text, told",
    [
        (returning(f"{DATASETS}.from_tensors((1, 1)).repeat()"), "to an end.*repeat"),
        (returning(f"{DATASETS}.range(3)"), r"\(inputs, label\).*label, -1"),
        (returning(f"{DATASETS}.from_tensors((1, 1, 1.0))"), "3 parts.*weights"),
        (returning(f"{DATASETS}.from_tensors(((1, 2), 1))"), "a dict by the names"),
        (returning(f"{DATASETS}.from_tensors((1, 1)).take(0)"), "an empty dataset"),
        (
            returning(f"{DATASETS}.from_tensors(([[1, 2]], [[0, 1]]))"),
            "one label a row|one number or word a row",
        ),
        (
            returning(f"{DATASETS}.from_tensors(([1, 2, 3], [0, 1]))"),
            "one number or word a row.*argmax",
        ),
        (
            returning(f"{DATASETS}.from_tensors((tf.ragged.constant([[1]]), [0]))"),
            "a ragged tensor",
        ),
        (GENERATOR, r"one shape. Received: \(1,\) and \(2,\).*padded_batch"),
        (
            "def load():\n    def check(x):\n"
            "        tf.debugging.assert_less(x, np.int64(1))\n"
            f"        return x, x\n    return {DATASETS}.range(3).map(check)",
            "the dataset must run without an error. Received: InvalidArgumentError",
        ),
    ],
)
def test_a_dataset_without_labels_shape_or_end_is_refused(load, text, told):
    with pytest.raises(ValueError, match=f"(?s){told}") as error:
        load(text)
    assert "\n" not in str(error.value)


def test_a_dataset_that_fills_the_memory_is_told_to_end(load, monkeypatch):
    monkeypatch.setattr("keras_ebm.data.python_rows._most_bytes", lambda: 100)
    endless = (
        "def load():\n    def rows():\n        while True:\n            yield 1, 1\n"
    )
    specs = "tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int32)"
    made = f"    return {DATASETS}.from_generator(rows, output_signature=({specs}))"
    with pytest.raises(ValueError, match="must come to an end.*MiB after"):
        load(endless + made)


@pytest.mark.parametrize(
    "spec, told",
    [
        ("python:no_such_rows:load", "the module no_such_rows must be one that"),
        ("python:rows.py:load", "python:my_package.rows:load"),
        ("python:rows", "python:MODULE:FUNCTION, such as"),
    ],
)
def test_a_module_that_is_not_there_is_named(spec, told):
    with pytest.raises(ValueError, match=told):
        data.load(spec)


def test_classes_are_numbered_as_those_of_a_model(load):
    rows = returning("np.ones((4, 2)), [2, 1, 1, -1]")
    with_names = load(rows, class_names=("a", "b", "c"))
    np.testing.assert_array_equal(with_names.y, [2, 1, 1, -1])
    words = load(returning("np.ones((2, 2)), ['c', 'a']"), class_names=("a", "b", "c"))
    np.testing.assert_array_equal(words.y, [2, 0])


def test_nothing_is_made_up_of_inputs_of_a_networks_own(load):
    known = load(SEVERAL, "arrays")
    for spec in ("noise:uniform", "noise:gaussian", "rotate:90", "interpolate"):
        with pytest.raises(ValueError, match=f"{spec}.*inputs of a network's own"):
            data.foreign(spec, known)
    other = data.foreign(known.name.replace("arrays", "batches"), known)
    np.testing.assert_array_equal(other["tokens"], known.x["tokens"])
    assert data.foreign("holdout", known, holdout=other) is other
    with pytest.raises(ValueError, match="vector rows of shape.*inputs rows"):
        data.foreign("toy:rings", known)
