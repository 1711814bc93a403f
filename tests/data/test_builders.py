"""The files of HEPMASS, HUMAN and CROP, in tiny, and what is wrong with bad ones."""

import gzip

import numpy as np
import pytest
from downloads import (
    HEPMASS_DISCRETE,
    HUMAN_DISCRETE,
    write_crop,
    write_hepmass,
    write_human,
)

from keras_ebm.data.builders.crop import read_crop
from keras_ebm.data.builders.hepmass import read_hepmass
from keras_ebm.data.builders.human import read_human
from keras_ebm.data.builders.numbers import read_numbers
from keras_ebm.data.builders.source import continuous_columns, cut_last_tenth


def edit(path, row, change):
    """Changes a line of a file; `row` is counted as in the errors."""
    lines = path.read_text().splitlines()
    header = int(lines[0].startswith(("#", "label")))
    lines[row + header] = change(lines[row + header])
    path.write_text("\n".join(lines) + "\n")


def test_hepmass_drops_discrete_features_and_the_spurious_column(tmp_path):
    train, test = write_hepmass(tmp_path)
    table = read_hepmass(tmp_path)
    kept = [column for column in range(27) if column not in HEPMASS_DISCRETE]
    assert table.columns == tuple(f"f{column}" for column in kept)
    x, y = table.splits["test"]
    np.testing.assert_array_equal(x, test[:, 1:][:, kept])
    np.testing.assert_array_equal(y, test[:, 0])
    assert x.dtype == np.float32 and y.dtype == np.int64
    # Not shuffled: the last tenth of 40 rows is four.
    np.testing.assert_array_equal(table.splits["train"][0], train[:36, 1:][:, kept])
    np.testing.assert_array_equal(
        table.splits["validation"][0], train[36:, 1:][:, kept]
    )
    np.testing.assert_array_equal(table.splits["validation"][1], train[36:, 0])


def test_a_smallest_value_may_occur_five_times_and_a_largest_more():
    x = np.arange(60.0).reshape(20, 3)
    x[:5, 0] = -1.0
    x[:6, 1] = -1.0
    x[:9, 2] = 100.0
    np.testing.assert_array_equal(continuous_columns(x), [0, 2])


def test_the_rule_is_of_the_training_file_alone(tmp_path):
    write_hepmass(tmp_path)
    before = read_hepmass(tmp_path).columns
    values = np.zeros((12, 29))
    np.savetxt(tmp_path / "1000_test.csv", values, delimiter=",")
    # The unpacked file comes first, and without a header is read as well.
    table = read_hepmass(tmp_path)
    assert table.columns == before and not table.splits["test"][0].any()


def test_values_that_differ_beyond_float32_are_not_taken_for_one(tmp_path):
    train, _ = write_hepmass(tmp_path)
    values = train.astype(np.float64)
    values[:, 1] = -50.0 - 1e-9 * np.arange(len(values))
    np.savetxt(tmp_path / "1000_train.csv", values, "%.17g", ",")
    assert "f0" in read_hepmass(tmp_path).columns


def test_human_shifts_labels_and_shuffles_the_training_rows_alone(tmp_path):
    written = write_human(tmp_path)
    table = read_human(tmp_path)
    kept = [column for column in range(561) if column not in HUMAN_DISCRETE]
    assert table.columns == tuple(f"f{column + 1}" for column in kept)
    np.testing.assert_array_equal(table.splits["test"][0], written["test"][0][:, kept])
    np.testing.assert_array_equal(table.splits["test"][1], written["test"][1] - 1)
    parts = [table.splits[name] for name in ("train", "validation")]
    assert [len(x) for x, _ in parts] == [27, 3]
    assert_same_rows(parts, written["train"][0][:, kept], written["train"][1] - 1)


@pytest.mark.parametrize("layout", ["{part}", "."])
def test_human_is_found_without_its_outer_folder(tmp_path, layout):
    write_human(tmp_path / "as_unpacked")
    for part in ("train", "test"):
        below = tmp_path / layout.format(part=part)
        below.mkdir(exist_ok=True)
        source = tmp_path / "as_unpacked" / "UCI HAR Dataset" / part
        for path in source.iterdir():
            path.rename(below / path.name)
    assert len(read_human(tmp_path).splits["test"][0]) == 10


def test_crop_is_shuffled_and_cut_twice(tmp_path):
    values = write_crop(tmp_path)
    table = read_crop(tmp_path)
    parts = [table.splits[name] for name in ("train", "validation", "test")]
    # A tenth of 60, and of the 54 that are left.
    assert [len(x) for x, _ in parts] == [49, 5, 6]
    assert_same_rows(parts, values[:, 1:], values[:, 0] - 1)
    assert table.columns[0] == "f1" and table.columns[-1] == "f174"
    again = read_crop(tmp_path)
    for name, (x, y) in table.splits.items():
        np.testing.assert_array_equal(again.splits[name][0], x)
        np.testing.assert_array_equal(again.splits[name][1], y)


def assert_same_rows(parts, x, y):
    """Disjoint parts of all rows, with their labels, in another order."""
    found = np.concatenate([part for part, _ in parts])
    labels = np.concatenate([part for _, part in parts])
    assert not np.array_equal(found, x)
    # The rows are distinct, so their first feature says which is which.
    order, expected = np.argsort(found[:, 1]), np.argsort(x[:, 1])
    np.testing.assert_array_equal(found[order], x[expected])
    np.testing.assert_array_equal(labels[order], y[expected])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda line: line + ",1", r"must have 175 numbers. Received: 176 in row 4"),
        (lambda line: line.rpartition(",")[0], r"Received: 174 in row 4"),
        (
            lambda line: line.replace(",", ",x", 1),
            r"Received: 'x.*' in row 4, column 1",
        ),
        (lambda line: "1" + 174 * ",nan", "nan in row 4, column 1"),
        (lambda line: "1" + 174 * ",1e39", r"1e\+39 in row 4, column 1"),
        (lambda line: "0" + line[1:], r"from 1 to 7. Received: 0 in row 4"),
        (lambda line: "8" + line[1:], r"from 1 to 7. Received: 8 in row 4"),
        (lambda line: "1.5" + line[1:], r"whole number .* Received: 1.5 in row 4"),
        (lambda line: line.replace(",", ";"), "Received: 1 in row 4"),
    ],
)
def test_a_bad_row_is_named_with_its_file(tmp_path, change, message):
    write_crop(tmp_path)
    edit(tmp_path / "WinnipegDataset.txt", 4, change)
    with pytest.raises(ValueError, match=message) as error:
        read_crop(tmp_path)
    assert "WinnipegDataset.txt" in str(error.value)


def test_files_of_another_width_are_refused(tmp_path):
    write_hepmass(tmp_path)
    np.savetxt(tmp_path / "1000_test.csv", np.ones((3, 30)), delimiter=",")
    with pytest.raises(ValueError, match="1000_test.csv: .* 28 or 29 .* 30 in row 0"):
        read_hepmass(tmp_path)
    np.savetxt(tmp_path / "1000_train.csv", np.ones((30, 29)), delimiter=",")
    with pytest.raises(ValueError, match="1000_train.csv: .* 28 numbers.* 29 in row 0"):
        read_hepmass(tmp_path)


def test_a_file_of_discrete_features_alone_is_refused(tmp_path):
    write_hepmass(tmp_path)
    np.savetxt(tmp_path / "1000_train.csv", np.ones((30, 28)), delimiter=",")
    with pytest.raises(ValueError, match="must be a feature whose smallest value"):
        read_hepmass(tmp_path)


def test_a_label_is_needed_for_each_row_of_human(tmp_path):
    write_human(tmp_path)
    path = tmp_path / "UCI HAR Dataset" / "train" / "y_train.txt"
    path.write_text("1\n" * 29)
    with pytest.raises(ValueError, match="29 labels for 30 rows"):
        read_human(tmp_path)


@pytest.mark.parametrize("text", ["", "\n\n", "label,f1,f2\n"])
def test_a_file_without_rows_is_refused(tmp_path, text):
    (tmp_path / "rows.txt").write_text(text)
    with pytest.raises(ValueError, match="at least one row"):
        read_numbers(tmp_path / "rows.txt", (3,), ",")


def test_a_first_line_with_a_number_is_no_header(tmp_path):
    (tmp_path / "rows.txt").write_text("label,1,2\n3,4,5\n")
    with pytest.raises(ValueError, match="'label' in row 0, column 0"):
        read_numbers(tmp_path / "rows.txt", (3,), ",")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    packed = gzip.compress(b"1,2,3\n" * 1000)
    (tmp_path / "rows.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(ValueError, match="rows.csv.gz: it could not be read"):
        read_numbers(tmp_path / "rows.csv.gz", (3,), ",")
    (tmp_path / "rows.csv").write_bytes(packed)
    with pytest.raises(ValueError, match="rows.csv: it could not be read"):
        read_numbers(tmp_path / "rows.csv", (3,), ",")


def test_a_tenth_of_nine_rows_is_none():
    with pytest.raises(ValueError, match="rows.csv: .* at least 10 rows"):
        cut_last_tenth(np.zeros((9, 2)), np.zeros(9), "rows.csv")
