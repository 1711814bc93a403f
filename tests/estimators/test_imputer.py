"""`EnergyImputer` on tables whose missing cells have a known answer."""

import pickle

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from keras_ebm.estimators import EnergyImputer
from keras_ebm.gapped_mixture import GappedMixture, fit_gapped_mixture
from keras_ebm.mixtures import fit_mixture

CORRELATED = GappedMixture(
    np.ones(1), np.array([[1.0, 2.0]]), np.array([[[1.0, 1.6], [1.6, 4.0]]])
)


def with_gaps(x, share, seed=0):
    random = np.random.default_rng(seed)
    return np.where(random.random(x.shape) < share, np.nan, x)


def two_clusters(rows=600):
    """Columns that are 0 or 5 together, with noise of 0.3."""
    random = np.random.default_rng(0)
    return 5.0 * random.integers(0, 2, (rows, 1)) + 0.3 * random.normal(size=(rows, 3))


def test_the_mean_of_what_is_missing_is_that_of_regression():
    x = np.array([[2.0, np.nan], [np.nan, 4.0], [np.nan, np.nan], [7.0, 8.0]])
    # 2 + 1.6 (2 - 1) / 1 and 1 + 1.6 (4 - 2) / 4.
    expected = [[2.0, 3.6], [1.8, 4.0], [1.0, 2.0], [7.0, 8.0]]
    np.testing.assert_allclose(CORRELATED.mean(x), expected)


def test_the_density_of_what_is_known_is_the_marginal():
    x = np.array([[2.0, np.nan], [np.nan, np.nan], [1.0, 2.0]])
    normal = 0.5 * np.log(2.0 * np.pi)
    both = 2.0 * normal + 0.5 * np.log(4.0 - 1.6**2)
    np.testing.assert_allclose(
        CORRELATED.log_density(x), [-0.5 - normal, 0.0, -both], atol=1e-12
    )


def test_draws_of_what_is_missing_have_its_spread():
    x = np.tile([[2.0, np.nan]], (4_000, 1))
    drawn = CORRELATED.draws(x, 1, np.random.default_rng(0))[0]
    np.testing.assert_array_equal(drawn[:, 0], 2.0)
    # Variance 4 - 1.6^2; standard errors of 0.02 and 0.013.
    assert abs(drawn[:, 1].mean() - 3.6) < 0.1
    assert abs(drawn[:, 1].std() - np.sqrt(1.44)) < 0.07


def test_rows_without_gaps_give_the_mixture_of_scikit_learn():
    x = two_clusters()
    found = fit_gapped_mixture(x, 2, ridge=0.01)
    same = fit_mixture(x, 2, ridge=0.01)
    ours = found.as_mixture().log_density(x.astype(np.float32))
    np.testing.assert_allclose(ours, found.log_density(x), atol=1e-3)
    np.testing.assert_allclose(ours, same.log_density(x.astype(np.float32)), atol=0.05)


def test_gaps_do_not_move_the_mixture_far():
    x = two_clusters(2_000)
    found = fit_gapped_mixture(with_gaps(x, 0.4), 2, ridge=1e-3)
    means = np.sort(found.means, axis=0)
    np.testing.assert_allclose(means, [[0.0] * 3, [5.0] * 3], atol=0.1)
    np.testing.assert_allclose(found.weights, [0.5, 0.5], atol=0.05)


@pytest.fixture(scope="module")
def imputer():
    x = two_clusters()
    return EnergyImputer(steps=40, num_draws=8, random_state=0).fit(with_gaps(x, 0.3))


@pytest.mark.parametrize("strategy", ["mean", "draw", "descent"])
def test_a_missing_cell_is_filled_from_its_cluster(imputer, strategy):
    x = np.array([[0.1, np.nan, 0.0], [np.nan, 5.1, np.nan], [1.0, 2.0, 3.0]])
    filled = imputer.set_params(strategy=strategy).transform(x)
    known = ~np.isnan(x)
    np.testing.assert_array_equal(filled[known], x[known])
    expected = np.array([[0.0] * 3, [5.0] * 3, [0.0] * 3])
    assert np.abs(filled - expected)[~known].max() < 1.2
    if strategy != "draw":
        assert np.abs(filled - expected)[~known].max() < 0.4


def test_an_imputer_comes_back_from_a_pickle(imputer):
    x = np.array([[0.1, np.nan, 0.0]])
    again = pickle.loads(pickle.dumps(imputer))
    np.testing.assert_array_equal(again.transform(x), imputer.transform(x))
    assert imputer.ratio_weight_ in (0.0, 0.5, 1.0)
    energies = imputer.model_.energy(np.zeros((2, 3), np.float32))
    assert energies.shape == (2,)


def test_it_stands_in_a_pipeline_and_names_its_columns():
    x = with_gaps(two_clusters(60), 0.2)
    pipeline = make_pipeline(StandardScaler(), EnergyImputer(steps=0))
    assert np.isfinite(pipeline.fit_transform(x)).all()
    assert list(pipeline.get_feature_names_out()) == ["x0", "x1", "x2"]


def test_scikit_learn_finds_its_conventions_kept():
    check_estimator(EnergyImputer(steps=0, num_components=1), on_skip=None)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"strategy": "mode"}, "`strategy` must be one of"),
        ({"steps": -1}, "`steps` must be an integer of at least 0"),
        ({"num_components": 0}, "`num_components` must be an integer"),
        ({"num_draws": 0}, "`num_draws` must be an integer"),
        ({"learning_rate": 0.0}, "`learning_rate` must be"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        EnergyImputer(**settings).fit(two_clusters(20))


def test_a_column_of_which_nothing_is_known_is_refused():
    x = two_clusters(20)
    x[:, 1] = np.nan
    with pytest.raises(ValueError, match="none in column 1"):
        EnergyImputer(steps=0).fit(x)
