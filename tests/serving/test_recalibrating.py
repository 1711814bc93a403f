"""A version with other thresholds, and the weights of the one before."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.digests import array_digest
from keras_ebm.serving.export import CARD
from keras_ebm.serving.recalibrating import recalibrate
from keras_ebm.serving.verify import request_of
from keras_ebm.serving.warm_up import FILE, replay

KEPT = Path(__file__).parents[1] / "kept" / "export"


def weights_digest(version: Path) -> str:
    """SHA-256 of all variables of a SavedModel, whatever their names.

    Args:
        version: its folder.
    """
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    names = [n for n in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in n]
    digests = sorted(array_digest([reader.get_tensor(name)]) for name in names)
    return array_digest([np.array(digests)])


def request(export, rows):
    found = request_of(export.detector, rows)
    return {name: value.numpy() for name, value in found.items()}


def again(export, rows, output, **settings):
    """A version of an export in another folder."""
    loaded = tf.saved_model.load(str(export.path))
    card = json.loads((export.path / CARD).read_text())
    return recalibrate(loaded, card, request(export, rows), output, **settings)


def answers_of(path, given, signature="serving_default"):
    loaded = tf.saved_model.load(str(path))
    tensors = {name: tf.constant(values) for name, values in given.items()}
    found = loaded.signatures[signature](**tensors)
    return {name: value.numpy() for name, value in found.items()}


def test_the_thresholds_are_those_of_the_new_rows_and_the_weights_the_same(
    digits_export, tmp_path
):
    rows = digits_export.rows[:99] // 2
    path, conformal = again(digits_export, rows, tmp_path / "d", target_fpr=0.1)
    assert path == tmp_path / "d" / "1"
    assert weights_digest(path) == weights_digest(digits_export.path)
    given = request(digits_export, digits_export.rows)
    before, after = answers_of(digits_export.path, given), answers_of(path, given)
    for name in ("energy", "ood_score", "probabilities", "label"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    # The p-value is a count of the new rows' scores.
    scores = digits_export.detector.predict(rows)["ood_score"]
    counts = [1 + np.sum(scores >= score) for score in after["ood_score"]]
    # One of them may lie within rounding of a score.
    np.testing.assert_allclose(after["p_value"] * 100, counts, atol=1.1)
    np.testing.assert_array_equal(after["accept"], after["p_value"] > 0.1)
    refused = {b"unlike the training rows"}
    assert set(after["reason"][~after["accept"]]) <= refused
    card = json.loads((path / CARD).read_text())
    assert card["calibration_rows"] == 99 and card["target_fpr"] == 0.1
    assert card["threshold"] == pytest.approx(conformal.threshold(0.1))
    old = json.loads((digits_export.path / CARD).read_text())
    assert card["weights_sha256"] == old["weights_sha256"]
    assert card["recalibrated"] == [{"calibration_sha256": old["calibration_sha256"]}]


def test_a_threshold_by_class_and_another_version_of_that(digits_export, tmp_path):
    rows = digits_export.rows
    path, conformal = again(
        digits_export, rows, tmp_path / "d", target_fpr=0.3, per_class=True
    )
    assert conformal.by_class
    given = request(digits_export, rows)
    answers = answers_of(path, given)
    for label in range(10):
        own = answers["class_id"] == label
        # Of the class's own n rows at most floor(.3 (n + 1)) may be refused.
        assert np.sum(~answers["accept"][own]) <= 0.3 * (own.sum() + 1)
    card = json.loads((path / CARD).read_text())
    assert len(card["threshold"]) == 10
    loaded = tf.saved_model.load(str(path))
    third, _ = recalibrate(loaded, card, given, path.parent, target_fpr=0.05)
    assert third.name == "2"
    assert weights_digest(third) == weights_digest(digits_export.path)
    # Back to the rows of the first: to its answers.
    first = answers_of(digits_export.path, given)
    for name, values in answers_of(third, given).items():
        np.testing.assert_array_equal(values, first[name], err_msg=name)


def test_every_signature_of_a_table_is_there_and_warm(table_export, tmp_path):
    path, _ = again(table_export, table_export.rows, tmp_path / "t")
    loaded = tf.saved_model.load(str(path))
    asked = replay(loaded, path / FILE)
    first = tf.saved_model.load(str(table_export.path))
    assert set(asked) == set(loaded.signatures) == set(first.signatures)
    cells = {"age": ["41", "1e9"], "city": ["Wien", "Linz"], "when": ["", "x"]}
    before, after = (
        answers_of(version, cells, "text") for version in (table_export.path, path)
    )
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)


def test_an_export_of_an_earlier_version_gets_what_is_new(tmp_path):
    shutil.copytree(KEPT, tmp_path / "m")
    path = tmp_path / "m" / "1"
    card = json.loads((path / CARD).read_text())
    rng = np.random.default_rng(0)
    given = {
        "age": rng.uniform(20, 70, 99).astype(np.float32),
        "city": rng.choice([b"Wien", b"Graz"], 99),
        "income": rng.uniform(1, 5, 99).astype(np.float32),
    }
    loaded = tf.saved_model.load(str(path))
    second, _ = recalibrate(loaded, card, given, path.parent, target_fpr=0.2)
    assert second == tmp_path / "m" / "2"
    assert weights_digest(second) == weights_digest(path)
    found = tf.saved_model.load(str(second)).signatures
    assert {"text", "classify", "regress"} <= set(found)
    given["age"][:2] = np.inf, 1e9
    answers = answers_of(second, given)
    assert answers["reason"][0] == b"not a finite number" and answers["p_value"][0] == 0
    assert answers["reason"][1] == b"outside the training range: age"


@pytest.mark.parametrize(
    "name, settings, change, message",
    [
        ("vector_export", {"per_class": True}, None, "needs the predicted classes"),
        ("vector_export", {"target_fpr": 0.001}, None, "which needs 999 rows"),
        ("vector_export", {}, np.nan, "1 of 99 rows .* row 0: a number is missing"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    request, name, settings, change, message, tmp_path
):
    export = request.getfixturevalue(name)
    rows = export.rows.copy()
    if change is not None:
        rows[0, 0] = change
    with pytest.raises(ValueError, match=message):
        again(export, rows, tmp_path / "v", **settings)
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    "given, told",
    [
        (np.zeros((4, 8, 8, 1)), "Received: ndarray"),
        ({"x": np.zeros((4, 8, 8, 1))}, "1 numbers of rows under ['x']"),
        ({}, "0 numbers of rows under []"),
    ],
)
def test_a_request_by_other_names_is_refused(digits_export, tmp_path, given, told):
    loaded = tf.saved_model.load(str(digits_export.path))
    card = json.loads((digits_export.path / CARD).read_text())
    with pytest.raises(
        ValueError, match="by the names that the export serves"
    ) as error:
        recalibrate(loaded, card, given, tmp_path / "d")
    assert told in str(error.value) and list(tmp_path.iterdir()) == []
