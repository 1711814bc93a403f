import keras
import numpy as np
import pytest
import tensorflow as tf
from explain_support import (
    NAN,
    SCHEMA,
    TRAIN,
    detector_at,
    half_square,
    linear,
    square_detector,
)
from keras import ops

from keras_ebm.explain import Explainer
from keras_ebm.layers import TableEncoder
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import Jitter
from keras_ebm.networks import mlp_energy
from keras_ebm.ood import ConformalDetector, Detector, Energy

# Standard scores 3 and 4: energy 12.5.
FAR = [70.0, 1.0, 6.0, 7.0, 0.0]


def explain(detector=None, **kwargs):
    return Explainer.for_detector(detector or square_detector(), TRAIN, **kwargs)


@pytest.fixture(scope="module")
def explainer():
    """Of a disk of radius 1, with the bounds of the training rows."""
    return explain()


def change(explainer, row):
    """What `acceptable` says of one row, as numpy."""
    return [value.numpy()[0] for value in explainer.acceptable(np.array([row]))]


# Contributions


def test_features_of_a_column_are_summed():
    # Features: age, height, height missing, blue, red, other, false, true, other.
    explainer = explain(detector_at(linear(range(1, 10)), 0.0), baseline=TRAIN[1])
    found = explainer.contributions([[60.0, -1.0, NAN, 9.0, 1.0]])
    # From (0, -1, 0, red, false) to (2, 0, 1, other, true), unit being dropped.
    expected = [2.0, 6.0 - 5.0, 2.0 + 3.0, 0.0, 8.0 - 7.0]
    np.testing.assert_allclose(found.contributions, [expected], rtol=1e-5)
    np.testing.assert_allclose(found.energy, [19.0], rtol=1e-6)
    np.testing.assert_allclose(found.baseline_energy, [10.0], rtol=1e-6)
    np.testing.assert_allclose(found.error, [0.0], atol=1e-5)


def test_columns_of_a_quadratic_energy_contribute_their_squares():
    found = explain(baseline=TRAIN[0]).contributions([FAR, TRAIN[0]])
    # The baseline is at -1.5 and -1.
    expected = [[4.5 - 1.125, 0.0, 8.0 - 0.5, 0.0, 0.0], [0.0] * 5]
    np.testing.assert_allclose(found.contributions, expected, atol=1e-5)


def test_a_row_without_an_energy_has_no_contributions():
    # An infinite category is no category, and its energy NaN.
    explainer = explain(detector_at(linear(range(1, 10)), 0.0), baseline=TRAIN[1])
    found = explainer.contributions([[45.0, np.inf, 2.0, 7.0, 0.0], FAR])
    assert np.isnan(found.energy[0]) and np.isnan(found.contributions[0]).all()
    assert np.isfinite(found.contributions[1]).all()


def test_the_baseline_is_near_the_mean_and_likely(explainer):
    # Energies 1.625, 0.5, 0.125, 0.625, 1.625; of the three lower ones the squared
    # distances to the mean are 2.4, 1.45 and 3.05.
    np.testing.assert_array_equal(explainer.baseline, TRAIN[2])


# Changes


def test_the_nearest_is_on_the_ray_to_the_mean(explainer):
    row, changed, found, distance, energy = change(explainer, FAR)
    # Scores (0.6, 0.8) in units of 10 and 1. The search stops where the distance is
    # flat: 0.02 along the circle lengthen it by 2.5e-4.
    np.testing.assert_allclose(row, [46.0, 1.0, 2.8, 7.0, 0.0], atol=0.2)
    assert np.hypot((row[0] - 40.0) / 10.0, row[2] - 2.0) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(row[2], 2.8, atol=0.02)
    np.testing.assert_array_equal(changed, [True, False, True, False, False])
    assert found and distance == pytest.approx(4.0, abs=1e-3)
    assert 0.499 < energy <= 0.5


def test_a_bound_in_raw_units_is_kept_exactly():
    row, _, found, distance, _ = change(explain(bounds={"age": (30.0, 43.0)}), FAR)
    # Scores (0.3, sqrt(0.91)); see the test of the search for the tolerance.
    expected = np.array([0.3, np.sqrt(0.91)])
    np.testing.assert_allclose(row[[0, 2]], [43.0, 2.0 + expected[1]], atol=1e-2)
    assert found and row[0] <= 43.0
    assert distance == pytest.approx(np.hypot(*(expected - [3.0, 4.0])), abs=1e-3)


def test_an_accepted_row_comes_back_as_it_is():
    row = np.array([45.3, -1.0, 2.1, 9.0, NAN], np.float32)
    # Its age is outside of the bounds, which matters to rows that must change.
    result = change(explain(bounds={"age": (30.0, 32.0)}), row)
    np.testing.assert_array_equal(result[0], row)
    assert not result[1].any() and result[2] and result[3] == 0.0


def test_fixed_columns_and_words_stay():
    # Height stays at 0.6 standard scores, so the age may go to 0.8.
    start = np.array([70.0, -1.0, 2.6, 9.0, NAN], np.float32)
    row, changed, found, distance, _ = change(explain(fixed=["height (m)"]), start)
    np.testing.assert_array_equal(row[1:], start[1:])
    assert row[0] == pytest.approx(48.0, abs=5e-3)
    assert found and distance == pytest.approx(2.2, abs=1e-3)
    np.testing.assert_array_equal(changed, [True, False, False, False, False])


def test_a_missing_cell_stays_missing(explainer):
    row, changed, found, distance, _ = change(explainer, [70.0, 0.0, NAN, 7.0, 1.0])
    assert np.isnan(row[2]) and not changed[2]
    assert row[0] == pytest.approx(50.0, abs=5e-3)
    assert found and distance == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(
    "settings",
    [{"fixed": ["height (m)"]}, {"bounds": {"age": (60.0, 70.0)}}],
    ids=["fixed", "bounds"],
)
def test_what_cannot_be_reached_is_not_found(settings):
    row, changed, found, distance, energy = change(explain(**settings), FAR)
    np.testing.assert_array_equal(row, np.array(FAR, np.float32))
    assert not found and not changed.any() and np.isinf(distance)
    assert energy == pytest.approx(12.5, rel=1e-6)


def test_a_row_far_outside_a_columns_range_is_moved_into_it_or_not_found():
    # Its energy is bounded there, and low enough: the guard alone refuses it.
    encoder = TableEncoder(SCHEMA, drop_constant=True, bounded=True)
    encoder.adapt(TRAIN)
    detector = detector_at(half_square(9, numeric=2), 50.0, encoder)
    guarded = Detector(detector.model, Energy(), detector.conformal, 0.1, guard=True)
    start = [1e6, 0.0, 2.0, 7.0, 1.0]
    assert not guarded.predict(np.array([start], np.float32))["accept"][0]
    row, _, found, distance, _ = change(explain(guarded), start)
    assert found and distance > 0.0 and row[0] <= 55.0
    assert guarded.predict(row[None])["accept"][0]
    _, _, found, distance, _ = change(explain(guarded, fixed=["age"]), start)
    assert not found and np.isinf(distance)


@pytest.mark.parametrize("cell", [np.inf, -np.inf])
def test_an_infinite_cell_makes_a_row_unacceptable(explainer, cell):
    start = [cell, 0.0, 6.0, 7.0, 1.0]
    row, changed, found, distance, energy = change(explainer, start)
    np.testing.assert_array_equal(row, np.array(start, np.float32))
    assert not found and not changed.any() and not np.isfinite(energy)
    assert np.isinf(distance)


def test_columns_that_do_not_matter_keep_every_digit():
    # A mean and a spread of ages with which decoding rounds.
    encoder = TableEncoder(SCHEMA, drop_constant=True)
    encoder.adapt(TRAIN * [1.37, 1.0, 1.0, 1.0, 1.0])
    explainer = explain(detector_at(linear([0.0, 1.0] + [0.0] * 7), 0.5, encoder))
    ages = np.linspace(30.0, 50.0, 50, dtype=np.float32)
    rows = np.tile(np.array(FAR, np.float32), (50, 1))
    rows[:, 0] = ages
    found = explainer.acceptable(rows)
    np.testing.assert_array_equal(found.rows[:, 0], ages)
    np.testing.assert_allclose(found.rows[:, 2], np.full(50, 2.5), atol=1e-3)
    np.testing.assert_array_equal(found.changed[0], [False, False, True, False, False])


def hill(num_features):
    """Energy of a well at 0, a hill of 4 nats at score 2, a well of 2 nats at 3."""
    inputs = keras.Input((num_features,))
    z = ops.abs(inputs[:, :1])
    far = 2.0 + 4.0 * ops.relu(z - 3.0) + 2.0 * ops.relu(3.0 - z)
    return keras.Model(inputs, -ops.minimum(2.0 * z, far))


def test_a_typical_row_leads_out_of_a_well_that_is_too_high():
    explainer = explain(detector_at(hill(9), 1.0), bounds={"age": (0.0, 100.0)})
    # From score 3.5 the descent ends at 3; the level 1 is at score 0.5.
    row, _, found, distance, _ = change(explainer, [75.0, 0.0, 2.0, 7.0, 0.0])
    assert found and distance == pytest.approx(3.0, abs=1e-3)
    assert row[0] == pytest.approx(45.0, abs=1e-2)


def two_clusters(num_features):
    """Logits of unit Gaussians at -3 and 3 of the first feature."""
    inputs = keras.Input((num_features,))
    z, rest = inputs[:, :1], ops.square(inputs[:, 1:2])
    squares = [ops.square(z - middle) + rest for middle in (-3.0, 3.0)]
    return keras.Model(inputs, -0.5 * ops.concatenate(squares, axis=-1))


def test_the_threshold_is_that_of_the_predicted_class():
    single = detector_at(two_clusters(9), 0.0)
    by_class = ConformalDetector(
        np.repeat([0.5, 2.0], 9), calibration_classes=np.repeat([0, 1], 9)
    )
    detector = Detector(single.model, Energy(), by_class, 0.1)
    explainer = explain(detector, bounds={"age": (-100.0, 200.0)})
    # Scores -6 and 6; thresholds 0.5 and 2 are radii 1 and 2.
    found = explainer.acceptable([[-20.0, 0, 2.0, 7, 0], [100.0, 0, 2.0, 7, 0]])
    np.testing.assert_allclose(found.rows[:, 0], [0.0, 90.0], atol=1e-2)
    np.testing.assert_allclose(found.distance, [2.0, 1.0], atol=1e-3)


def test_bounds_hold_where_scores_are_quantiles():
    rng = np.random.default_rng(0)
    train = np.exp(rng.normal(size=(200, 2)) * [0.5, 2.0]).astype(np.float32)
    encoder = TableEncoder(transform="quantile")
    encoder.adapt(train)
    detector = detector_at(half_square(2, numeric=2), 0.5, encoder)
    explainer = Explainer.for_detector(detector, train, bounds={"1": (0.3, 0.9)})
    rows = train * np.exp(rng.normal(size=(200, 2))).astype(np.float32)
    rows = rows[~detector.predict(rows)["accept"]]
    found = explainer.acceptable(rows)
    assert len(rows) > 50 and found.found.numpy().all()
    assert detector.predict(found.rows.numpy())["accept"].all()
    low, high = found.rows.numpy().min(axis=0), found.rows.numpy().max(axis=0)
    assert low[0] >= train[:, 0].min() and high[0] <= train[:, 0].max()
    assert low[1] >= np.float32(0.3) and high[1] <= np.float32(0.9)
    # The least that must change is known: a point of the disk and the box.
    scores = np.asarray(encoder(rows))
    ends = np.asarray(encoder(np.array([[1.0, 0.3], [1.0, 0.9]], np.float32)))[:, 1]
    inside = np.clip(scores[:, 1], *ends)
    least = np.maximum(
        np.hypot(scores[:, 0], inside) - 1.0, np.abs(scores[:, 1] - inside)
    )
    assert (found.distance.numpy() >= least - 1e-4).all()


# On a real table


@pytest.fixture(scope="module")
def cancer():
    """`(explainer, foreign rows)` of a trained model of 30 columns."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_breast_cancer(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    x, y = x[order].astype(np.float32), y[order]
    encoder = TableEncoder()
    encoder.adapt(x[:340])
    keras.utils.set_random_seed(0)
    network = mlp_energy((30,), num_outputs=2, hidden=(32, 32))
    model = EnergyModel(
        network, preprocessor=encoder, negatives=Jitter(), objective="logistic"
    )
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(x[:340], y[:340], batch_size=32, epochs=15, verbose=0)
    detector = Detector.calibrate(model, x[340:], target_fpr=0.05)
    noise = rng.normal(size=(24, 30)) * x.std(axis=0)
    explainer = Explainer.for_detector(detector, x[:340], fixed=["0", "7"])
    foreign = (x[340:364] + noise).astype(np.float32)
    return explainer, foreign[~detector.predict(foreign)["accept"]]


def test_contributions_to_a_trained_energy_are_complete(cancer):
    explainer, foreign = cancer
    found = explainer.contributions(foreign)
    # What 30 contributions of tens of nats in float32 leave; the quadrature's own
    # error is smaller (see NUM_NODES).
    np.testing.assert_allclose(found.error, np.zeros(len(foreign)), atol=2e-4)
    energy = explainer.detector.predict(foreign)["energy"]
    np.testing.assert_allclose(found.energy, energy, rtol=1e-5)
    assert np.abs(found.contributions).max() > 1.0


def test_changed_rows_pass_within_their_bounds(cancer):
    explainer, foreign = cancer
    found = explainer.acceptable(foreign)
    rows = found.rows.numpy()
    assert len(foreign) > 10 and found.found.numpy().all()
    # In batches of other sizes, whose rounding differs.
    for batch_size in (1, 256):
        assert explainer.detector.predict(rows, batch_size)["accept"].all()
    np.testing.assert_array_equal(rows[:, [0, 7]], foreign[:, [0, 7]])
    np.testing.assert_array_equal(found.changed, rows != foreign)
    for name, (low, high) in explainer.bounds.items():
        cells = rows[:, int(name)]
        assert (np.float32(low) <= cells).all() and (cells <= np.float32(high)).all()
    encode = explainer.detector.model.preprocess
    moved = np.linalg.norm(encode(rows) - encode(foreign), axis=1)
    np.testing.assert_allclose(found.distance, moved, rtol=1e-4)


def test_quadratic_programming_finds_hardly_a_nearer_row(cancer):
    optimize = pytest.importorskip("scipy.optimize")
    explainer, foreign = cancer
    encode, level = explainer.detector.model.preprocess, explainer._level
    limit = explainer.detector.conformal.threshold(0.05) - level.slack
    look = tf.function(level.excess, autograph=False)

    def constraint(f):
        return limit - float(look(tf.constant(f[None], tf.float32))[0][0])

    def slope(f):
        return -look(tf.constant(f[None], tf.float32))[2][0].numpy().astype(float)

    found = explainer.acceptable(foreign[:3])
    ends = [explainer.bounds.get(str(column), (0.0, 0.0)) for column in range(30)]
    ends = encode(np.array(ends, np.float32).T).numpy().T
    starts, results = encode(foreign[:3]).numpy(), encode(found.rows).numpy()
    for start, end, distance in zip(starts, results, found.distance, strict=True):
        ends[[0, 7]] = start[[0, 7], None]
        best = optimize.minimize(
            lambda f, start=start: np.square(f - start).sum(),
            end,
            jac=lambda f, start=start: 2.0 * (f - start),
            bounds=ends,
            constraints={"type": "ineq", "fun": constraint, "jac": slope},
            method="SLSQP",
            # A float32 energy of tens of nats has noise of 1e-6: with scipy's own
            # tolerance of 1e-6, 3 of 40 searches never ended.
            options={"ftol": 1e-4},
        )
        assert best.success and constraint(best.x) > -1e-4
        # 2 % is the worst of the measurements that NUM_ROUNDS was chosen by.
        assert distance < 1.02 * np.sqrt(best.fun)


# Input that cannot be


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"bounds": {"colour": (0, 1)}},
            r"of: age, height \(m\). Received: .*'colour'",
        ),
        ({"bounds": {"unit": (0, 1)}}, "numeric columns that the model has a feature"),
        ({"bounds": {"weight": (0, 1)}}, "'weight'"),
        ({"bounds": {"age": (3, 1)}}, r"the lower first. Received: \(3, 1\) for 'age'"),
        ({"bounds": {"age": (0, np.inf)}}, "two finite numbers"),
        ({"bounds": {"age": 3}}, "two finite numbers"),
        ({"fixed": ["ages"]}, "`fixed` must name columns: age, colour.*'ages'"),
        ({"fixed": "ages"}, "'ages'"),
        ({"fixed": ["age"], "bounds": {"age": (0, 1)}}, "'age' in both"),
        ({"baseline": TRAIN[0, :3]}, r"`baseline` must be raw rows of shape \(n, 5\)"),
        ({"baseline": TRAIN[:1]}, "`baseline` must be one raw row"),
        ({"baseline": [np.inf, 0, 1, 7, 0]}, "`baseline`.*finite.*inf"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        explain(**settings)


@pytest.mark.parametrize("shape", [(5,), (2, 4), (1, 2, 5)])
def test_rows_of_another_shape_are_refused(explainer, shape):
    for method in (explainer.contributions, explainer.acceptable):
        with pytest.raises(ValueError, match=r"`x` must be raw rows of shape \(n, 5\)"):
            method(np.zeros(shape))


def test_training_rows_without_an_energy_are_refused():
    with pytest.raises(ValueError, match="whose energy is finite. Received: 2 rows"):
        Explainer.for_detector(square_detector(), np.full((2, 5), np.inf))


def test_another_score_is_refused_with_the_remedy():
    single = square_detector()
    detector = Detector.calibrate(
        single.model, TRAIN, score="max_logit", target_fpr=0.5
    )
    with pytest.raises(ValueError, match="score 'max_logit'.*score='energy'"):
        explain(detector)


def test_a_model_of_no_table_is_refused():
    model = EnergyModel(half_square(4, numeric=4))
    detector = Detector(model, Energy(), ConformalDetector(np.zeros(9)), 0.1)
    with pytest.raises(ValueError, match="TableEncoder. Received: .*NoneType"):
        explain(detector)
