"""Exports with explanations, run where only TensorFlow can be imported."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from explain_support import NAN, SCHEMA, TRAIN, half_square, square_detector

from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.explain import Explainer
from keras_ebm.layers import TableEncoder
from keras_ebm.models import EnergyModel
from keras_ebm.ood import ConformalDetector, Detector, Energy
from keras_ebm.serving import export_ood_scorer, verify

LARGEST = np.finfo(np.float32).max
# `None` in sys.modules makes an import fail; TensorFlow itself does without.
ALONE = """
import sys
for name in ("keras", "keras_ebm", "tf_keras", "trainers", "export"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
request = {k: tf.constant(v) for k, v in np.load(sys.argv[2]).items()}
for signature in ("explain", "acceptable"):
    answers = loaded.signatures[signature](**request)
    answers = {k: v.numpy() for k, v in answers.items()}
    # Text as bytes, which need no pickle.
    answers = {k: v.astype("S") if v.dtype == object else v for k, v in answers.items()}
    np.savez(f"{sys.argv[3]}/{signature}.npz", **answers)
"""
REQUEST = {
    "age": np.array([70.0, 45.0, 70.0, np.inf, 70.0], np.float32),
    "colour": np.array([b"red", b"green", b" blue", b"NA", b""]),
    "height__m_": np.array([6.0, 2.0, NAN, 2.0, 2.5], np.float32),
    "unit": np.array([7.0, 9.0, 7.0, 7.0, NAN], np.float32),
    "paid": np.array([b"TRUE", b"", b"no", b"false", b"true"]),
}
# As a csv's reader codes them: -1 is no category, NaN missing.
ROWS = np.stack(
    [
        REQUEST["age"],
        [1.0, -1.0, 0.0, NAN, NAN],
        REQUEST["height__m_"],
        REQUEST["unit"],
        [1.0, NAN, -1.0, 0.0, 1.0],
    ],
    axis=1,
).astype(np.float32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`(path, explainer)` of a scorer of rows with a column of every kind."""
    explainer = Explainer.for_detector(
        square_detector(), TRAIN, bounds={"age": (30.0, 50.0)}
    )
    output = tmp_path_factory.mktemp("explained") / "model"
    return export_ood_scorer(
        explainer.detector, output, ROWS[:3], explainer=explainer
    ), explainer


@pytest.fixture(scope="module")
def answers(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    np.savez(folder / "request.npz", **REQUEST)
    process = subprocess.run(
        [sys.executable, "-c", ALONE, exported[0], folder / "request.npz", folder],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    names = ("explain", "acceptable")
    return {name: dict(np.load(folder / f"{name}.npz")) for name in names}


def test_contributions_are_the_librarys(exported, answers):
    expected = exported[1].contributions(ROWS)
    assert set(answers["explain"]) == {"contributions", "energy", "baseline_energy"}
    for name, values in answers["explain"].items():
        # Of at most 12.5 nats, in float32.
        values = np.where(values == LARGEST, np.nan, values)
        own = getattr(expected, name).numpy()
        own = np.where(np.isfinite(own), own, np.nan)
        np.testing.assert_allclose(values, own, atol=1e-5)
    assert answers["explain"]["contributions"].shape == (5, 5)


def test_changed_rows_are_the_librarys_with_their_words(exported, answers):
    expected, served = exported[1].acceptable(ROWS), dict(answers["acceptable"])
    for name, values in served.items():
        if values.dtype.kind == "f":
            assert np.isfinite(values).all()
            served[name] = np.where(values == LARGEST, np.nan, values)
    assert set(served) == {*REQUEST, "found", "distance", "energy"}
    np.testing.assert_array_equal(served["found"], [True, True, True, False, True])
    np.testing.assert_array_equal(served["found"], expected.found)
    for name in ("distance", "energy"):
        own = getattr(expected, name).numpy()
        own = np.where(np.isfinite(own), own, np.nan)
        np.testing.assert_allclose(served[name], own, rtol=1e-4)
    for name, position in (("age", 0), ("height__m_", 2), ("unit", 3)):
        cells = expected.rows.numpy()[:, position]
        cells = np.where(np.isfinite(cells), cells, np.nan)
        # The same steps, rounded otherwise: the distance is flat where they end.
        np.testing.assert_allclose(served[name], cells, rtol=1e-3)
    for name in ("colour", "paid"):
        np.testing.assert_array_equal(served[name], REQUEST[name])
    # The second row was accepted, the fourth is infinitely far: both as they came.
    for name in ("age", "height__m_"):
        cells = REQUEST[name][[1, 3]]
        cells = np.where(np.isfinite(cells), cells, np.nan)
        np.testing.assert_array_equal(served[name][[1, 3]], cells)
    assert served["distance"][1] == 0.0 and np.isnan(served["distance"][3])


def test_every_axis_0_is_a_batch(exported):
    loaded = tf.saved_model.load(exported[0])
    for name in ("explain", "acceptable"):
        signature = loaded.signatures[name]
        # TF Serving's row format joins instances along the first axis of all.
        for tensor in (
            *signature.structured_input_signature[1].values(),
            *signature.structured_outputs.values(),
        ):
            assert tensor.shape.rank >= 1 and tensor.shape[0] is None


def test_the_card_names_columns_baseline_and_bounds(exported):
    text = (exported[0] / "assets.extra" / "keras_ebm.json").read_text()
    card = json.loads(text, parse_constant=lambda name: pytest.fail(name))["explain"]
    assert card["columns"] == list(REQUEST)
    # The third training row, whose height is missing.
    assert card["baseline"] == [35.0, "blue", None, 7.0, "false"]
    assert card["bounds"] == {"age": [30.0, 50.0], "height__m_": [1.0, 3.0]}


def test_without_an_explainer_there_are_no_explanations(tmp_path):
    detector = square_detector()
    path = export_ood_scorer(detector, tmp_path / "model", ROWS[:3])
    found = set(tf.saved_model.load(path).signatures)
    assert found == {"serving_default", "at_rate", "text", "examples", "regress"}
    card = json.loads((path / "assets.extra" / "keras_ebm.json").read_text())
    assert "explain" not in card
    explainer = Explainer.for_detector(detector, TRAIN)
    with pytest.raises(RuntimeError, match="no signature `explain`"):
        verify(path, detector, ROWS[:3], explainer)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"baseline": TRAIN[0]}, "`contributions` differs by 1"),
        ({"bounds": {"age": (60.0, 70.0)}}, "`found` differs on 2 of 3 rows"),
    ],
    ids=["baseline", "bounds"],
)
def test_other_explanations_are_noticed(exported, settings, message):
    path, explainer = exported
    settings = {"bounds": {"age": (30.0, 50.0)}, **settings}
    other = Explainer.for_detector(explainer.detector, TRAIN, **settings)
    with pytest.raises(RuntimeError, match=message):
        verify(path, explainer.detector, ROWS[:3], other)


@pytest.mark.parametrize(
    "name, shift, message",
    [("age", 5.0, "`found` differs on 2 of 2"), ("energy", 0.01, "`energy` differs")],
)
def test_changes_that_do_not_pass_are_noticed(
    exported, monkeypatch, name, shift, message
):
    path, explainer = exported
    module = sys.modules["keras_ebm.serving.verify"]
    real = module._answers

    def answers(loaded, signature, *rest):
        found = real(loaded, signature, *rest)
        if signature == "acceptable":
            found[name] = found[name] + shift
        return found

    assert verify(path, explainer.detector, ROWS[:3], explainer)["contributions"] < 1e-4
    monkeypatch.setattr(module, "_answers", answers)
    with pytest.raises(RuntimeError, match=message):
        verify(path, explainer.detector, ROWS[:3], explainer)


def test_rows_without_a_schema_go_by_one_tensor(tmp_path):
    rng = np.random.default_rng(0)
    train = rng.normal(size=(50, 3)).astype(np.float32)
    encoder = TableEncoder()
    encoder.adapt(train)
    model = EnergyModel(half_square(3, numeric=3), preprocessor=encoder)
    detector = Detector(model, Energy(), ConformalDetector(np.full(9, 0.5)), 0.1)
    explainer = Explainer.for_detector(detector, train, fixed=["1"])
    path = export_ood_scorer(detector, tmp_path / "m", train, explainer=explainer)
    loaded = tf.saved_model.load(path)
    served = loaded.signatures["acceptable"](inputs=tf.constant(train))
    expected = explainer.acceptable(train)
    assert 0 < served["found"].numpy().sum() < 50
    np.testing.assert_array_equal(served["found"], expected.found)
    np.testing.assert_allclose(served["inputs"], expected.rows, atol=1e-3)
    found = loaded.signatures["explain"](inputs=tf.constant(train))
    expected = explainer.contributions(train).contributions
    np.testing.assert_allclose(found["contributions"], expected, atol=1e-5)
    card = json.loads((path / "assets.extra" / "keras_ebm.json").read_text())["explain"]
    assert card["columns"] == ["0", "1", "2"] and set(card["bounds"]) == {"0", "2"}


def test_an_explainer_of_another_detector_is_refused(exported, tmp_path):
    with pytest.raises(ValueError, match="an explainer of another detector"):
        export_ood_scorer(
            square_detector(), tmp_path / "m", ROWS, explainer=exported[1]
        )
    assert list(tmp_path.iterdir()) == []


def test_a_column_called_as_an_output_is_refused(tmp_path):
    columns = (*SCHEMA.columns[:3], Column("distance", "numeric"), SCHEMA.columns[4])
    encoder = TableEncoder(TableSchema(columns), drop_constant=True)
    encoder.adapt(TRAIN)
    detector = square_detector(encoder=encoder)
    explainer = Explainer.for_detector(detector, TRAIN)
    with pytest.raises(ValueError, match="Received: 'distance'; rename it"):
        export_ood_scorer(detector, tmp_path / "m", ROWS, explainer=explainer)


@pytest.mark.parametrize(
    "name, shift, message",
    [
        ("distance", 0.1, "`distance` differs"),
        ("colour", b"x", "`colour` differs on 3 of 3"),
        ("energy", None, "no output `energy` in the signature `acceptable`"),
        ("other", None, "output `other` .*the detector does not give"),
    ],
)
def test_what_else_is_served_of_changed_rows_is_compared(
    exported, monkeypatch, name, shift, message
):
    path, explainer = exported
    module = sys.modules["keras_ebm.serving.verify"]
    real = module._answers

    def answers(loaded, signature, *rest):
        found = real(loaded, signature, *rest)
        if signature != "acceptable":
            return found
        if shift is not None:
            found[name] = found[name] + shift
        elif found.pop(name, None) is None:
            found[name] = found["energy"]
        return found

    monkeypatch.setattr(module, "_answers", answers)
    with pytest.raises(RuntimeError, match=message):
        verify(path, explainer.detector, ROWS[:3], explainer)
