"""Scores against closed forms, and the contract that all of them share."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import logsumexp, softmax
from sklearn.neighbors import NearestNeighbors

import keras_ebm.ood
from keras_ebm.metrics import auroc
from keras_ebm.ood import (
    KNN,
    SCORES,
    ConformalDetector,
    GeneralizedEntropy,
    Mixture,
    Nearest,
    Score,
    SumScore,
    load_score,
    make_score,
)

DIM, NUM_CLASSES = 6, 3
MEANS = 4.0 * np.eye(NUM_CLASSES, DIM)
LOGIT_SCORES = ["energy", "max_softmax", "max_logit", "entropy"]
CLASS_SCORES = ["mahalanobis", "relative_mahalanobis", "class_gaussian"]
SPECS = [
    *SCORES,
    "energy+knn",
    "class_gaussian+approximate_mass",
    "class_gaussian+energy+mixture",
]


def outputs_of(features):
    """A classifier on 6 features whose logits grow with what it knows."""
    return {
        "features": features.astype(np.float32),
        "inputs": features.astype(np.float32),
        "logits": (2.0 * features[:, :NUM_CLASSES]).astype(np.float32),
        "gradient_norm": np.linalg.norm(features[:, NUM_CLASSES:], axis=1).astype(
            np.float32
        ),
    }


def known_rows(seed, num_rows=300):
    """Three Gaussians of unit covariance, one a class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % NUM_CLASSES
    features = MEANS[labels] + rng.normal(size=(num_rows, DIM))
    return {**outputs_of(features), "labels": labels}


def foreign_rows(seed, num_rows=200):
    """A Gaussian far off, in directions that no class uses."""
    rng = np.random.default_rng(seed)
    center = np.concatenate([np.zeros(NUM_CLASSES), np.full(NUM_CLASSES, -6.0)])
    return outputs_of(center + rng.normal(size=(num_rows, DIM)))


def fitted(spec):
    return make_score(spec).fit(known_rows(0), known_rows(1))


@pytest.mark.parametrize("spec", SPECS)
def test_every_score_is_higher_on_foreign_inputs(spec):
    score = fitted(spec)
    known, foreign = score.predict(known_rows(2)), score.predict(foreign_rows(3))
    assert foreign.mean() > known.mean()
    assert auroc(known, foreign) > 0.9


def test_the_package_states_the_sign():
    statement = "every score is higher for an input"
    assert statement in " ".join(keras_ebm.ood.__doc__.split())


@pytest.mark.parametrize(
    "spec, closed_form",
    [
        ("energy", lambda z: -logsumexp(z, axis=1)),
        ("max_softmax", lambda z: 1.0 - softmax(z, axis=1).max(axis=1)),
        ("max_logit", lambda z: -z.max(axis=1)),
        ("entropy", lambda z: stats.entropy(softmax(z, axis=1), axis=1)),
    ],
)
def test_logit_scores_equal_their_formulas(spec, closed_form):
    logits = np.random.default_rng(0).normal(size=(50, 7)) * 5.0
    expected = closed_form(logits)
    value = make_score(spec).predict({"logits": logits})
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)


def test_max_softmax_still_orders_the_surest_rows():
    margins = np.array([20.0, 30.0, 60.0])
    logits = np.stack([margins, np.zeros(3)], axis=1)
    value = make_score("max_softmax").predict({"logits": logits})
    np.testing.assert_allclose(value, np.exp(-margins), rtol=1e-5)


def test_approximate_mass_is_the_gradient_norm_as_given():
    norms = np.array([0.0, 2.0, 1.0], np.float32)
    value = make_score("approximate_mass").predict({"gradient_norm": norms})
    np.testing.assert_array_equal(value, norms)


@pytest.mark.parametrize("k", [1, 10])
def test_knn_is_the_distance_scikit_learn_finds(k):
    train, test = known_rows(0), known_rows(1)
    unit = [
        a["features"] / np.linalg.norm(a["features"], axis=1)[:, None]
        for a in (train, test)
    ]
    expected = NearestNeighbors(n_neighbors=k).fit(unit[0]).kneighbors(unit[1])[0]
    value = KNN(k=k).fit(train).predict(test)
    np.testing.assert_allclose(value, expected[:, -1], atol=2e-4)


@pytest.mark.parametrize("k", [1, 5])
def test_nearest_is_the_distance_scikit_learn_finds(k):
    train, test = known_rows(0), known_rows(1)
    # Far from the origin, where products in float32 lose the distances.
    rows = [a["inputs"] + 100.0 for a in (train, test)]
    expected = NearestNeighbors(n_neighbors=k).fit(rows[0]).kneighbors(rows[1])[0]
    value = Nearest(k=k).fit({"inputs": rows[0]}).predict({"inputs": rows[1]})
    np.testing.assert_allclose(value, expected[:, -1], atol=1e-3)


def test_one_gaussian_is_the_mahalanobis_distance():
    # Far from the origin, where products in float32 lose the distances.
    x, z = (known_rows(seed)["inputs"] + 100.0 for seed in (0, 1))
    covariance = np.cov(x, rowvar=False, ddof=0)
    ridge = 1e-2 * np.trace(covariance) / DIM
    precision = np.linalg.inv(covariance + ridge * np.eye(DIM))
    value = Mixture(num_components=1).fit({"inputs": x}).predict({"inputs": z})
    expected = np.sqrt(squared_distance(z, x.mean(axis=0), precision))
    np.testing.assert_allclose(value, expected, rtol=1e-3)


def test_a_mixture_finds_clusters_of_unequal_size_and_spread():
    rng = np.random.default_rng(0)
    near = rng.normal(size=(400, 2)).astype(np.float32)
    far = (40.0 + 5.0 * rng.normal(size=(100, 2))).astype(np.float32)
    x = np.concatenate([near, far])
    ridge = 1e-2 * np.var(x, axis=0).mean() * np.eye(2)

    def log_density(z):
        parts = [
            stats.multivariate_normal(
                part.mean(axis=0), np.cov(part, rowvar=False, ddof=0) + ridge
            ).logpdf(z)
            + np.log(len(part) / 500)
            for part in (near, far)
        ]
        return logsumexp(parts, axis=0)

    z = np.concatenate([3.0 * near, far])
    peak = log_density(near.mean(axis=0))
    value = Mixture(num_components=2).fit({"inputs": x}).predict({"inputs": z})
    expected = np.sqrt(2.0 * np.maximum(0.0, peak - log_density(z)))
    # The ends of expectation maximisation, at its tolerance of 1e-3 nats.
    np.testing.assert_allclose(value, expected, atol=0.02)


def test_a_mixture_has_no_more_components_than_its_rows_allow():
    score = Mixture().fit(known_rows(0, num_rows=59))
    assert score.arrays["class_means"].shape == (2, DIM)


def test_knn_of_a_training_row_is_zero_up_to_rounding():
    train = known_rows(0)
    value = KNN(k=1).fit(train).predict(train)
    assert np.all(value >= 0.0) and value.max() < 1e-3


def test_a_row_without_active_features_is_at_distance_one():
    score = KNN(k=3).fit(known_rows(0))
    value = score.predict({"features": np.zeros((1, DIM))})
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)


def shared_gaussian(train):
    """Class means and inverse covariance, computed the plain way."""
    x, y = train["features"].astype(np.float64), train["labels"]
    means = np.stack([x[y == c].mean(axis=0) for c in range(NUM_CLASSES)])
    return means, inverse_covariance(x - means[y])


def inverse_covariance(residuals):
    covariance = np.cov(residuals, rowvar=False, ddof=0)
    ridge = 1e-3 * np.trace(covariance) / len(covariance)
    return np.linalg.inv(covariance + ridge * np.eye(len(covariance)))


def squared_distance(x, mean, precision):
    return np.einsum("nd,de,ne->n", x - mean, precision, x - mean)


def test_mahalanobis_equals_its_formula():
    train, test = known_rows(0), known_rows(1)
    means, precision = shared_gaussian(train)
    distances = [squared_distance(test["features"], m, precision) for m in means]
    value = fitted("mahalanobis").predict(test)
    np.testing.assert_allclose(value, np.min(distances, axis=0), rtol=1e-4)


def test_relative_mahalanobis_takes_off_the_distance_to_all_rows():
    train, test = known_rows(0), known_rows(1)
    x = train["features"].astype(np.float64)
    center = x.mean(axis=0)
    background = squared_distance(
        test["features"], center, inverse_covariance(x - center)
    )
    expected = fitted("mahalanobis").predict(test) - background
    value = fitted("relative_mahalanobis").predict(test)
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-3)


def test_class_gaussian_equals_scipy_mixture_density():
    train, test = known_rows(0), known_rows(1)
    x, z = (
        a["features"] / np.linalg.norm(a["features"], axis=1)[:, None]
        for a in (train, test)
    )
    y = train["labels"]
    means = [x[y == c].mean(axis=0) for c in range(NUM_CLASSES)]
    ridge = 1e-2 * np.mean(np.var(x - np.stack(means)[y], axis=0))
    log_density = [
        stats.multivariate_normal(
            means[c], np.cov(x[y == c], rowvar=False, ddof=0) + ridge * np.eye(DIM)
        ).logpdf(z)
        + np.log(np.mean(y == c))
        for c in range(NUM_CLASSES)
    ]
    value = fitted("class_gaussian").predict(test)
    np.testing.assert_allclose(value, -logsumexp(log_density, axis=0), rtol=1e-3)


@pytest.mark.parametrize("spec", CLASS_SCORES)
def test_class_scores_survive_dead_features(spec):
    train, test = known_rows(0), known_rows(1)
    for rows in (train, test):
        rows["features"][:, -1] = 0.0
    assert np.isfinite(make_score(spec).fit(train).predict(test)).all()


def test_a_class_of_one_row_is_usable_by_the_class_gaussian():
    train = known_rows(0)
    train["labels"][3::3] = -1  # leaves row 0 of class 0
    assert np.isfinite(make_score("class_gaussian").fit(train).predict(train)).all()


@pytest.mark.parametrize("spec", ["mahalanobis", "class_gaussian"])
def test_unlabelled_rows_do_not_move_a_class(spec):
    train = known_rows(0)
    more = {key: np.concatenate([train[key], train[key] * 9]) for key in train}
    more["labels"][300:] = -1
    expected = make_score(spec).fit(train).predict(train)
    np.testing.assert_array_equal(make_score(spec).fit(more).predict(train), expected)


def test_unlabelled_rows_are_neighbours():
    train = known_rows(0)
    train["labels"][:] = -1
    assert KNN(k=1).fit(train).predict(train).max() < 1e-3


def test_a_sum_adds_standard_deviations_of_labelled_validation_rows():
    validation = known_rows(1)
    validation["logits"][250:] = 100.0
    validation["labels"][250:] = -1
    score = make_score("energy+knn").fit(known_rows(0), validation)
    known = {key: validation[key][:250] for key in validation}
    total = score.predict(known)
    assert total.mean() == pytest.approx(0.0, abs=1e-4)
    parts = [fitted(spec).predict(known) for spec in ("energy", "knn")]
    expected = sum(stats.zscore(part.astype(np.float64)) for part in parts)
    np.testing.assert_allclose(total, expected, atol=1e-3)


def test_a_sum_of_three_adds_each_on_its_own_scale():
    score, known = fitted("energy+knn+mixture"), known_rows(1)
    parts = [fitted(f"{spec}+max_logit") for spec in ("energy", "knn", "mixture")]
    other = stats.zscore(-known["logits"].max(axis=1).astype(np.float64))
    expected = sum(part.predict(known) for part in parts) - 3.0 * other
    np.testing.assert_allclose(score.predict(known), expected, atol=1e-3)


def test_scores_of_inputs_know_the_validation_rows_of_a_sum_in_the_end():
    score = fitted("energy+nearest")
    nearest = score.scores[1]
    for seed in (0, 1):
        np.testing.assert_array_equal(nearest.predict(known_rows(seed)), 0.0)
    # Their scale is still that of rows which were not stored.
    alone = make_score("nearest").fit(known_rows(0)).predict(known_rows(1))
    assert score.arrays["means"][1] == pytest.approx(alone.mean(), rel=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_any_nan_in_makes_nan_out_in_that_row_alone(spec):
    score = fitted(spec)
    for key in score.requires:
        for column in {0, NUM_CLASSES - 1}:
            rows = known_rows(2, num_rows=3)
            rows[key] = rows[key].copy()
            rows[key][(1, column) if rows[key].ndim == 2 else 1] = np.nan
            np.testing.assert_array_equal(
                np.isnan(score.predict(rows)), [False, True, False]
            )


def test_a_score_that_skips_nan_cannot_hide_it():
    class Deaf(Score):
        requires = frozenset({"logits"})

        def _score(self, inputs):
            return tf.zeros(tf.shape(inputs["logits"])[0])

    value = Deaf().predict({"logits": np.array([[0.0, 1.0], [0.0, np.nan]])})
    np.testing.assert_array_equal(value, [0.0, np.nan])


@pytest.mark.parametrize("spec", SPECS)
def test_a_graph_gives_the_eager_score_for_any_batch_size(spec):
    score = fitted(spec)
    signature = {
        key: tf.TensorSpec([None, *known_rows(0)[key].shape[1:]], tf.float32)
        for key in score.requires
    }
    traced = tf.function(score, input_signature=[signature], autograph=False)
    for num_rows in (1, 7):
        rows = known_rows(2, num_rows)
        value = traced({key: tf.constant(rows[key]) for key in score.requires})
        assert value.dtype == tf.float32 and value.shape == (num_rows,)
        np.testing.assert_allclose(value, score.predict(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", SPECS)
def test_a_saved_state_loads_to_the_same_score(spec, tmp_path):
    score = fitted(spec)
    np.savez(tmp_path / "score.npz", **score.state())
    with np.load(tmp_path / "score.npz") as state:
        again = load_score(state)
    rows = known_rows(2)
    assert again.name == spec and type(again) is type(score)
    np.testing.assert_array_equal(again.predict(rows), score.predict(rows))


def test_constructor_arguments_are_part_of_the_state():
    state = KNN(k=3).fit(known_rows(0)).state()
    assert KNN.from_state(state).k == 3


def test_scores_and_decisions_travel_in_one_saved_model(tmp_path):
    score = fitted("energy+knn")
    detector = ConformalDetector(score.predict(known_rows(1)))
    module = tf.Module()
    module.serve = tf.function(
        lambda logits, features, rate: detector.accept(
            score({"logits": logits, "features": features}), rate
        ),
        input_signature=[
            tf.TensorSpec([None, NUM_CLASSES]),
            tf.TensorSpec([None, DIM]),
            tf.TensorSpec([]),
        ],
        autograph=False,
    )
    tf.saved_model.save(module, str(tmp_path))
    serve = tf.saved_model.load(str(tmp_path)).serve
    rows = foreign_rows(3)
    accepted = serve(rows["logits"], rows["features"], tf.constant(0.05))
    np.testing.assert_array_equal(accepted, detector.accept(score.predict(rows), 0.05))


def without(key):
    return {name: v for name, v in known_rows(0).items() if name != key}


def with_change(key, index, value):
    rows = known_rows(0)
    rows[key] = rows[key].copy()
    rows[key][index] = value
    return rows


@pytest.mark.parametrize(
    "spec, train, match",
    [
        ("mahalanobis", without("labels"), "key 'labels'"),
        ("knn", without("features"), "key 'features'"),
        ("nearest", without("inputs"), "key 'inputs'"),
        ("mixture", with_change("inputs", 7, np.nan), "1 of 300 rows, .* row 7"),
        ("mixture", known_rows(0, num_rows=1), "two or more. Received: 1"),
        ("knn", with_change("features", 7, np.nan), "1 of 300 rows, .* row 7"),
        ("class_gaussian", with_change("features", 7, np.inf), "must be finite"),
        ("mahalanobis", with_change("labels", slice(None), -1), "row with a label"),
        ("class_gaussian", with_change("labels", 0, 3), "labels from 0 to 3"),
        ("mahalanobis", with_change("features", slice(None), 1), "must vary"),
    ],
)
def test_training_rows_that_cannot_be_fitted_raise(spec, train, match):
    with pytest.raises(ValueError, match=match):
        make_score(spec).fit(train)


@pytest.mark.parametrize("spec", CLASS_SCORES)
def test_a_class_without_rows_changes_no_score_of_the_others(spec):
    train = known_rows(0)
    kept = train["labels"] != 1
    train = {key: value[kept] for key, value in train.items()}
    renumbered = {**train, "labels": train["labels"] // 2}
    known = known_rows(1, num_rows=30)
    np.testing.assert_array_equal(
        make_score(spec).fit(train).predict(known),
        make_score(spec).fit(renumbered).predict(known),
    )


def test_fewer_rows_than_neighbours_raise():
    with pytest.raises(ValueError, match="at least k=10 rows. Received: 9"):
        KNN(k=10).fit(known_rows(0, num_rows=9))
    with pytest.raises(ValueError, match="k=0"):
        KNN(k=0)
    with pytest.raises(ValueError, match="at least k=2 rows. Received: 1"):
        Nearest(k=2).fit(known_rows(0, num_rows=1))


@pytest.mark.parametrize("spec", ["knn", "mixture", *CLASS_SCORES, "energy+max_logit"])
def test_an_unfitted_score_raises(spec):
    with pytest.raises(ValueError, match="must be fitted before"):
        make_score(spec)({k: tf.constant(v) for k, v in known_rows(0).items()})
    with pytest.raises(ValueError, match="must be fitted before"):
        make_score(spec).state()


def test_absent_or_misshapen_outputs_raise():
    score = make_score("energy")
    with pytest.raises(ValueError, match=r"needs \['logits'\].*only \['features'\]"):
        score({"features": tf.zeros((2, 3))})
    with pytest.raises(ValueError, match="needs"):
        score.predict({"features": np.zeros((2, 3))})
    with pytest.raises(ValueError, match=r"must have rank 2.*\(3,\)"):
        score({"logits": tf.zeros(3)})


@pytest.mark.parametrize(
    "validation, match",
    [
        (None, "`validation` must be given"),
        ({"logits": np.zeros((5, 3))}, "must have the keys"),
        (with_change("labels", slice(None), -1), "at least one labelled row"),
        (with_change("logits", 3, np.nan), "1 of 300 rows with nan"),
    ],
)
def test_a_sum_needs_validation_rows_that_set_a_scale(validation, match):
    with pytest.raises(ValueError, match=match):
        make_score("energy+knn").fit(known_rows(0), validation)


@pytest.mark.parametrize("spec", ["enery", "", "energy+", "energy+energy"])
def test_an_unknown_name_raises_and_lists_the_known_ones(spec):
    with pytest.raises(ValueError, match="max_softmax, .*class_gaussian.*Received"):
        make_score(spec)


@pytest.mark.parametrize("far", [1.0, 1e4])
def test_rows_that_are_stored_are_at_no_distance(far):
    rng = np.random.default_rng(7)
    features = far + 0.1 * rng.normal(size=(500, 3)).astype(np.float32)
    score = Nearest().fit({"inputs": features})
    # In batches of other sizes than those of the rows, and one by one.
    for size in (1, 7, 500):
        part = {"inputs": features[:size]}
        np.testing.assert_array_equal(score.predict(part, batch_size=64), 0.0)
    shifted = {"inputs": features + np.float32([0.0, 0.0, 1.0])}
    exact = NearestNeighbors(n_neighbors=1).fit(features.astype(np.float64))
    expected = exact.kneighbors(shifted["inputs"].astype(np.float64))[0][:, 0]
    # Differences of float32 numbers of that size.
    np.testing.assert_allclose(score.predict(shifted), expected, rtol=1e-4, atol=1e-6)


def test_the_third_of_equal_rows_is_at_no_distance():
    features = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    score = Nearest(k=3).fit({"inputs": features})
    np.testing.assert_array_equal(score.predict({"inputs": features}), 0.0)
    score = Nearest(k=4).fit({"inputs": features})
    expected = np.float32(np.sqrt(2.0))
    np.testing.assert_array_equal(score.predict({"inputs": features}), expected)


def test_a_part_that_tells_nothing_is_left_out_of_a_sum():
    # Each of eight rows occurs often, so that every distance is 0.
    cube = np.indices((2, 2, 2)).reshape(3, -1).T.repeat(40, axis=0)
    rows = {**outputs_of(np.eye(3, DIM)[cube[:, 0]] + 1.0), "inputs": cube}
    rows["logits"] = np.random.default_rng(0).normal(size=(320, 3))
    score = make_score("energy+nearest")
    with pytest.warns(UserWarning, match="'nearest' is left out.*0 for each of 320"):
        score.fit(rows, rows)
    assert score.name == "energy" and score.requires == {"logits"}
    energy = -logsumexp(rows["logits"], axis=1)
    np.testing.assert_allclose(score.predict(rows), stats.zscore(energy), atol=1e-4)
    again = load_score(score.state())
    np.testing.assert_array_equal(again.predict(rows), score.predict(rows))


def test_rounding_is_no_information():
    rows = {**known_rows(0), "logits": np.full((300, 3), 5.0)}
    rows["logits"][::2] += 5e-7
    with pytest.warns(UserWarning, match="'energy' is left out"):
        score = make_score("energy+knn").fit(known_rows(0), rows)
    assert score.name == "knn"
    # Where nothing varies there is no scale, and the first score goes unscaled.
    with pytest.warns(UserWarning, match="left out"):
        score = make_score("energy+max_logit").fit(rows, rows)
    np.testing.assert_array_equal(score.predict(rows), fitted("energy").predict(rows))


def test_a_sum_of_one_raises():
    with pytest.raises(ValueError, match="two or more. Received: 1"):
        SumScore(make_score("energy"))


def test_a_state_of_another_score_raises():
    state = make_score("energy").state()
    with pytest.raises(ValueError, match="Received: one of 'energy'"):
        KNN.from_state(state)
    with pytest.raises(ValueError, match="Received: 'other'"):
        load_score({**state, "name": np.array("other")})


def test_generalized_entropy_equals_its_formula_to_the_surest_rows():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(size=(50, 7)) * 5.0, np.zeros((1, 7))])
    logits[-1, 3] = 60.0
    log_p = logits - logsumexp(logits, axis=1, keepdims=True)
    others = np.where(np.eye(7, dtype=bool), -np.inf, log_p[:, None, :])
    log_rest = logsumexp(others, axis=2)
    expected = np.exp(0.1 * (log_p + log_rest))
    value = make_score("generalized_entropy").predict({"logits": logits})
    np.testing.assert_allclose(value, expected.sum(axis=1), rtol=1e-4)
    largest = np.argsort(-log_p, axis=1)[:, :2]
    of_two = np.take_along_axis(expected, largest, axis=1).sum(axis=1)
    value = GeneralizedEntropy(num_classes=2).predict({"logits": logits})
    np.testing.assert_allclose(value, of_two, rtol=1e-4)


def linear_head(seed, scale=1.0):
    """Rows whose logits are a linear layer with a bias, and the layer."""
    rng = np.random.default_rng(seed)
    kernel, bias = np.random.default_rng(9).normal(size=(DIM, NUM_CLASSES)), [1, 2, -1]
    features = rng.normal(size=(400, DIM)) * scale * np.arange(1, DIM + 1)
    return {"features": features, "logits": features @ kernel + bias}, kernel, bias


def test_vim_is_the_energy_and_what_the_leading_directions_leave():
    train, kernel, bias = linear_head(0)
    origin = -np.linalg.pinv(kernel.T) @ bias
    _, _, directions = np.linalg.svd(train["features"] - origin)
    test = linear_head(1)[0]

    def left(rows):
        return np.linalg.norm((rows["features"] - origin) @ directions[3:].T, axis=1)

    alpha = train["logits"].max(axis=1).mean() / left(train).mean()
    expected = alpha * left(test) - logsumexp(test["logits"], axis=1)
    value = make_score("vim").fit(train).predict(test)
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-3)


def test_react_is_the_energy_of_features_that_are_cut_off():
    train, kernel, bias = linear_head(0)
    test = linear_head(1, scale=3.0)[0]
    limit = np.quantile(train["features"], 0.9)
    logits = np.minimum(test["features"], limit) @ kernel + bias
    value = make_score("react").fit(train).predict(test)
    np.testing.assert_allclose(value, -logsumexp(logits, axis=1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["vim", "react"])
def test_scores_of_a_linear_layer_refuse_another(name):
    rows = linear_head(0)[0]
    with pytest.raises(ValueError, match="that are a linear layer of the features"):
        make_score(name).fit({**rows, "logits": rows["logits"] ** 3})
