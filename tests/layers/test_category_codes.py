"""Categories as short vectors: by the word alone, or by what stands beside it."""

import keras
import numpy as np
import pytest

from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.layers import TableEncoder
from keras_ebm.layers.category_codes import code_length, embedded_codes, hashed_codes

WORDS = ("a", "b", "c", "d", "e", "f")
SCHEMA = TableSchema(
    (
        Column("size", "numeric"),
        Column("kind", "categorical", WORDS),
        Column("side", "categorical", ("left", "right")),
    )
)


@pytest.fixture(scope="module")
def rows():
    """a, b and c are small and left, d, e and f are large and right."""
    kind = np.arange(120) % 6
    large = kind >= 3
    noise = np.random.default_rng(0).normal(0.0, 0.1, 120)
    return np.stack([large + noise, kind, large], 1).astype(np.float32)


def encoder(rows, categories):
    layer = TableEncoder(SCHEMA, categories=categories)
    layer.adapt(rows)
    return layer


def test_vectors_are_shorter_where_there_are_many_categories():
    assert [code_length(n) for n in (1, 2, 3, 4, 9, 49, 99)] == [2, 3, 4, 4, 6, 15, 22]


def test_a_word_has_the_same_direction_in_every_table():
    codes = hashed_codes(WORDS, 5)
    assert codes.shape == (7, 5)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1.0)
    np.testing.assert_array_equal(hashed_codes(("f", "new"), 5)[0], codes[5])
    assert np.linalg.matrix_rank(codes) == 5


def test_categories_that_come_with_the_like_are_alike():
    one_hot = np.eye(4)[np.arange(400) % 3]
    others = np.where(np.arange(400) % 3 < 2, -1.0, 2.0)[:, None]
    codes = embedded_codes(one_hot, others, 2)
    np.testing.assert_allclose(codes[0], codes[1], atol=0.02)
    assert codes[2, 0] > 0 > codes[0, 0] or codes[2, 0] < 0 < codes[0, 0]
    # No row has the last, and the second component has nothing to say.
    np.testing.assert_allclose(codes[3], 0.0)
    np.testing.assert_allclose(codes[:, 1], 0.0, atol=1e-6)
    assert np.mean(np.sum((one_hot @ codes) ** 2, 1)) == pytest.approx(1.0)


@pytest.mark.parametrize("categories", ["embedding", "hashing"])
def test_entries_are_the_vectors_and_short_columns_stay_one_hot(rows, categories):
    layer = encoder(rows, categories)
    width = code_length(6)
    assert layer.entry_columns.tolist() == [0, *[1] * width, *[2] * 3]
    entries = layer(rows).numpy()
    assert entries.shape == (120, layer.num_entries) == (120, 1 + width + 3)
    codes = np.array(layer.codes[1], np.float32)
    expected = codes[rows[:, 1].astype(int)]
    np.testing.assert_allclose(entries[:, 1 : 1 + width], expected, rtol=1e-6)
    assert set(entries[:, 1 + width :].ravel()) == {0.0, 1.0}
    # A word that training did not see, and no word, are unknown.
    unknown = layer(np.array([[0.0, -1.0, 0.0], [0.0, np.nan, 0.0]], np.float32))
    np.testing.assert_allclose(unknown[:, 1 : 1 + width], codes[[-1, -1]], rtol=1e-6)
    assert np.isnan(layer(np.array([[0.0, np.inf, 0.0]], np.float32))[0, 1])


@pytest.mark.parametrize("categories", ["embedding", "hashing"])
def test_vectors_come_back_from_a_file(rows, categories, tmp_path):
    layer = encoder(rows, categories)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded(rows), model(rows))
    assert loaded.layers[0].categories == categories


def test_adapting_again_finds_the_same_vectors(rows):
    layer = encoder(rows, "embedding")
    before = layer.codes
    layer.adapt(rows)
    assert layer.codes == before


def test_an_unknown_way_of_categories_is_refused():
    with pytest.raises(ValueError, match="`categories` must be one of 'one_hot'"):
        TableEncoder(SCHEMA, categories="target")
