"""Sample quality against closed forms, naive sums, and real images."""

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from sklearn.datasets import load_digits

from keras_ebm.metrics import (
    FrechetDistance,
    InceptionFeatures,
    InceptionScore,
    KernelDistance,
    ReferenceStatistics,
    extractor_name,
    feature_extraction,
    frechet_distance,
    inception_score,
    kernel_distance,
    reference_statistics,
    references,
    sample_quality,
)


def draw(rows=300, size=5, shift=0.0, seed=0):
    return np.random.default_rng(seed).normal(shift, 1.0, (rows, size))


def moments(x):
    return x.mean(axis=0), np.cov(x, rowvar=False)


def batches(x, parts=7):
    return [tf.constant(part, tf.float32) for part in np.array_split(x, parts)]


def reference_of(x, **arguments):
    return reference_statistics(batches(x), None, **arguments)


def fill(metric, x, parts=7):
    for batch in batches(x, parts):
        metric.update_state(batch)
    return metric


# Frechet distance


def test_two_gaussians_have_the_closed_form():
    mean_a, mean_b = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 5.0])
    stddev_a, stddev_b = np.array([1.0, 2.0, 0.0]), np.array([3.0, 2.0, 1.0])
    expected = np.square(mean_a - mean_b).sum() + np.square(stddev_a - stddev_b).sum()
    found = frechet_distance(mean_a, np.diag(stddev_a**2), mean_b, np.diag(stddev_b**2))
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_shifted_mean_costs_its_square():
    mean, cov = moments(draw())
    assert frechet_distance(mean, cov, mean + 2.0, cov) == pytest.approx(5 * 4.0)


def test_covariances_that_do_not_commute_agree_with_scipys_root():
    (mean_a, cov_a), (mean_b, cov_b) = (
        moments(draw(seed=seed) @ np.random.default_rng(seed).normal(size=(5, 5)))
        for seed in (1, 2)
    )
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root)
    found = frechet_distance(mean_a, cov_a, mean_b, cov_b)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rows", [3, 40, 1000])
def test_a_set_has_no_distance_to_itself_though_its_covariance_is_singular(rows):
    mean, cov = moments(100.0 * draw(rows, size=200))
    # Roots of eigenvalues that rounding put above 0 would make 1e-4 of it.
    assert 0.0 <= frechet_distance(mean, cov, mean, cov) < 1e-10 * np.trace(cov)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((np.zeros(2), np.eye(2), np.zeros(3), np.eye(3)), r"mean_b \(3,\)"),
        ((np.zeros(2), np.eye(2) * np.nan, np.zeros(2), np.eye(2)), "4 of 4 values"),
        ((np.zeros(2), np.eye(2), np.zeros(2), np.diag([1, -1])), "`cov_b`.*-1.0"),
        ((np.zeros(2), [[1, 1], [0, 1]], np.zeros(2), np.eye(2)), "by up to 1.0"),
        ((np.zeros((1, 2)), np.eye(2), np.zeros(2), np.eye(2)), "rank 1"),
    ],
)
def test_what_is_no_gaussian_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(*arguments)


# Inception score


@pytest.mark.parametrize("splits", [1, 4])
def test_sure_and_even_classes_score_their_number_and_unsure_ones_1(splits):
    one_hot = np.tile(np.repeat(np.eye(5), 4, axis=0), (3, 1))
    assert inception_score(one_hot, splits) == pytest.approx((5.0, 0.0))
    assert inception_score(np.full((40, 5), 0.2), splits) == pytest.approx((1.0, 0.0))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def test_the_score_is_the_mean_divergence_of_each_split():
    p = softmax(3.0 * draw(60))
    scores = []
    for i in range(6):
        part = p[i::6]
        divergence = (part * np.log(part / part.mean(axis=0))).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    found = inception_score(p, 6)
    assert found == pytest.approx((np.mean(scores), np.std(scores)))


@pytest.mark.parametrize(
    "rows, splits, message",
    [
        (np.full((3, 2), 0.5), 4, "3 rows for splits=4"),
        (np.ones((4, 2)), 1, "apply a softmax"),
        (np.full((4, 2), np.nan), 1, "8 of 8 values"),
        (np.full((4, 2), 0.5), 0, "splits=0"),
    ],
)
def test_what_are_no_probabilities_is_refused(rows, splits, message):
    with pytest.raises(ValueError, match=message):
        inception_score(rows, splits)


# Kernel distance


def test_the_kernel_distance_is_the_sum_over_pairs():
    a, b = draw(7, seed=1), draw(5, shift=0.5, seed=2)

    def kernel(x, y):
        return (np.dot(x, y) / 5 + 1.0) ** 3

    within = [
        np.mean(
            [kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
        )
        for x in (a, b)
    ]
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b).value == pytest.approx(sum(within) - 2 * across)


def test_the_standard_error_is_the_jackknifes():
    a, b = draw(8, seed=1), draw(6, shift=1.0, seed=2)
    without_a = [kernel_distance(np.delete(a, i, 0), b).value for i in range(8)]
    without_b = [kernel_distance(a, np.delete(b, i, 0)).value for i in range(6)]
    variance = 7 * np.var(without_a) + 5 * np.var(without_b)
    assert kernel_distance(a, b).standard_error == pytest.approx(np.sqrt(variance))


def test_it_is_unbiased_for_one_distribution_and_positive_for_two(monkeypatch):
    monkeypatch.setattr(sample_quality, "CHUNK", 17)
    same = [
        kernel_distance(draw(40, seed=i), draw(60, seed=1000 + i)).value
        for i in range(400)
    ]
    # With each row's pair with itself it is (E k(x, x) - E k(x, y)) (1/40 + 1/60), of
    # which E k(x, x) = 1 + 3 + 3 * 1.4 + 2.52 and E k(x, y) = 1 + 3 / 5.
    biased = (10.72 - 1.6) * (1 / 40 + 1 / 60)
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(len(same)) < biased / 10
    other = kernel_distance(draw(300), draw(300, shift=0.7, seed=1))
    assert other.value > 5 * other.standard_error > 0.0


def test_its_error_is_the_spread_of_repetitions():
    found = [
        kernel_distance(draw(200, seed=i), draw(200, shift=1.0, seed=1000 + i))
        for i in range(100)
    ]
    spread = np.std([estimate.value for estimate in found])
    # The spread of 100 has a standard error of 7 %.
    assert np.mean([e.standard_error for e in found]) == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize("shape", [(2, 5), (4, 6)])
def test_few_rows_or_other_features_are_refused(shape):
    with pytest.raises(ValueError, match=r"at least 3 rows.*\(4, 5\)"):
        kernel_distance(draw(4), np.zeros(shape))


# Streaming


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_batches_give_the_value_of_the_whole(compiled):
    real, x = draw(200, seed=1), draw(150, shift=0.3, seed=2)
    p = softmax(x)
    reference = reference_of(real)
    metrics = [
        (FrechetDistance(reference, None), x),
        (KernelDistance(reference, None), x),
        (InceptionScore(None, splits=4), p),
        (InceptionScore(None, splits=4, from_logits=True), x),
    ]
    expected = [
        frechet_distance(*moments(x), *moments(real)),
        kernel_distance(x, real).value,
        inception_score(p, 4).mean,
        inception_score(p, 4).mean,
    ]
    for (metric, rows), value in zip(metrics, expected, strict=True):
        assert np.isnan(metric.result())
        for _ in range(2):  # The second time after a reset.
            metric.reset_state()
            assert np.isnan(metric.result())
            update = metric.update_state
            update = tf.function(update) if compiled and metric.variables else update
            for batch in batches(rows):
                update(batch)
            result = tf.function(metric.result) if compiled else metric.result
            assert float(result()) == pytest.approx(value, rel=1e-4)


def test_estimates_carry_their_spread():
    real, x = draw(50, seed=1), draw(30, seed=2)
    metric = fill(KernelDistance(reference_of(real), None), x)
    np.testing.assert_allclose(metric.estimate(), kernel_distance(x, real), rtol=1e-4)
    score = fill(InceptionScore(None, splits=3), softmax(x))
    expected = inception_score(softmax(x), 3)
    np.testing.assert_allclose(score.estimate(), expected, rtol=1e-5)


def test_sums_survive_a_mean_of_a_thousand_deviations():
    x = draw(500, shift=1000.0)
    reference = reference_statistics([tf.constant(x[:100]), tf.constant(x[100:])], None)
    np.testing.assert_allclose(reference.cov, moments(x)[1], rtol=1e-8, atol=1e-8)


def test_the_reservoir_draws_every_row_alike_and_none_twice():
    counts = np.zeros(40)
    for seed in range(100):
        reservoir = references.Reservoir(10, seed)
        for batch in batches(np.arange(40.0)[:, None], 3):
            reservoir.update_state(batch)
        kept = reservoir.kept()[:, 0].astype(int)
        assert len(set(kept)) == 10
        counts[kept] += 1
    # Binomial: 25 with a deviation of 4.3; the largest of 40 within 4.
    assert np.abs(counts - 25).max() < 4 * np.sqrt(100 * 0.25 * 0.75)


def test_the_reservoir_is_seeded_and_starts_afresh():
    x = draw(50)
    first, again, other = (
        KernelDistance(reference_of(x), None, capacity=20, seed=seed)
        for seed in (0, 0, 1)
    )
    values = [float(fill(metric, x).result()) for metric in (first, again, other)]
    assert values[0] == values[1] != values[2]
    first.reset_state()
    assert float(fill(first, x).result()) == values[0]


@pytest.mark.parametrize("kind", [FrechetDistance, KernelDistance])
@pytest.mark.parametrize("capacity", [5, 2000])
def test_a_nan_among_many_makes_the_result_nan(kind, capacity):
    x = draw(100)
    x[3, 2] = np.nan
    arguments = {} if kind is FrechetDistance else {"capacity": capacity}
    assert np.isnan(fill(kind(reference_of(draw()), None, **arguments), x).result())
    with pytest.raises(ValueError, match="must be finite"):
        reference_of(x)


def test_too_few_samples_warn_and_still_give_a_number():
    reference = reference_of(draw(6))
    metric = fill(FrechetDistance(reference, None), draw(5, seed=1))
    with pytest.warns(UserWarning, match="5 images for 5 features.*6 leave"):
        assert float(metric.result()) > 0.0
    with pytest.warns(UserWarning, match="the reference has 4 images"):
        reference_of(draw(4))
    with pytest.raises(ValueError, match="at least 2 images. Received: 1"):
        reference_of(draw(1))
    one = FrechetDistance(reference, None)
    one.update_state(tf.zeros((1, 5)))
    assert np.isnan(one.result())


# Extractors, reference files, configs


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return np.uint8(np.rint(x * 255 / 16)).reshape(-1, 8, 8, 1), y


@pytest.fixture(scope="module")
def classifier(digits):
    """A model of features and logits, trained on the digits for seconds."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(16, 3, activation="relu")(x)
    features = keras.layers.Dense(24, activation="silu")(keras.layers.Flatten()(x))
    logits = keras.layers.Dense(10)(features)
    model = keras.Model(inputs, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(digits[0], digits[1], batch_size=128, epochs=12, verbose=0)
    return keras.Model(inputs, {"features": features, "logits": logits})


def image_batches(x):
    return [tf.constant(part, tf.float32) for part in np.array_split(x, 5)]


@pytest.fixture(scope="module")
def split(digits, classifier):
    """Reference of half of the digits, and the other half."""
    rows = np.random.default_rng(0).permutation(len(digits[0]))
    half = digits[0][rows[:900]]
    reference = reference_statistics(
        image_batches(half), classifier, capacity=800, description="half the digits"
    )
    return reference, digits[0][rows[900:]]


def test_digits_are_near_to_digits_and_noise_is_far(split, classifier):
    reference, others = split
    noise = np.random.default_rng(1).integers(0, 256, others.shape)
    found = {}
    for name, x in {"digits": others, "noise": noise}.items():
        metrics = (
            FrechetDistance(reference, classifier),
            KernelDistance(reference, classifier),
            InceptionScore(classifier, splits=5),
        )
        for batch in image_batches(x):
            for metric in metrics:
                metric.update_state(batch)
        found[name] = metrics
    frechet, kernel, score = zip(*found.values(), strict=True)
    assert 0.0 < 20 * float(frechet[0].result()) < float(frechet[1].result())
    same, other = (metric.estimate() for metric in kernel)
    assert abs(same.value) < 4 * same.standard_error
    assert other.value > 5 * other.standard_error
    assert float(score[0].result()) > 7.0 > float(score[1].result())


def test_a_file_of_statistics_is_read_back_as_it_was(split, classifier, tmp_path):
    reference, others = split
    path = tmp_path / "digits.stats"
    reference.save(path)
    again = ReferenceStatistics.load(path, classifier)
    for name in ("mean", "cov", "features"):
        np.testing.assert_array_equal(getattr(again, name), getattr(reference, name))
    assert again.num_samples == 900 and again.features.shape == (800, 24)
    assert again.description == "half the digits"
    assert again.extractor == extractor_name(classifier)
    metrics = [FrechetDistance(source, classifier) for source in (reference, str(path))]
    for metric in metrics:
        metric.update_state(image_batches(others)[0])
    assert float(metrics[0].result()) == float(metrics[1].result())


def test_a_file_of_another_extractor_is_refused(split, classifier, tmp_path):
    split[0].save(tmp_path / "digits.npz")
    other = keras.models.clone_model(classifier)
    for load in (ReferenceStatistics.load, FrechetDistance, KernelDistance):
        with pytest.raises(ValueError, match="feature extractor in use.*compute them"):
            load(tmp_path / "digits.npz", other)
    with pytest.raises(ValueError, match="`reference`.*'keras InceptionV3 imagenet'"):
        FrechetDistance(split[0])
    with pytest.raises(ValueError, match="features as the reference, 24"):
        FrechetDistance(split[0], None).update_state(tf.zeros((3, 5)))


def test_a_file_that_is_none_is_refused(tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_text("")
    for name in ("rows", "text", "empty"):
        with pytest.raises(ValueError, match=f"{name}.npz must be a file that"):
            ReferenceStatistics.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        ReferenceStatistics.load(tmp_path / "absent.npz")


@keras.saving.register_keras_serializable(package="test_sample_quality")
def doubled(x):
    return 2.0 * x


def test_a_config_needs_a_reference_that_has_a_path(tmp_path):
    with pytest.raises(ValueError, match="pass the path"):
        KernelDistance(reference_of(draw()), None).get_config()
    reference = reference_statistics(batches(draw()), doubled)
    reference.save(tmp_path / "rows.npz")
    metric = KernelDistance(tmp_path / "rows.npz", doubled, capacity=9, seed=3)
    config = keras.saving.serialize_keras_object(metric)
    copy = keras.saving.deserialize_keras_object(config)
    assert (copy.capacity, copy.seed, copy.feature_extractor) == (9, 3, doubled)
    values = [float(fill(each, draw(seed=5)).result()) for each in (metric, copy)]
    assert values[0] == values[1]
    metric = InceptionScore(None, splits=3, from_logits=True, name="score")
    config = keras.saving.serialize_keras_object(metric)
    copy = keras.saving.deserialize_keras_object(config)
    assert (copy.splits, copy.from_logits, copy.name) == (3, True, "score")


def test_a_config_keeps_no_weights_and_says_so(classifier):
    with pytest.raises(ValueError, match="a config keeps no weights"):
        InceptionScore(classifier).get_config()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda x: x[:, None], r"shape \(2, 1, 5\)"),
        (lambda x: {"pooled": x}, "give 'features'. Received: a dict with 'pooled'"),
    ],
)
def test_an_extractor_of_other_things_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        reference_statistics([tf.zeros((2, 5))], make)
    with pytest.raises(ValueError, match="feature_extractor='resnet'"):
        InceptionScore("resnet")


def test_extractors_are_told_apart_by_their_weights_or_names():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    before = extractor_name(layer)
    assert before == extractor_name(layer) and before.startswith("keras weights ")
    layer.set_weights([w + 1.0 for w in layer.get_weights()])
    assert extractor_name(layer) != before
    assert extractor_name(draw) == "draw"
    assert extractor_name(InceptionFeatures("w.h5")) == "keras InceptionV3 w.h5"


def test_without_its_weights_the_default_says_what_to_do(monkeypatch):
    def fail(weights):
        raise Exception("URL fetch failure on https://weights: None")

    monkeypatch.setattr(keras.applications, "InceptionV3", fail)
    with pytest.raises(OSError, match="'imagenet'.*URL fetch.*`feature_extractor`"):
        InceptionFeatures()(np.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_default_takes_pixels_and_floats_alike(monkeypatch, channels):
    seen = []

    def small(weights):
        inputs = keras.Input((299, 299, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        outputs = keras.layers.Dense(4, activation="softmax")(pooled)
        seen.append(keras.Model(inputs, outputs))
        return seen[-1]

    monkeypatch.setattr(keras.applications, "InceptionV3", small)
    monkeypatch.setattr(feature_extraction, "_inception", lambda: inception)
    inception = InceptionFeatures()
    grey = np.array([[0, 255], [255, 255]], np.uint8).repeat(4, 0).repeat(4, 1)
    pixels = np.tile(grey[None, ..., None], (1, 1, 1, channels))
    found = inception(pixels)
    # Mean of the features of a quarter black and three quarters white.
    np.testing.assert_allclose(found["features"], [[0.5] * 3], atol=1e-3)
    again = inception(pixels / 127.5 - 1.0)
    np.testing.assert_allclose(again["features"], found["features"], atol=1e-5)
    assert found["probabilities"].shape == (1, 4) and len(seen) == 1
    metric = InceptionScore(splits=1)
    tf.function(metric.update_state)(tf.constant(pixels))
    assert float(metric.result()) == pytest.approx(1.0)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_the_inception_score_refuses_logits_that_were_not_called_so(compiled):
    metric = InceptionScore(None, splits=1)
    update = tf.function(metric.update_state) if compiled else metric.update_state
    update(tf.constant([[0.5, 0.5], [0.9, 0.1]]))
    error = tf.errors.InvalidArgumentError if compiled else ValueError
    with pytest.raises(error, match="softmax to logits first.*from_logits=True"):
        update(tf.constant([[0.5, 0.5], [3.0, 1.0]]))
    assert np.sum(metric.count) == 2.0
