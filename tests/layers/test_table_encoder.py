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
    assert encoder.num_features == 7
    assert encoder.compute_output_shape((None, 4)) == (None, 7)


@pytest.mark.parametrize("code", [-1.0, NAN, 2.0, 0.5])
def test_what_is_no_category_takes_the_last_slot(encoder, code):
    features = encode(encoder, [3.0, code, 20.0, 7.0])
    np.testing.assert_array_equal(features[0, -3:], [0.0, 0.0, 1.0])


def test_a_missing_cell_where_training_had_none_stays_nan(encoder):
    features = encode(encoder, [NAN, 0, 20.0, 7.0], [3.0, 0, 20.0, 7.0])
    assert np.isnan(features[0, 0])
    assert np.isfinite(features[0, 1:]).all()
    assert np.isfinite(features[1]).all()


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
