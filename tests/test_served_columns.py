"""Names and cells of a table's columns in the signatures of a SavedModel."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.serving import inputs


def schema(*names, kind="numeric", vocabulary=()):
    return TableSchema(tuple(Column(name, kind, vocabulary) for name in names))


@pytest.mark.parametrize(
    "names, served",
    [
        (["a b", "c"], ["a_b", "c"]),
        (["f(", "f[", "f_", "f_2"], ["f_", "f__2", "f__3", "f_2"]),
        (["target_fpr", "2x"], ["target_fpr_2", "c2x"]),
        (["B", "b", "self"], ["B", "b_2", "self_2"]),
    ],
)
def test_every_column_gets_a_name_of_its_own(names, served):
    found = inputs.column_names(schema(*names))
    assert list(found.values()) == served
    assert list(found) == names


def test_a_signature_may_have_any_of_these_names(tmp_path):
    table = schema("self", "A", "a", "args", "kwargs", "name", "größe", "signature")
    specs = inputs.column_specs(table)

    @tf.function
    def rows(**columns):
        return {"rows": inputs.encode_columns(table, columns)}

    module = tf.Module()
    signature = rows.get_concrete_function(**specs)
    tf.saved_model.save(module, tmp_path, signatures={"serving_default": signature})
    served = tf.saved_model.load(tmp_path).signatures["serving_default"]
    cells = {name: tf.constant([float(i)]) for i, name in enumerate(specs)}
    np.testing.assert_array_equal(served(**cells)["rows"], [range(len(specs))])


def test_booleans_are_words_in_any_letters():
    table = schema("member", kind="boolean", vocabulary=("no", "yes"))
    cells = tf.constant(["YES", " no", "No", "perhaps", "", "NaN"])
    rows = inputs.encode_columns(table, {"member": cells})
    np.testing.assert_array_equal(rows[:, 0], [1, 0, 0, -1, np.nan, np.nan])
    back = inputs.split_columns(table, rows.numpy())
    assert back["member"][:3] == ["yes", "no", "no"]


def test_words_for_missing_values_are_those_of_the_schema():
    words = TableSchema(
        (Column("w", "categorical", ("NA", "red")),), missing=("", "none")
    )
    cells = tf.constant(["NA", " red", "none", "", "blue"])
    rows = inputs.encode_columns(words, {"w": cells})
    np.testing.assert_array_equal(rows[:, 0], [0, 1, np.nan, np.nan, -1])
