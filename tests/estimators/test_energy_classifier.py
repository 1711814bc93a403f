import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from keras_ebm.estimators import EnergyClassifier
from keras_ebm.estimators.classifier import METHODS

#: Small and without a graph, as scikit-learn's checks fit some fifty of them.
QUICK = {
    "hidden": (16,),
    "generator_hidden": (8,),
    "dropout": 0.0,
    "steps": 12,
    "batch_size": 32,
    "learning_rate": 0.1,
    "ramp_steps": 0,
    "random_state": 0,
    "run_eagerly": True,
}


@parametrize_with_checks([EnergyClassifier("supervised", **QUICK)])
def test_it_keeps_to_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_fit_idempotent,
        estimator_checks.check_estimators_pickle,
        estimator_checks.check_methods_subset_invariance,
        estimator_checks.check_classifiers_one_label,
        estimator_checks.check_classifiers_train,
    ],
)
def test_it_keeps_to_them_with_a_generator_too(check):
    # What all methods share, such as the checks of rows, was tried above.
    check("EnergyClassifier", EnergyClassifier("vera", **QUICK))


@pytest.fixture(scope="module")
def iris():
    """Iris with ten labels a class, and all of them."""
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(150)
    x, y = x[order], y[order]
    few = np.full(150, -1)
    for code in range(3):
        few[np.flatnonzero(y == code)[:10]] = code
    return x, few, y


@pytest.fixture(scope="module")
def fitted(iris):
    x, few, _ = iris
    return EnergyClassifier(steps=300, hidden=(64, 64), random_state=0).fit(x, few)


def test_rows_without_labels_are_classified(iris, fitted):
    x, few, y = iris
    unlabelled = few == -1
    # 120 rows: linear classifiers with all labels reach .97, and .03 is twice the
    # standard error there.
    assert fitted.score(x[unlabelled], y[unlabelled]) > 0.9
    assert fitted.classes_.tolist() == [0, 1, 2]


NAMES = np.array(["setosa", "versicolor", "virginica"], object)
QUICK_IRIS = {**QUICK, "method": "supervised", "run_eagerly": False, "steps": 30}


@pytest.mark.parametrize("absent", ["-1", -1, None, np.nan, pd.NA])
def test_labels_may_be_words_and_absent(iris, absent):
    x, few, _ = iris
    words = NAMES[few]
    words[few == -1] = absent
    by_words = EnergyClassifier(**QUICK_IRIS).fit(x, words)
    assert by_words.classes_.tolist() == list(NAMES)
    by_codes = EnergyClassifier(**QUICK_IRIS).fit(x, few)
    np.testing.assert_array_equal(by_words.predict(x), NAMES[by_codes.predict(x)])


@pytest.mark.parametrize("dtype", [object, "Int64", float])
def test_numbers_may_be_absent(iris, dtype):
    x, few, _ = iris
    labels = pd.Series(few, dtype=dtype).where(few != -1)
    found = EnergyClassifier(**{**QUICK, "steps": 2}).fit(x, labels)
    assert found.classes_.tolist() == [0, 1, 2]


def test_booleans_may_be_absent(iris):
    x, few, _ = iris
    labels = pd.Series(few == 0, dtype="boolean").mask(few == -1)
    found = EnergyClassifier(**{**QUICK, "steps": 2}).fit(x, labels)
    assert found.classes_.tolist() == [False, True]
    assert found.predict(x).dtype == bool


def test_labels_that_are_fractions_are_refused(iris):
    with pytest.raises(ValueError, match="Received: 0.95, a continuous value"):
        EnergyClassifier(**QUICK).fit(iris[0], np.where(iris[2] > 0, 0.95, 0.05))


def test_minus_one_beside_zero_alone_is_no_class(iris):
    with pytest.raises(ValueError, match="one class.*-1 beside others than 1 means"):
        EnergyClassifier(**QUICK).fit(iris[0], np.where(iris[2] > 0, 0, -1))


def test_probabilities_logits_and_classes_agree(iris, fitted):
    x = iris[0]
    probabilities = fitted.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)
    logits = fitted.decision_function(x)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    np.testing.assert_array_equal(fitted.predict(x), logits.argmax(axis=1))


def test_score_samples_is_minus_the_energy(iris, fitted):
    x = iris[0].astype(np.float32)
    log_density = fitted.score_samples(x)
    np.testing.assert_allclose(log_density, -fitted.model_.energy(x), rtol=1e-4)
    far = fitted.score_samples(x * 20.0)
    assert far.mean() < log_density.mean()


def test_a_pickled_classifier_says_the_same(iris, fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        again.decision_function(iris[0]), fitted.decision_function(iris[0])
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fits_and_repeats(iris, method):
    x, few, _ = iris
    estimator = EnergyClassifier(method, **{**QUICK, "steps": 5})
    one, two = (clone(estimator).fit(x, few).predict_proba(x) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(one).all()


def test_it_stands_in_pipelines_searches_and_cross_validation():
    x, y = load_breast_cancer(return_X_y=True)
    estimator = EnergyClassifier("supervised", **QUICK)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), estimator),
        {"energyclassifier__feature_transform": ["quantile", "standardise"]},
        cv=2,
    ).fit(x[:300], y[:300])
    # All labels, and classes that a linear rule tells apart at .95.
    assert search.score(x[300:], y[300:]) > 0.9
    assert cross_val_score(estimator, x[:200], y[:200], cv=2).min() > 0.85


def test_global_draws_of_numpy_are_left_alone(iris):
    x, few, _ = iris
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    EnergyClassifier(**{**QUICK, "steps": 2}).fit(x, few)
    np.testing.assert_array_equal(np.random.random(3), expected)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"method": "magic"}, "`method` must be one of"),
        ({"steps": 0}, "`steps` must be an integer of at least 1"),
        ({"feature_transform": "rank"}, "`feature_transform` must be one of"),
        ({"method": "supervised", "learning_rate": 1e30}, "Training diverged"),
    ],
)
def test_bad_parameters_are_named(iris, arguments, message):
    x, few, _ = iris
    with pytest.raises((ValueError, RuntimeError), match=message):
        EnergyClassifier(**{**QUICK, **arguments}).fit(x, few)


def test_labels_of_one_class_are_refused(iris):
    with pytest.raises(ValueError, match="one class"):
        EnergyClassifier(**QUICK).fit(iris[0], np.zeros(150))


def test_the_classes_are_the_labels_that_occur():
    x = np.random.default_rng(0).normal(size=(12, 3))
    y = np.array([1, 2, 7, -1] * 3)
    found = EnergyClassifier(**{**QUICK, "steps": 2}).fit(x, y)
    assert found.classes_.tolist() == [1, 2, 7]
    assert found.predict_proba(x).shape == (12, 3)
    assert set(found.predict(x)) <= {1, 2, 7}
