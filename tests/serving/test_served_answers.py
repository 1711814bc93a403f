"""What every answer of an export has: a reason, and no number that JSON lacks."""

import json

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.serving import examples, text, verify
from keras_ebm.serving.inputs import LARGEST
from keras_ebm.serving.outputs import restore
from keras_ebm.serving.signatures import REFUSED
from keras_ebm.serving.warm_up import FILE, replay

CELLS = {
    "age": ["41", "", "NA", "1e9", "forty"],
    "city": ["Wien", "Graz", "", "Linz", "Wien"],
    "when": ["1700000000123", "1700000000456", "1700000000000", "1700000000001", "0"],
}


@pytest.fixture(scope="module")
def table(table_export):
    return tf.saved_model.load(str(table_export.path))


@pytest.fixture(scope="module")
def vectors(vector_export):
    return tf.saved_model.load(str(vector_export.path))


def ask(loaded, signature, **request):
    found = loaded.signatures[signature](
        **{k: tf.constant(v) for k, v in request.items()}
    )
    return {name: value.numpy() for name, value in found.items()}


def example(**cells) -> bytes:
    """A `tf.train.Example` of floats and texts."""
    kept = tf.train.Example()
    for name, value in cells.items():
        feature = kept.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        else:
            feature.float_list.value.extend(np.ravel(value))
    return kept.SerializeToString()


def test_text_may_leave_out_numbers_and_what_is_no_number_is_refused(table):
    answers = ask(table, "text", **CELLS)
    assert answers["reason"][[3, 4]].tolist() == [
        b"outside the training range: age",
        b"cannot be read: age",
    ]
    assert answers["filled"].tolist() == [b"", b"age", b"age", b"", b""]
    assert not answers["accept"][3:].any()
    read = {
        "age": np.float32([41, np.nan, np.nan, 1e9]),
        "city": CELLS["city"][:4],
        "when": np.array(CELLS["when"][:4], np.float64),
    }
    numbers = ask(table, "serving_default", **read)
    for name, values in numbers.items():
        np.testing.assert_array_equal(answers[name][:4], values, err_msg=name)


def test_the_largest_number_is_a_missing_one(table):
    cells = {"city": ["Wien"], "when": np.array([1_700_000_000_123.0])}
    largest, gap = (
        ask(table, "serving_default", age=np.float32([age]), **cells)
        for age in (LARGEST, np.nan)
    )
    assert largest["filled"].tolist() == [b"age"]
    for name, values in gap.items():
        np.testing.assert_array_equal(largest[name], values, err_msg=name)


def test_an_example_may_leave_out_columns(table):
    rows = [example(age=41.0, city="Wien", when="1700000000123"), example(city="Graz")]
    answers = ask(table, "examples", inputs=rows)
    same = ask(
        table,
        "serving_default",
        age=np.float32([41, np.nan]),
        city=["Wien", "Graz"],
        when=np.array([1_700_000_000_123, np.nan]),
    )
    assert answers["filled"].tolist() == [b"", b"age, when"]
    for name, values in same.items():
        np.testing.assert_array_equal(answers[name], values, err_msg=name)


def test_classify_gives_the_labels_and_that_of_what_is_refused(table):
    rows = [example(age=41.0, when="1700000000123"), example(age=1e9)]
    found = ask(table, "classify", inputs=rows)
    whole = ask(table, "examples", inputs=rows)
    assert whole["accept"].tolist() == [True, False]
    assert found["classes"].tolist() == [[b"no", b"yes", REFUSED.encode()]] * 2
    expected = np.append(whole["probabilities"][0], 0.0)
    np.testing.assert_array_equal(found["scores"], [expected, [0, 0, 1]])
    p_values = ask(table, "regress", inputs=rows)["outputs"]
    np.testing.assert_array_equal(p_values, whole["p_value"])


@pytest.mark.parametrize(
    "row, reason",
    [
        ([0.0, np.nan, 0.0], b"a number is missing"),
        ([np.inf, 0.0, 0.0], b"not a finite number"),
        ([0.1, 0.2, 0.3], b"accepted"),
    ],
)
def test_every_answer_has_a_reason_and_is_strict_json(vectors, row, reason):
    answers = ask(vectors, "serving_default", inputs=np.float32([row]))
    assert answers["reason"].tolist() == [reason]
    assert answers["accept"][0] == (reason == b"accepted")
    shown = {k: v.astype(str) if v.dtype == object else v for k, v in answers.items()}
    json.dumps({k: v.tolist() for k, v in shown.items()}, allow_nan=False)
    if reason != b"accepted":
        assert answers["p_value"] == 0 and answers["energy"] == np.float32(LARGEST)
        restored = restore(answers)
        assert all(np.isnan(restored[k]).all() for k in ("energy", "p_value"))


def test_a_vector_that_is_left_out_of_an_example_is_missing(vectors):
    rows = [example(), example(inputs=[0.1, 0.2, 0.3])]
    answers = ask(vectors, "examples", inputs=rows)
    assert answers["reason"].tolist() == [b"a number is missing", b"accepted"]


def test_a_decision_that_is_not_finite_is_refused_in_process_too(vector_export):
    rows = np.float32([[np.nan, 0, 0], [np.inf, 0, 0], [-np.inf, 0, 0]])
    answers = vector_export.detector.predict(rows)
    assert not answers["accept"].any()
    assert np.isnan(answers["p_value"]).all()


@pytest.mark.parametrize("name", ["table_export", "digits_export", "vector_export"])
def test_the_warm_up_asks_every_signature_and_once_for_many_rows(name, request):
    export = request.getfixturevalue(name)
    loaded = tf.saved_model.load(str(export.path))
    asked = replay(loaded, export.path / FILE)
    assert sorted(asked) == sorted([*loaded.signatures, "serving_default"])
    card = json.loads((export.path / "assets.extra/keras_ebm.json").read_text())
    assert card["signatures"] == sorted(set(asked))
    # Whoever keeps the server may put requests of their own there.
    assert str(FILE) not in card["files"]


def test_an_answer_that_is_not_finite_is_found_by_the_comparison(
    vector_export, monkeypatch
):
    loaded = tf.saved_model.load(str(vector_export.path))
    own = loaded.signatures["serving_default"]

    class Spoiled:
        signatures = {
            **loaded.signatures,
            "serving_default": lambda **x: {
                **own(**x),
                "energy": tf.constant([np.inf]),
            },
        }

    monkeypatch.setattr(tf.saved_model, "load", lambda path: Spoiled())
    with pytest.raises(RuntimeError, match="NaN or infinity: `energy`"):
        verify(vector_export.path, vector_export.detector, vector_export.rows[:1])


def test_texts_are_numbers_missing_or_not_to_be_read():
    specs = {"x": tf.TensorSpec((None,), tf.float32, "x")}
    cells = ["1", " -2.5 ", ".5", "3.", "1e-3", "+4", "", "nan", "?", "1,5", "inf", "-"]
    values, refusals = text.numbers({"x": tf.constant(cells)}, specs, ("?",))
    numbers = [1, -2.5, 0.5, 3, 1e-3, 4] + [np.nan] * 6
    np.testing.assert_array_equal(values["x"], np.float32(numbers))
    unread = [cell for cell, why in zip(cells, refusals.numpy(), strict=True) if why]
    assert unread == ["1,5", "inf", "-"]


def test_numbers_come_back_from_text_as_they_were():
    rng = np.random.default_rng(0)
    for dtype in (tf.float32, tf.float64):
        values = rng.normal(size=500) * 10.0 ** rng.integers(-30, 30, 500)
        cells = {"x": tf.constant(values, dtype)}
        spec = {"x": tf.TensorSpec((None,), dtype, "x")}
        back, _ = text.numbers(text.as_text(cells), spec, ())
        np.testing.assert_array_equal(back["x"], cells["x"])


def test_inputs_of_any_length_have_no_examples():
    free = {"x": tf.TensorSpec((None, None), tf.float32, "x")}
    complex_number = {"x": tf.TensorSpec((None,), tf.complex64, "x")}
    assert examples.features(free) is None
    assert examples.features(complex_number) is None
