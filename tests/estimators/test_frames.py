"""Estimators of frames with words: the rules of csv files, and no others."""

import pickle

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import keras_ebm as ebm
from keras_ebm.data import frames
from keras_ebm.estimators import EnergyClassifier, EnergyOutlierDetector
from keras_ebm.explain import Explainer
from keras_ebm.serving import export_classifier, export_ood_scorer
from keras_ebm.serving.inputs import input_kind, split_columns

QUICK = {"hidden": (32,), "dropout": 0.0, "random_state": 0}


def customers(count=400):
    """A mixed table with gaps, and a label that its words and booleans decide."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40.0, 10.0, count).round(1),
            "job": rng.choice(["baker", "cook", "smith"], count),
            "size": pd.Categorical(rng.choice(["L", "M", "S"], count)),
            "member": rng.random(count) < 0.5,
            "online": pd.array(rng.random(count) < 0.5, dtype="boolean"),
            "visits": pd.array(rng.integers(0, 50, count), dtype="Int64"),
        }
    )
    label = (frame["job"] == "baker") | ((frame["job"] == "cook") & frame["member"])
    for step, name in ((7, "age"), (11, "online"), (13, "visits"), (17, "size")):
        frame.loc[::step, name] = pd.NA if name != "age" else np.nan
    return frame, np.where(label, "yes", "no")


@pytest.fixture(scope="module")
def table():
    return customers()


@pytest.fixture(scope="module")
def classifier(table):
    settings = {**QUICK, "steps": 150, "method": "supervised"}
    return EnergyClassifier(**settings).fit(*table)


@pytest.fixture(scope="module")
def detector(table):
    return EnergyOutlierDetector(0.1, **QUICK, steps=20).fit(table[0])


def test_words_and_booleans_are_learned_of(table, classifier):
    frame, y = table
    # The rule is exact and needs no number.
    assert classifier.score(frame, y) > 0.95
    assert classifier.feature_names_in_.tolist() == list(frame.columns)
    assert classifier.n_features_in_ == 6
    kinds = [column.kind for column in classifier.schema_.columns]
    words = ["categorical", "categorical", "boolean", "boolean"]
    assert kinds == ["numeric", *words, "numeric"]


def test_a_frame_is_encoded_as_its_csv_file_is(table, classifier, tmp_path):
    frame, _ = table
    frame.to_csv(tmp_path / "table.csv", index=False)
    of_file = ebm.data.read(f"csv:{tmp_path}/table.csv", target="")
    assert of_file.schema == classifier.schema_
    np.testing.assert_array_equal(classifier.encode(frame), of_file.x)


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, "", "NA"])
def test_a_missing_word_is_missing_however_it_is_written(table, classifier, gap):
    rows = table[0][1:3].astype({"job": object})
    rows["job"] = pd.Series([gap, "baker"], rows.index, dtype=object)
    if isinstance(gap, str) and gap:
        with pytest.warns(UserWarning, match="'job' .'NA'.*write it otherwise"):
            codes = classifier.encode(rows)[:, 1]
    else:
        codes = classifier.encode(rows)[:, 1]
    np.testing.assert_array_equal(codes, [np.nan, 0.0])


def test_an_unseen_word_is_unknown_and_any_cell_may_be_missing(table, classifier):
    rows = table[0].iloc[:3].astype(object)
    rows["job"] = [" astronaut", "cook ", 7]
    np.testing.assert_array_equal(classifier.encode(rows)[:, 1], [-1.0, 1.0, -1.0])
    rows[:] = None
    assert np.isfinite(classifier.decision_function(rows)).all()


def test_names_and_their_order_are_those_of_fit(table, classifier):
    frame, _ = table
    for other in (frame[frame.columns[::-1]], frame.drop(columns="job")):
        with pytest.raises(ValueError, match="feature names should match"):
            classifier.predict(other)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_arrays_of_words_are_refused_with_the_remedy(table, classifier):
    frame, y = table
    cells = frame.to_numpy(object)
    with pytest.raises(ValueError, match="'cook'.*pass a pandas frame"):
        EnergyClassifier(**QUICK).fit(cells[:, 1:2], y)
    with pytest.raises(ValueError, match="must be a pandas frame, as in `fit`"):
        classifier.predict(cells)


@pytest.mark.parametrize("kind", [float, object, "Float64"])
def test_a_frame_of_numbers_gives_what_its_array_gives(kind):
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = (x[:, 0] > 0).astype(int)
    x[3, 1] = np.nan
    frame = pd.DataFrame(x, columns=list("abc")).astype(kind)
    frame.loc[3, "b"] = np.nan if kind is float else pd.NA
    settings = {**QUICK, "steps": 2, "run_eagerly": True, "method": "supervised"}
    by_frame = EnergyClassifier(**settings).fit(frame, y)
    assert by_frame.schema_ is None
    np.testing.assert_array_equal(
        by_frame.decision_function(frame),
        EnergyClassifier(**settings).fit(x, y).decision_function(x),
    )


def test_it_is_cloned_pickled_piped_and_cross_validated(table, classifier):
    frame, y = table
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict(frame), classifier.predict(frame))
    quick = clone(classifier).set_params(steps=25, run_eagerly=True)
    piped = make_pipeline(FunctionTransformer(), quick)
    # Half of the labels are "yes"; three standard errors are .1.
    assert cross_val_score(piped, frame, y, cv=2).min() > 0.6


def test_the_model_is_served_by_named_columns(table, classifier, detector, tmp_path):
    rows = classifier.encode(table[0])
    decision = ebm.ood.Detector.calibrate(classifier.model_, rows, target_fpr=0.1)
    path = export_classifier(decision, tmp_path / "c", rows[:20])
    assert input_kind(classifier.model_) == "table"
    served = tf.saved_model.load(path).signatures["serving_default"]
    columns = split_columns(classifier.schema_, rows[:20])
    answers = served(**{name: tf.constant(value) for name, value in columns.items()})
    labels = [label.decode() for label in answers["label"].numpy()]
    assert labels == classifier.predict(table[0][:20]).tolist()
    rows = detector.encode(table[0])
    assert export_ood_scorer(detector.detector_, tmp_path / "d", rows[:20]).exists()
    accepted = detector.detector_.predict(rows)["accept"]
    np.testing.assert_array_equal(accepted, detector.predict(table[0]) == 1)


def test_explanations_name_the_frames_columns(table, classifier):
    rows = classifier.encode(table[0])
    decision = ebm.ood.Detector.calibrate(classifier.model_, rows, target_fpr=0.1)
    explainer = Explainer.for_detector(decision, rows)
    assert explainer.contributions(rows[:2]).contributions.shape == (2, 6)


def test_a_word_that_only_calibration_rows_have_is_unknown_to_a_detector():
    count = 100
    numbers = np.random.default_rng(0).normal(size=count)
    frame = pd.DataFrame({"n": numbers, "w": ["a", "b"] * (count // 2)})
    frame.loc[0, "w"] = "rare"
    found = []
    for seed in range(4):
        fitted = EnergyOutlierDetector(
            0.1,
            ood_score="nearest",
            num_components=1,
            random_state=seed,
            calibration_share=0.5,
        ).fit(frame)
        found.append(fitted.schema_.columns[1].vocabulary)
        unseen = -1.0 if "rare" not in found[-1] else 2.0
        assert fitted.encode(frame)[0, 1] == unseen
    assert set(found) == {("a", "b"), ("a", "b", "rare")}


def test_notices_and_refusals_are_those_of_csv_files(table):
    frame, y = table
    quick = EnergyClassifier("supervised", **QUICK, steps=1, run_eagerly=True)
    named = frame.assign(name=[f"customer {i}" for i in range(len(y))], one="x")
    with pytest.warns(UserWarning) as notices:
        fitted = quick.fit(named, y)
    texts = " ".join(str(notice.message) for notice in notices)
    assert "`X`: left out, as a name or number of each row: name" in texts
    assert "`X`: dropped, as nearly all rows hold one value: one" in texts
    assert fitted.n_features_in_ == 8 and len(fitted.schema_.columns) == 7
    days = pd.Timestamp("2024-01-05") + pd.to_timedelta(range(len(y)), "D")
    euros = [f"{i},5" for i in range(len(y))]
    for cells, message in (
        (days, "dates and times must be numbers.*by `X.drop"),
        (euros, "written like 1234.5.*'0,5' in column 'extra'"),
        (days - days[0], "durations as numbers"),
        (np.where(np.arange(len(y)) == 3, np.inf, 0.5), "must be finite.*row 3"),
    ):
        with pytest.raises(ValueError, match=message):
            quick.fit(frame.assign(extra=cells), y)
    with pytest.raises(TypeError, match="Received: .1.*type list.* row 0"):
        quick.fit(frame.assign(extra=[[1]] * len(y)), y)


def test_declared_categories_stay_so_though_they_are_numbers():
    codes = pd.Series([3, 1, None, 1] * 5, dtype="category")
    frame = pd.DataFrame({"code": codes, "free": [1.5, 2.5, 3.5, 4.5] * 5})
    schema = frames.infer_frame(frame)
    assert schema.columns[0].vocabulary == ("1", "3")
    frame["code"] = frame["code"].astype(float)
    rows = frames.encode_frame(frame[:4], schema)
    np.testing.assert_array_equal(rows[:, 0], [1.0, 0.0, np.nan, 0.0])


def test_few_rows_with_words_are_scored_by_models_of_the_others():
    rng, count = np.random.default_rng(0), 40
    frame = pd.DataFrame(
        {
            "n": rng.normal(size=count),
            "w": rng.choice(["a", "b"], count),
            "gap": np.where(rng.random(count) < 0.3, np.nan, rng.normal(size=count)),
            "ms": 1.7e12 + rng.permutation(3_600_000)[:count],
        }
    )
    frame.loc[0, "w"] = "rare"  # Unseen by the model of its own fold.
    fitted = EnergyOutlierDetector(0.1, calibration="cross", random_state=0).fit(frame)
    assert fitted.schema_.columns[1].vocabulary == ("a", "b", "rare")
    # A word that no row has is as foreign to that fold's model as its rare one.
    one, other = frame[:1], frame[:1].assign(w="never")
    entries = [
        fitted.detector_.score._entries(fitted.encode(rows)).numpy()[0]
        for rows in (one, other)
    ]
    scores = fitted.detector_.score._by_fold(np.stack(entries)).numpy()
    same = np.isclose(scores[0], scores[1], rtol=1e-4)
    assert same.sum() == 1 and scores.shape == (2, 20)
    assert (fitted.predict(frame.assign(ms=1.8e12)) == -1).all()
