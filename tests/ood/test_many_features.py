"""Scores of many features: what is projected, and what is refused."""

import keras
import numpy as np
import pytest

import keras_ebm as ebm
from keras_ebm.metrics import auroc
from keras_ebm.ood import (
    KNN,
    ClassGaussian,
    Detector,
    Mahalanobis,
    Mixture,
    Nearest,
    RelativeMahalanobis,
    SumScore,
    load_score,
)
from keras_ebm.ood.projection import Projection
from keras_ebm.serving import export_ood_scorer

GAUSSIANS = (Mahalanobis, RelativeMahalanobis, ClassGaussian)
DIM, NUM_DIRECTIONS = 40, 6


def rows_of(count, seed, shift=0.0):
    """Rows that vary in 6 of 40 directions, three classes, and noise in the others."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(0)
    basis = np.linalg.qr(fixed.normal(size=(DIM, DIM)))[0]
    labels = np.arange(count) % 3
    inside = rng.normal(0.0, 3.0, (count, NUM_DIRECTIONS))
    inside += 6.0 * fixed.normal(size=(3, NUM_DIRECTIONS))[labels]
    outside = rng.normal(shift, 0.2, (count, DIM - NUM_DIRECTIONS))
    features = np.concatenate([inside, outside], axis=1) @ basis.T
    return {"features": features.astype(np.float32), "labels": labels}


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_few_features_are_not_projected(kind):
    train, new = rows_of(300, 1), rows_of(50, 2)
    exact = kind().fit(train)
    assert Projection.from_arrays(exact.arrays).is_none
    wider = kind(max_dim=DIM).fit(train)
    np.testing.assert_array_equal(exact.predict(new), wider.predict(new))


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_projected_scores_are_those_of_the_covariance_they_assume(kind):
    """True of these rows: one variance in all directions but six."""
    train, new = rows_of(3000, 1), rows_of(200, 2)
    exact, projected = (kind(max_dim=n).fit(train).predict(new) for n in (DIM, 6))
    assert np.corrcoef(exact, projected)[0, 1] > 0.95
    foreign = rows_of(200, 3, shift=0.3)
    for n in (DIM, 6):
        score = kind(max_dim=n).fit(train)
        found = auroc(score.predict(new), score.predict(foreign))
        # What the classes do not differ in cancels in the relative distance.
        assert found > (0.4 if kind is RelativeMahalanobis else 0.9)


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_a_projected_score_is_kept_and_rebuilt(kind):
    train, new = rows_of(100, 1), rows_of(20, 2)
    score = kind(max_dim=5).fit(train)
    again = load_score(score.state())
    np.testing.assert_array_equal(score.predict(new), again.predict(new))


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_states_of_earlier_versions_are_read(kind):
    train, new = rows_of(100, 1), rows_of(20, 2)
    score = kind().fit(train)
    new_names = ("projection_", "ridge", "global_ridge")
    state = {k: v for k, v in score.state().items() if not k.startswith(new_names)}
    state["config"] = np.array("{}")
    again = load_score(state)
    np.testing.assert_array_equal(score.predict(new), again.predict(new))


def test_the_leading_directions_are_the_principal_components():
    features = rows_of(2000, 1)["features"]
    found = Projection.fit(features, NUM_DIRECTIONS)
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    leading = vectors[:, ::-1][:, :NUM_DIRECTIONS]
    np.testing.assert_allclose(
        found.basis @ found.basis.T, leading @ leading.T, atol=1e-4
    )
    np.testing.assert_allclose(found.rest, values[:-NUM_DIRECTIONS].mean(), rtol=1e-3)


def virtual(*shape):
    """Zeros that take no memory."""
    return np.broadcast_to(np.float32(0.0), shape)


@pytest.mark.parametrize(
    "score, train, message",
    [
        (KNN(), {"features": virtual(300_000, 1000)}, "`knn`.*take 1.2 GB; give fewer"),
        (Nearest(), {"inputs": virtual(10**6, 784)}, "`nearest`.*10+ training rows"),
        (
            Mahalanobis(max_dim=20_000),
            {"features": virtual(10, 20_000), "labels": virtual(10)},
            "20000 features, which take 1.6 GB; lower `max_dim`",
        ),
        (
            ClassGaussian(),
            {"features": virtual(5000, 600), "labels": np.arange(5000)},
            "5000 covariance.* of 512 features",
        ),
        (Mixture(), {"inputs": virtual(100, 10_000)}, "10 covariances of 10000"),
    ],
)
def test_arrays_above_a_gigabyte_are_refused_before_any_work(score, train, message):
    with pytest.raises(ValueError, match=message):
        score.fit(train)


def test_an_export_that_would_not_fit_is_refused_before_it_is_written(tmp_path):
    inputs = keras.Input((2,))
    network = keras.Model(inputs, keras.layers.Dense(1, name="logits")(inputs))
    model = ebm.EnergyModel(network)
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    detector = Detector.calibrate(model, x, target_fpr=0.1)
    detector.score = SumScore(KNN(), Nearest())
    for part in detector.score.scores:
        part.arrays = {"rows": virtual(125_000, 2000)}
    with pytest.raises(ValueError, match="1.9 GB at most.*'knn.nearest' of 2 GB"):
        export_ood_scorer(detector, tmp_path / "served", x)
    assert not list(tmp_path.iterdir())
