"""Rows come as arrays, dicts, lists, frames and datasets, or are refused by name."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from keras_ebm.rows import (
    as_rows,
    batch_spec,
    blank,
    blank_rows,
    concatenate,
    num_rows,
    take,
    tensors,
)


def spec(shape, dtype=tf.float32, name="inputs"):
    return tf.TensorSpec(shape, dtype, name=name)


VECTORS, CELLS = spec((None, 2)), spec((None, 1))
TEXTS, WORDS = spec((None,), tf.string), spec((None, 1), tf.string)
#: In no order of the alphabet, in which datasets flatten dicts.
SEVERAL = {
    "points": spec((None, 2), name="points"),
    "job": spec((None, 1), tf.string, "job"),
}
X = np.arange(10, dtype=np.float32).reshape(5, 2)
JOBS = np.array(["clerk", "nurse", "clerk", "smith", "nurse"])
BOTH = {"points": X, "job": JOBS}


def dataset(*parts, size=2):
    parts = parts if parts[1:] else parts[0]
    return tf.data.Dataset.from_tensor_slices(parts).batch(size)


@pytest.mark.parametrize(
    "given",
    [
        lambda: BOTH,
        lambda: {**BOTH, "more": np.zeros(9)},
        lambda: [X.tolist(), JOBS.tolist()],
        lambda: (tf.constant(X), tf.constant(JOBS.tolist())),
        lambda: {"points": X, "job": pd.Series(JOBS, dtype="category")},
        lambda: dataset(BOTH),
        lambda: dataset({**BOTH, "more": X}),
        lambda: dataset(BOTH, np.zeros(5)),
        lambda: dataset(BOTH, np.zeros(5), np.ones(5)),
        lambda: dataset((X, JOBS)),
        lambda: dataset((X, JOBS), np.zeros(5)),
        lambda: dataset({"points": X, "job": JOBS[:, None]}),
    ],
)
def test_several_inputs_are_the_same_in_whatever_they_come(given):
    rows = as_rows(given(), "x", SEVERAL)
    assert list(rows) == ["points", "job"]
    np.testing.assert_array_equal(rows["points"], X)
    texts = [t.decode() if isinstance(t, bytes) else t for t in rows["job"][:, 0]]
    assert texts == JOBS.tolist()


@pytest.mark.parametrize(
    "given",
    [
        lambda: X,
        lambda: X.tolist(),
        lambda: pd.DataFrame(X, columns=["a", "b"]),
        lambda: {"inputs": X},
        lambda: X[..., None],
        lambda: dataset(X),
        lambda: dataset(X, np.zeros(5)),
        lambda: dataset({"inputs": X}),
        lambda: tf.data.Dataset.from_generator(lambda: iter([X]), tf.float32),
    ],
)
def test_one_input_is_the_same_in_whatever_it_comes(given):
    np.testing.assert_array_equal(as_rows(given(), "x", VECTORS), X)


@pytest.mark.parametrize("shape, own", [((5,), TEXTS), ((5, 1), WORDS)])
@pytest.mark.parametrize("given", [(5,), (5, 1)])
@pytest.mark.parametrize("kind", ["U", "S", object])
def test_strings_get_the_axis_that_the_model_has(shape, own, given, kind):
    texts = JOBS.astype(kind).reshape(given)
    for rows in (texts, dataset(texts.astype("S"))):
        found = as_rows(rows, "x", own)
        assert found.shape == shape and found.dtype == object
        assert tensors(found).dtype == tf.string


def test_a_column_of_numbers_is_a_column_of_cells():
    for given in (X[:, 0], pd.Series(X[:, 0]), dataset(X[:, 0])):
        np.testing.assert_array_equal(as_rows(given, "x", CELLS), X[:, :1])


@pytest.mark.parametrize("own", [VECTORS, TEXTS, SEVERAL], ids=["one", "text", "more"])
@pytest.mark.parametrize("given", ["list", "dataset"])
def test_no_rows_have_the_shape_of_some(own, given):
    full = {VECTORS: X, TEXTS: JOBS}.get(own, BOTH) if own is not SEVERAL else BOTH
    if given == "dataset":
        rows = as_rows(dataset(full).take(0), "x", own)
    else:
        rows = as_rows([[], []] if own is SEVERAL else [], "x", own)
    for part, like in zip(
        tf.nest.flatten(rows), tf.nest.flatten(blank_rows(own)), strict=True
    ):
        assert part.shape == like.shape and len(part) == 0


UNFIT = [
    ({"points": X, "job": JOBS[:3]}, SEVERAL, r"as many rows.*'points': 5, 'job': 3"),
    ({"points": X}, SEVERAL, r"dict of the model's inputs.*without 'job'"),
    (pd.DataFrame(X, columns=["points", "b"]), SEVERAL, "without 'job'"),
    (X, SEVERAL, "Received: a ndarray"),
    ([X, JOBS, JOBS], SEVERAL, "Received: a list"),
    ({"points": X, "job": X[:, 0]}, SEVERAL, r"\['job'\]` must hold strings.*float32"),
    ({"points": JOBS, "job": JOBS}, SEVERAL, r"\['points'\]` must hold numbers"),
    ({"points": [[1.0], [1.0, 2.0]], "job": ["a", "b"]}, SEVERAL, "of one length"),
    ({"a": X, "b": X}, VECTORS, "one array of rows.*dict of 2 keys"),
    ({"a": X}, VECTORS, "one array of rows.*dict of 1 keys"),
    (JOBS, VECTORS, "must hold numbers. Received: strings"),
    (X, TEXTS, r"must hold strings. Received: numbers \(float32\)"),
    (X[:, :1], VECTORS, r"of shape \(None, 2\). Received: shape \(5, 1\)"),
    (X[0], VECTORS, r"of shape \(None, 2\). Received: shape \(2,\)"),
    (X[0, 0], VECTORS, "an array of rows. Received: a single float32"),
    ("a text", TEXTS, "an array of rows. Received: a single str"),
    (None, VECTORS, "an array of rows. Received: a single NoneType"),
    ([[1.0, None]], VECTORS, r"objects such as None at \(0, 1\)"),
    (["a", None], TEXTS, r"objects such as None at \(1,\)"),
    (pd.Series(["a", None], dtype="string"), TEXTS, r"such as <NA> at \(1,\)"),
    (np.array(["a", 3], object), TEXTS, r"objects such as 3 at \(1,\)"),
    (pd.DataFrame({"a": [1.0], "b": ["c"]}), VECTORS, r"such as 'c' at \(0, 1\)"),
    (np.array([[1, 2]], object), VECTORS, r"objects such as 1 at \(0, 0\)"),
    (tf.ragged.constant([[1.0], [1.0, 2.0]]), VECTORS, "ragged tensor.*to_tensor"),
    (tf.sparse.from_dense(X), VECTORS, "sparse tensor.*to_dense"),
]
UNFIT_DATASETS = [
    (lambda: dataset(BOTH).unbatch(), SEVERAL, r"batches of.*\.batch\(256\)"),
    (lambda: dataset(X).unbatch(), VECTORS, r"shape \(None, 2\).*\.batch\(256\)"),
    (lambda: dataset(JOBS).unbatch(), TEXTS, r"shape \(None,\).*\.batch\(256\)"),
    (lambda: dataset(BOTH).repeat(), SEVERAL, r"endless dataset; leave .repeat\(\)"),
    (lambda: dataset(tf.ragged.constant([[1], [1, 2]])), VECTORS, "padded_batch"),
    (lambda: dataset(tf.sparse.from_dense(X)), VECTORS, "ragged or sparse"),
    (lambda: dataset({"points": X}), SEVERAL, "without 'job'"),
    (lambda: dataset({"a": X, "b": X}), VECTORS, "dict of 2 keys"),
    (lambda: dataset(X, JOBS, np.zeros(5)), SEVERAL, "give dicts of the inputs by"),
    (lambda: dataset((JOBS, JOBS)), SEVERAL, "batches of"),
    (lambda: dataset(JOBS), CELLS, "must hold numbers. Received: strings"),
    (lambda: dataset(X[:, 0]), WORDS, "must hold strings. Received: numbers"),
]


@pytest.mark.parametrize("given, own, match", UNFIT)
def test_rows_of_another_kind_are_refused_by_name(given, own, match):
    with pytest.raises(ValueError, match=f"(?s)^`x.*{match}"):
        as_rows(given, "x", own)


@pytest.mark.parametrize("make, own, match", UNFIT_DATASETS)
def test_datasets_of_another_kind_are_refused_by_name(make, own, match):
    with pytest.raises(ValueError, match=f"(?s)^`x.*{match}"):
        as_rows(make(), "x", own)


def test_several_inputs_are_cut_and_joined_as_one():
    rows = as_rows(BOTH, "x", SEVERAL)
    assert num_rows(rows) == 5
    joined = concatenate([take(rows, slice(0, 2)), take(rows, slice(2, 5))])
    for name, part in rows.items():
        np.testing.assert_array_equal(joined[name], part)
    specs = batch_spec(rows)
    assert specs["job"] == spec((None, 1), tf.string, None)
    assert blank(rows)["job"].tolist() == [[""]]
    assert blank(rows)["points"].tolist() == [[0.0, 0.0]]
