import json
import pickle
import warnings

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from keras_ebm.estimators import EnergyOutlierDetector
from keras_ebm.mixtures import Mixture
from keras_ebm.ood import conformal_band
from keras_ebm.serving import export_ood_scorer
from keras_ebm.serving.export import CARD

QUICK = {
    "hidden": (8,),
    "steps": 5,
    "batch_size": 8,
    "random_state": 0,
    "run_eagerly": True,
}
#: A rate that few rows can keep.
LOOSE = {"target_fpr": 0.4, "calibration_share": 0.3}


@pytest.mark.filterwarnings("ignore:.*as there are only:UserWarning")
@parametrize_with_checks([EnergyOutlierDetector(random_state=0)])
def test_it_keeps_to_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def cancer():
    """Benign samples to fit on and to test with, and malignant ones."""
    x, y = load_breast_cancer(return_X_y=True)
    benign = x[y == 1][np.random.default_rng(0).permutation(np.sum(y == 1))]
    return benign[:200], benign[200:], x[y == 0]


@pytest.fixture(scope="module")
def fitted(cancer):
    return EnergyOutlierDetector(0.1, random_state=0).fit(cancer[0])


@pytest.mark.parametrize(
    "count, settings, calibration, rate, told",
    [
        (95, {}, 19, 0.05, 0),
        (40, {}, 19, 0.05, 1),
        (30, {}, 15, 1 / 16, 2),
        (6, {}, 2, 1 / 3, 2),
        (5, {}, 1, 1 / 2, 1),
        (30, {"target_fpr": 0.1}, 9, 0.1, 1),
        (30, {"calibration_share": 0.2}, 6, 1 / 7, 1),
        (12, {"target_fpr": 0.5, "calibration_share": 0.25}, 3, 0.5, 0),
    ],
)
def test_defaults_give_way_to_few_rows_and_say_so(
    count, settings, calibration, rate, told
):
    x = np.random.default_rng(0).normal(size=(count, 3))
    detector = EnergyOutlierDetector(**settings, calibration="split", random_state=0)
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        detector.fit(x)
    notices = [n for n in notices if "as there are only" in str(n.message)]
    assert len(notices) == told
    assert all(notice.filename == __file__ for notice in notices)
    assert detector.detector_.conformal.sizes.tolist() == [calibration]
    assert detector.target_fpr_ == rate
    assert detector.get_params()["target_fpr"] == settings.get("target_fpr")


@pytest.mark.parametrize(
    "count, settings, message",
    [
        (12, {"target_fpr": 0.05}, "0.05 needs 19 calibration rows.*n_samples = 12"),
        (12, {"target_fpr": 0.1, "calibration_share": 0.5}, "leaves 6"),
    ],
)
def test_a_rate_that_was_asked_for_is_refused(count, settings, message):
    x = np.random.default_rng(0).normal(size=(count, 3))
    with pytest.raises(ValueError, match=message):
        EnergyOutlierDetector(**settings, calibration="split").fit(x)


def test_malignant_samples_are_outliers_of_benign_ones(cancer, fitted):
    _, benign, malignant = cancer
    scores = [fitted.score_samples(x) for x in (benign, malignant)]
    truth = np.repeat([0, 1], [len(benign), len(malignant)])
    # The nearest benign row alone gives about .95; two standard errors are .03.
    assert roc_auc_score(truth, -np.concatenate(scores)) > 0.92


def test_the_share_refused_is_within_the_conformal_band(cancer, fitted):
    _, benign, _ = cancer
    refused = np.mean(fitted.predict(benign) == -1)
    low, high = conformal_band(0.1, 40, len(benign), 0.99)
    assert low <= refused <= high


def test_far_rows_are_refused_and_the_sign_is_that_of_the_decision(fitted, cancer):
    far = cancer[0] * 10.0
    assert np.all(fitted.predict(far) == -1)
    decision = fitted.decision_function(cancer[1])
    np.testing.assert_array_equal(fitted.predict(cancer[1]) == 1, decision >= 0)
    accepted = fitted.detector_.predict(cancer[1].astype(np.float32))["accept"]
    np.testing.assert_array_equal(accepted, decision >= 0)


def test_a_pickled_detector_scores_the_same(fitted, cancer):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        again.score_samples(cancer[1]), fitted.score_samples(cancer[1])
    )


@pytest.mark.parametrize("score", ["nearest", "mixture"])
def test_one_part_alone_needs_no_training(cancer, score):
    detector = EnergyOutlierDetector(0.1, ood_score=score, random_state=0)
    detector.fit(cancer[0])
    assert np.mean(detector.predict(cancer[2]) == -1) > 0.5


def test_without_an_energy_there_is_no_network(fitted):
    layers = [layer.name for layer in fitted.detector_.model.network.layers]
    assert layers == ["inputs", "logits", "base"]
    # Nothing is added to the mixture that the score is a distance in.
    x = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)
    entries = fitted.detector_.model.preprocess(x)
    mixture = Mixture.from_arrays(fitted.detector_.score.scores[1].arrays)
    energy = fitted.detector_.predict(x)["energy"]
    np.testing.assert_allclose(energy, -mixture.log_density(entries), rtol=1e-5)


def test_an_energy_is_trained_where_it_is_asked_for(cancer):
    settings = {"steps": 100, "hidden": (32,), "random_state": 0}
    detector = EnergyOutlierDetector(0.1, ood_score="energy+nearest", **settings)
    detector.fit(cancer[0])
    scores = detector.score_samples(np.concatenate(cancer[1:]))
    truth = np.repeat([0, 1], [len(cancer[1]), len(cancer[2])])
    assert roc_auc_score(truth, -scores) > 0.92
    weights = detector.detector_.model.network.get_layer("logits").get_weights()
    assert np.abs(weights[0]).max() > 0.0


@pytest.fixture(scope="module")
def small(cancer):
    with pytest.warns(UserWarning) as notices:
        detector = EnergyOutlierDetector(random_state=0).fit(cancer[0][:60])
    assert [str(notice.message) for notice in notices] == [
        "`calibration` is 'cross', whose `false_alarm_bound_` is 0.111, as there are "
        "only 60 rows"
    ]
    assert notices[0].filename == __file__
    return detector


def test_few_rows_are_each_scored_by_a_model_of_the_others(small, cancer):
    _, benign, malignant = cancer
    assert small.target_fpr_ == 0.05
    # Rank 3 of 60 rows in folds of three.
    assert small.false_alarm_bound_ == pytest.approx((2 * 2 + 3) / 63)
    assert small.offset_ == -58.0
    refused = np.mean(small.predict(benign) == -1)
    # As if of a split of 60 rows, which is narrower than half of them would be.
    low, high = conformal_band(0.05, 60, len(benign), 0.99)
    assert low <= refused <= high
    assert np.mean(small.predict(malignant) == -1) > 0.5
    scores = small.score_samples(np.concatenate([benign, malignant]))
    truth = np.repeat([0, 1], [len(benign), len(malignant)])
    assert roc_auc_score(truth, -scores) > 0.92


def test_an_export_of_folds_decides_by_itself(small, cancer, tmp_path):
    x = cancer[1][:16].astype(np.float32)
    x[0] *= 100.0
    version = export_ood_scorer(small.detector_, tmp_path / "served", x)
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    names = list(served.structured_input_signature[1])
    answers = served(**{names[0]: tf.constant(x)})
    passes = small.decision_function(x) >= 0
    np.testing.assert_array_equal(answers["accept"], passes)
    assert not passes[0] and passes[1:].mean() > 0.5
    np.testing.assert_allclose(answers["p_value"][0], 1 / 61, rtol=1e-6)
    card = json.loads((version / CARD).read_text("utf-8"))
    assert card["calibration"] == "cross"
    assert card["false_alarms_at_most"] == small.false_alarm_bound_


def test_folds_are_pickled_too(small, cancer):
    again = pickle.loads(pickle.dumps(small))
    np.testing.assert_array_equal(
        again.score_samples(cancer[1]), small.score_samples(cancer[1])
    )


@pytest.mark.parametrize(
    "count, settings, told, rate",
    [
        (19, {}, 1, 0.05),
        (9, {}, 2, 0.1),
        (4, {}, 2, 0.2),
        (9, {"target_fpr": 0.1, "calibration": "cross"}, 0, 0.1),
        (187, {}, 1, 0.05),
        (188, {}, 0, 0.05),
        (50, {"target_fpr": 0.3}, 0, 0.3),
        (50, {"calibration_share": 0.4}, 0, 0.05),
    ],
)
def test_small_tables_are_told_how_their_rate_is_kept(count, settings, told, rate):
    detector = EnergyOutlierDetector(**settings)
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        crosses = detector._crosses(count)
    assert len(notices) == told
    assert crosses == (told > 0 or settings.get("calibration") == "cross")
    assert not crosses or detector.target_fpr_ == rate


@pytest.mark.parametrize(
    "count, settings, message",
    [
        (12, {}, "0.05 needs 19 rows, each scored.*n_samples = 12.*allow 0.0769"),
        (30, {"ood_score": "energy"}, "trains no networks.*'energy'.*'nearest.mixture"),
        (30, {"calibration_share": 0.5}, "must be None.*Received: 0.5"),
        (600, {}, "4 to 500 rows.*Received: 600 rows; take calibration='split'"),
        (3, {}, "4 to 500 rows.*Received: 3 rows"),
    ],
)
def test_what_folds_cannot_do_is_refused(count, settings, message):
    x = np.random.default_rng(0).normal(size=(count, 3))
    with pytest.raises(ValueError, match=message):
        EnergyOutlierDetector(0.05, calibration="cross", **settings).fit(x)


def test_a_rate_that_the_rows_cannot_keep_is_refused(cancer):
    with pytest.raises(ValueError, match="needs 199 cal.*leaves 40; .*'cross'"):
        EnergyOutlierDetector(0.005).fit(cancer[0])


def test_rows_that_are_all_the_same_are_refused():
    with pytest.raises(ValueError, match="Received: 100 rows of the same cells"):
        EnergyOutlierDetector(0.1).fit(np.ones((100, 3)))


@pytest.mark.parametrize("row", [0, 100, 299])
def test_one_missing_cell_of_300_rows_is_taken_wherever_it_falls(row):
    x = np.random.default_rng(0).normal(size=(300, 3))
    x[row, 1] = np.nan
    # Of the training rows, of those that scale scores, or of the calibration rows.
    detector = EnergyOutlierDetector(0.2, **QUICK).fit(x)
    gaps = np.array([[np.nan, 0.0, 0.0], [np.nan] * 3])
    assert np.isfinite(detector.score_samples(gaps)).all()


def test_times_in_milliseconds_are_told_apart():
    rng = np.random.default_rng(1)
    hour = 1.7e12 + rng.permutation(3_600_000)[:300]
    x = np.stack([hour, rng.normal(size=300)], axis=1)
    detector = EnergyOutlierDetector(0.1, **QUICK).fit(x)
    assert len(np.unique(detector.score_samples(x))) == 300
    np.testing.assert_array_equal(detector.predict([[1.7e12 + 3.6e9, 0.0]]), [-1])
    with pytest.raises(ValueError, match="too large|infinity"):
        detector.predict([[np.inf, 0.0]])
