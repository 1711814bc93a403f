"""The one rule of labels, in csv files and among arrays."""

import numpy as np
import pandas as pd
import pytest

from keras_ebm.data import label_rule, tables


@pytest.fixture
def labels_of(tmp_path):
    """Classes and codes of a csv's target."""

    def read(*labels):
        path = tmp_path / "table.csv"
        lines = [f"{row % 3},{label}" for row, label in enumerate(labels)]
        path.write_text("\n".join(["x,y", *lines]) + "\n")
        dataset = tables.read_csv(path)
        return dataset.class_names, dataset.y.tolist()

    return read


def test_a_missing_target_is_no_class(labels_of):
    words = ("English", "French", "NA", "Other", "", "nan", "null", "?", "N/A", "-1")
    with pytest.warns(UserWarning, match="5 in 'y' .'.', 'N/A', 'NA', 'nan', 'null'"):
        names, codes = labels_of(*words)
    assert names == ("English", "French", "Other")
    assert codes == [0, 1, -1, 2, -1, -1, -1, -1, -1, -1]


def test_minus_one_is_unlabelled(labels_of):
    assert labels_of("1", "-1", "0", "-1.0") == (("0", "1"), [1, -1, 0, -1])
    assert labels_of("a", "-1", "b") == (("a", "b"), [0, -1, 1])
    assert labels_of("-2", "-1", "-3") == (("-3", "-2"), [1, -1, 0])


@pytest.mark.parametrize("labels", [("1", "-1", "1", ""), ("+1", "-1.0", "1", "")])
def test_one_and_minus_one_alone_are_two_classes(labels_of, labels):
    with pytest.warns(UserWarning, match="1 and -1.*two classes"):
        assert labels_of(*labels) == (("-1", "1"), [1, 0, 1, -1])


def test_a_whole_number_is_one_class_however_it_is_written(labels_of):
    assert labels_of("1", "1.0", "0", "0.0", "2.") == (
        ("0", "1", "2"),
        [1, 1, 0, 0, 2],
    )
    # Codes are no numbers, and fractions no whole ones.
    assert labels_of("01", "1", "1.5") == (("01", "1", "1.5"), [0, 1, 2])


def test_a_known_class_is_a_class_whatever_its_name(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("x,y\n1,1.0\n2,NA\n3,?\n4,2\n")
    schema = tables.TableSchema((tables.Column("x", "numeric"),), "y", ("1", "2.0"))
    with pytest.warns(UserWarning, match="2 in 'y' .'.', 'NA'."):
        dataset = tables.read_csv(path, schema=schema)
    np.testing.assert_array_equal(dataset.y, [0, -1, -1, 1])
    schema = tables.TableSchema(schema.columns, "y", ("1.0", "?", "2", "NA"))
    np.testing.assert_array_equal(tables.read_csv(path, schema=schema).y, [0, 3, 1, 2])


SERIES = {
    "Int64": (pd.array([0, None, 2, -1], "Int64"), [0, 2], [0, -1, 1, -1]),
    "Float64": (pd.array([0, None, 2, -1], "Float64"), [0, 2], [0, -1, 1, -1]),
    "float": ([0.0, np.nan, 2.0, -1.0], [0, 2], [0, -1, 1, -1]),
    "boolean": (pd.array([True, None, False], "boolean"), [False, True], [1, -1, 0]),
    "string": (pd.array(["b", None, "a"], "string"), ["a", "b"], [1, -1, 0]),
    "category": (pd.Categorical(["b", None, "a"]), ["a", "b"], [1, -1, 0]),
    "bool": ([True, False], [False, True], [1, 0]),
    "binary": ([1, -1, 1], [-1, 1], [1, 0, 1]),
    "binary words": (["1", "-1", "1"], ["-1", "1"], [1, 0, 1]),
    "one class": ([0, -1, 0], [0], [0, -1, 0]),
    "written": (["1.0", "2.0", "-1"], ["1.0", "2.0"], [0, 1, -1]),
    "written twice": (["1", "1.0", "2.0"], ["1", "2.0"], [0, 0, 1]),
    "words and -1": (np.array(["b", -1, "a"], object), ["a", "b"], [1, -1, 0]),
    "none": ([np.nan, np.nan], [], [-1, -1]),
}


@pytest.mark.parametrize("labels, classes, codes", SERIES.values(), ids=SERIES)
def test_labels_in_arrays_keep_to_the_same_rule(labels, classes, codes):
    found, places = label_rule.encode(np.asarray(labels))
    assert found.tolist() == classes and places.tolist() == codes


def test_words_for_missing_labels_in_arrays_are_told():
    with pytest.warns(UserWarning, match="'.', 'NA' in 2 rows: read as no label"):
        found, codes = label_rule.encode(np.array(["a", "NA", "?", "b"]))
    assert found.tolist() == ["a", "b"] and codes.tolist() == [0, -1, -1, 1]


@pytest.mark.parametrize(
    "labels, message",
    [
        ([0.05, 0.95], r"0.05, a continuous.*y > 0.5"),
        ([0.0, np.inf], "Received: inf"),
        (np.array(["a", 1], object), "words alone or numbers alone.*'int', 'str'"),
    ],
)
def test_what_is_no_label_is_refused_by_its_value(labels, message):
    with pytest.raises(ValueError, match=message):
        label_rule.encode(np.asarray(labels))
