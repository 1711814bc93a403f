from statistics import NormalDist

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.layers.table_encoder import TableEncoder

NAN = float("nan")
SCHEMA = TableSchema(
    (
        Column("age", "numeric"),
        Column("colour", "categorical", ("blue", "red")),
        Column("height", "numeric"),
        Column("unit", "numeric"),
    ),
    target="class",
    class_names=("no", "yes"),
)
TRAIN = np.array(
    [[1.0, 0, 10.0, 7.0], [3.0, 1, NAN, 7.0], [5.0, NAN, 30.0, 7.0]], np.float32
)


@pytest.fixture
def encoder():
    layer = TableEncoder(SCHEMA)
    layer.adapt(TRAIN)
    return layer


def encode(layer, *rows):
    return layer(np.array(rows, np.float32)).numpy()


def test_features_are_standardised_indicated_and_one_hot(encoder):
    # age: mean 3, variance 8/3; height: mean 20, stddev 10; unit: constant 7.
    # Features: age, height, unit, height missing, blue, red, unknown or missing.
    features = encode(encoder, [5.0, 1, NAN, 8.0], [3.0, 0, 30.0, 7.0])
    expected = [
        [2.0 / np.sqrt(8.0 / 3.0), 0.0, 1.0, 1.0, 0.0, 1.0, 0.0],
        [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(features, expected, rtol=1e-6)
    assert encoder.num_entries == encoder.num_features == 7
    assert encoder.compute_output_shape((None, 4)) == (None, 7)


@pytest.mark.parametrize("code", [-1.0, NAN, 2.0, 0.5])
def test_what_is_no_category_takes_the_last_slot(encoder, code):
    features = encode(encoder, [3.0, code, 20.0, 7.0])
    np.testing.assert_array_equal(features[0, -3:], [0.0, 0.0, 1.0])


@pytest.mark.parametrize("transform", ["standardise", "quantile", "blend"])
def test_a_missing_cell_where_training_had_none_is_the_mean(transform):
    layer = TableEncoder(transform=transform)
    layer.adapt(np.random.default_rng(0).gamma(0.5, size=(200, 2)))
    # 0 is the mean of the features, which are no more than before.
    features = encode(layer, [NAN, 0.3], [0.1, 0.3])
    assert features.shape == (2, 2)
    assert features[0, 0] == 0.0
    assert features[0, 1] == features[1, 1] != 0.0


@pytest.mark.parametrize("column", range(4))
def test_an_infinite_cell_is_not_hidden(encoder, column):
    row = [3.0, 0, 20.0, 7.0]
    row[column] = np.inf
    assert not np.isfinite(encode(encoder, row)).all()


def test_gradients_of_a_row_with_missing_cells_are_finite(encoder):
    x = tf.constant([[5.0, NAN, NAN, 7.0], [1.0, 1.0, 30.0, 7.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        energy = tf.reduce_sum(tf.square(encoder(x)), axis=-1)
    gradient = tape.gradient(energy, x).numpy()
    # d/dx ((x - mean) / stddev)**2 = 2 (x - mean) / stddev**2.
    expected = [[1.5, 0.0, 0.0, 0.0], [-1.5, 0.0, 0.2, 0.0]]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_without_a_schema_every_column_is_numeric():
    layer = TableEncoder()
    layer.adapt(np.array([[0.0, 1.0], [2.0, 1.0]]))
    np.testing.assert_allclose(encode(layer, [3.0, 4.0]), [[2.0, 3.0]])


def test_a_constant_that_float32_cannot_hold_exactly_is_still_constant():
    layer = TableEncoder()
    layer.adapt(np.full((999, 1), 0.1, np.float32))
    assert layer.stddev == [1.0]


def test_a_column_without_any_value_is_zero_and_indicated():
    layer = TableEncoder()
    layer.adapt(np.full((3, 1), NAN))
    np.testing.assert_array_equal(encode(layer, [NAN]), [[0.0, 1.0]])


def test_a_saved_model_encodes_the_same(encoder, tmp_path):
    model = keras.Sequential([keras.Input((4,)), encoder])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    rows = np.array([[0.3, 1, NAN, 7.0], [1e6, -1, 0.1, 7.5]], np.float32)
    np.testing.assert_array_equal(loaded(rows), model(rows))
    assert loaded.layers[0].get_config() == encoder.get_config()
    assert TableSchema.from_config(loaded.layers[0].schema) == SCHEMA


def test_an_exported_model_encodes_the_same(encoder, tmp_path):
    model = keras.Sequential([keras.Input((4,)), encoder])
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", model, [tf.TensorSpec((None, 4), tf.float32)])
    archive.write_out(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    rows = np.array([[0.3, 1, NAN, 7.0], [NAN, -1, 0.1, 7.5]], np.float32)
    np.testing.assert_array_equal(loaded.serve(rows), model(rows))


def test_codes_stay_apart_under_mixed_precision():
    names = tuple(f"{code:03}" for code in range(400))
    layer = TableEncoder(
        TableSchema((Column("code", "categorical", names),)), dtype="mixed_bfloat16"
    )
    layer.adapt(np.array([[0.0]]))
    features = layer(np.array([[301.0]], np.float32))
    assert features.dtype == tf.bfloat16
    assert int(tf.argmax(features, axis=-1)[0]) == 301


def test_it_must_be_adapted_first():
    with pytest.raises(ValueError, match="adapt"):
        TableEncoder(SCHEMA)(TRAIN)


@pytest.mark.parametrize(
    "rows, message",
    [
        (TRAIN[:, :3], "schema's 4"),
        (TRAIN[:0], "one row or more"),
        (np.array([[1.0, 0, np.inf, 7.0]]), "column 2"),
    ],
)
def test_it_refuses_to_adapt_to_bad_rows(rows, message):
    with pytest.raises(ValueError, match=message):
        TableEncoder(SCHEMA).adapt(rows)


def test_statistics_must_match_the_schema():
    with pytest.raises(ValueError, match="one entry a"):
        TableEncoder(SCHEMA, mean=[0.0], stddev=[1.0], missing=[False])


# The quantile transform


def adapted(transform, x, **arguments):
    layer = TableEncoder(transform=transform, **arguments)
    layer.adapt(x)
    return layer


def quantile(x, **arguments):
    return adapted("quantile", x, **arguments)


def test_a_blend_is_the_mean_of_both_standardised_again():
    # More values than knots, and one far out.
    x = np.append(np.random.default_rng(3).gamma(0.5, size=998), 500.0)
    x = x.astype(np.float32)[:, None]
    features = adapted("blend", x)(x).numpy()[:, 0]
    both = adapted("standardise", x)(x).numpy() + quantile(x)(x).numpy()
    expected = both[:, 0] / both.std()
    # Knots leave out little of the bend of the scores; so does float32 of a sum of
    # squares whose largest term is 1000.
    np.testing.assert_allclose(features, expected, atol=0.02)
    assert features.max() > 20.0


def test_scores_of_few_values_are_standardised_mid_rank_normal_scores():
    x = np.array([[1.0], [1.0], [2.0], [50.0]], np.float32)
    # Mid-ranks 1, 2.5 and 3.5 of 4.
    raw = np.array([NormalDist().inv_cdf(p) for p in (0.25, 0.25, 0.625, 0.875)])
    expected = (raw - raw.mean()) / raw.std()
    layer = quantile(x)
    np.testing.assert_allclose(layer(x)[:, 0], expected, rtol=1e-5)
    between = encode(layer, [26.0])  # Half-way from 2 to 50.
    np.testing.assert_allclose(between[0, 0], expected[2:].mean(), rtol=1e-5)


def test_scores_of_many_values_are_close_to_normal():
    x = np.exp(np.random.default_rng(0).normal(size=(4000, 2))).astype(np.float32)
    features = quantile(x)(x).numpy()
    exact = np.sort(np.log(x), axis=0)
    np.testing.assert_allclose(features.mean(0), 0.0, atol=0.01)
    np.testing.assert_allclose(features.std(0), 1.0, atol=0.01)
    # Of 4,000 draws a sorted log-normal's logarithm is within .1 of its score
    # but for the outermost hundredths.
    inner = slice(40, -40)
    np.testing.assert_allclose(np.sort(features, 0)[inner], exact[inner], atol=0.1)


def test_a_blend_leaves_light_tails_alone():
    rng = np.random.default_rng(4)
    x = np.stack([rng.uniform(size=500), rng.standard_t(3, size=500)], axis=1)
    layer = adapted("blend", x)
    assert layer.knots[0] is None and layer.knots[1] is not None
    plain = adapted("standardise", x)(x).numpy()
    features = layer(x).numpy()
    np.testing.assert_allclose(features[:, 0], plain[:, 0], rtol=1e-5, atol=1e-6)
    # A heavy tail gets shorter, and not as short as by normal scores.
    tails = [np.abs(each[:, 1]).max() for each in (quantile(x)(x).numpy(), features)]
    assert tails[0] < tails[1] < np.abs(plain[:, 1]).max()


@pytest.mark.parametrize("transform", ["quantile", "blend"])
def test_far_cells_stay_far(transform):
    x = np.linspace(0.0, 1.0, 500, dtype=np.float32)[:, None]
    layer = adapted(transform, x)
    far = encode(layer, [-10.0], [0.0], [1.0], [11.0])[:, 0]
    stddev = x.std()
    np.testing.assert_allclose(far[[0, 3]] - far[[1, 2]], np.array([-10, 10]) / stddev)


@pytest.mark.parametrize("transform", ["quantile", "blend"])
def test_scores_keep_the_order_and_can_be_turned_back(transform):
    rng = np.random.default_rng(1)
    x = np.stack(
        [rng.normal(size=999), rng.poisson(2.0, 999), rng.gamma(0.1, size=999)]
    )
    x = x.T.astype(np.float32)
    layer = adapted(transform, x)
    grid = np.sort(np.concatenate([x, 3 * x, -x]), axis=0)
    features = layer(grid)
    assert np.all(np.diff(features, axis=0) >= 0)
    np.testing.assert_allclose(
        layer.decode_numeric(features), grid, rtol=1e-3, atol=1e-4
    )


def test_quantiles_keep_missing_cells_and_infinite_ones_apart():
    x = np.array([[1.0, 0.0], [2.0, 1.0], [NAN, 5.0]], np.float32)
    layer = quantile(x)
    features = encode(layer, [NAN, 1.0], [1.0, NAN], [np.inf, 1.0])
    assert features[0, 0] == 0.0 and features[0, 2] == 1.0
    assert features[1, 1] == 0.0
    assert np.isinf(features[2, 0])


def test_a_saved_quantile_encoder_encodes_the_same(tmp_path):
    rng = np.random.default_rng(2)
    x = np.stack([rng.normal(size=300), rng.integers(0, 2, 300), np.ones(300)], 1)
    layer = quantile(x, drop_constant=True)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    rows = np.array([[0.3, 1, 2.0], [-7.0, 0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(loaded(rows), model(rows))


def test_near_constant_columns_are_dropped_and_named():
    rng = np.random.default_rng(3)
    nearly = np.zeros(2000)
    nearly[:2] = 5.0
    often = np.zeros(2000)
    often[:20] = 5.0
    code = np.zeros(2000)
    x = np.stack([nearly, often, code, rng.normal(size=2000)], 1)
    schema = TableSchema(
        (
            Column("nearly", "numeric"),
            Column("often", "numeric"),
            Column("code", "categorical", ("only",)),
            Column("value", "numeric"),
        )
    )
    layer = TableEncoder(schema, drop_constant=True)
    layer.adapt(x)
    assert layer.dropped_columns == ["nearly", "code"]
    assert layer.entry_columns.tolist() == [1, 3]
    assert layer(x).shape == (2000, 2)
    np.testing.assert_allclose(layer.decode_numeric(layer(x)), x[:, [1, 3]], atol=1e-5)
    with pytest.raises(ValueError, match="must have a column that varies"):
        TableEncoder(drop_constant=True).adapt(np.ones((20, 3)))


# Columns that float32 would blur

HOUR = 1_700_000_000_000 + np.random.default_rng(5).permutation(3_600_000)[:1999]
TINY = np.linspace(1e-40, 9e-40, 50)
FAR = {
    "a constant": np.full(50, 20240101.0),
    "a large constant": np.full(50, 1e30),
    "a constant denormal": np.full(50, 1e-40),
    "two consecutive dates": np.repeat([20240101.0, 20240102.0], 25),
    "account numbers": 12_345_678_901.0 + np.arange(1279),
    "milliseconds of an hour": HOUR.astype(np.float64),
    "denormals": TINY,
    "p-values": np.append(TINY, np.linspace(0.0, 1.0, 50)),
    "beyond float32": np.linspace(-1e200, 1e200, 50),
    "nearly constant": np.append(np.full(9999, 1e9), 1e9 + 1.0),
}
NO_SPREAD = ("a constant", "a large constant", "a constant denormal")


@pytest.mark.parametrize("transform", ["standardise", "quantile", "blend"])
@pytest.mark.parametrize("name", FAR)
def test_columns_far_from_zero_or_tiny_are_standardised(transform, name):
    x = FAR[name][:, None]
    layer = adapted(transform, x)
    features = layer(x).numpy()[:, 0].astype(np.float64)
    if name in NO_SPREAD:
        np.testing.assert_array_equal(features, 0.0)
        return
    # Knots leave out a little of the bend of scores.
    np.testing.assert_allclose(features.mean(), 0.0, atol=0.01)
    np.testing.assert_allclose(features.std(), 1.0, atol=0.01)
    order = np.argsort(x[:, 0], kind="stable")
    assert np.all(np.diff(features[order]) >= 0.0)
    if name != "p-values":
        assert len(np.unique(features)) == len(np.unique(x))


@pytest.mark.parametrize("transform", ["standardise", "quantile", "blend"])
def test_a_cell_far_from_zero_can_be_turned_back(transform):
    x = FAR["milliseconds of an hour"][:, None]
    layer = adapted(transform, x)
    # Features of float32 tell half a second of this hour apart, or less.
    np.testing.assert_allclose(layer.decode_numeric(layer(x)), x, rtol=0, atol=500.0)
    gap = layer(np.array([[np.nan], [x.max() + 3_600_000.0]])).numpy()[:, 0]
    assert gap[0] == 0.0 and gap[1] > 3.0


def test_an_hour_beside_a_zero_keeps_its_values_by_ranks():
    x = np.append(HOUR.astype(np.float64), 0.0)[:, None]
    assert len(np.unique(quantile(x)(x))) == 2000


def test_float32_rows_are_refused_where_they_merge_cells():
    x = FAR["milliseconds of an hour"][:, None]
    layer = adapted("standardise", x)
    assert layer.input_dtype == "float64"
    with pytest.raises(ValueError, match="must be float64, as float32 merges .*'0'"):
        layer(x.astype(np.float32))
    # What came in float32 has lost nothing more, and goes in as it came.
    rounded = np.unique(x.astype(np.float32))[:, None]
    again = adapted("standardise", rounded)
    assert again.input_dtype == "float32"
    np.testing.assert_allclose(again(rounded).numpy().std(), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    "cells",
    [np.append(HOUR, HOUR + 31_536_000_000.0), np.linspace(1e-310, 9e-310, 3998)],
    ids=["hours a year apart", "denormals of float64"],
)
def test_values_that_features_cannot_tell_apart_are_counted(cells):
    with pytest.warns(UserWarning, match=r"columns: 0 \(3998 become \d+\)"):
        layer = adapted("standardise", cells[:, None])
    assert np.isfinite(layer(cells[:, None])).all()


def test_whole_numbers_beyond_float64_are_counted():
    ids = 10**18 + np.arange(1000)[:, None]
    with pytest.warns(UserWarning, match=r"float64 .*columns: 0 \(1000 become \d+\)"):
        TableEncoder().adapt(ids)


def test_a_saved_encoder_of_wide_columns_encodes_the_same(tmp_path):
    x = np.stack([HOUR.astype(np.float64), np.arange(1999.0)], axis=1)
    layer = adapted("quantile", x)
    model = keras.Sequential([keras.Input((2,), dtype="float64"), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert len(np.unique(loaded(x)[:, 0])) == 1999


def test_ordinary_columns_are_computed_in_float32_as_ever():
    x = np.random.default_rng(6).normal(1000.0, 1.0, (300, 1))
    layer = adapted("standardise", x)
    assert layer.centers is None and layer.input_dtype == "float32"


def test_features_know_their_column(encoder):
    # age, height, unit, height missing, then two colours and "other".
    assert encoder.entry_columns.tolist() == [0, 2, 3, 2, 1, 1, 1]
    assert encoder.num_numeric == 3


def test_an_unknown_transform_is_refused():
    with pytest.raises(ValueError, match="'standardise', 'quantile', 'blend'"):
        TableEncoder(transform="rank")
