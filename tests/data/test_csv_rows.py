"""A csv that is read in parts gives the cells, and the errors, of one read at once."""

import gzip
import pickle
import warnings

import numpy as np
import pytest

from keras_ebm.data import CsvRows, read_columns

TYPES = {"age": np.dtype("float32"), "when": np.dtype("float64"), "city": None}
PLAIN = "age,when,city\n" + "".join(f"{i},{i}.5,c{i}\n" for i in range(7))


def in_parts(path, every=2, **options):
    rows = CsvRows(path, TYPES, every=every, **options)
    # As a worker gets it.
    rows = pickle.loads(pickle.dumps(rows))
    parts = [
        rows.read(start, min(start + every, rows.num_rows))
        for start in range(0, rows.num_rows, every)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in TYPES}


def outcome(read, path, **options):
    """What was read, or the error; and the warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = {k: v.tolist() for k, v in read(path, **options).items()}
        except ValueError as error:
            found = str(error)
    return str(found), [str(one.message) for one in told]


WHOLE = {
    "plain": PLAIN,
    "no line end at the end": PLAIN.rstrip(),
    "blank lines": PLAIN.replace("2,", "\n  \n2,").replace("c6\n", "c6\n\n\n"),
    "quotes with line ends": PLAIN.replace("c3", '"c\n\n,""3"'),
    "carriage returns": PLAIN.replace("\n", "\r\n").replace("c3", '"c\r\n3"'),
    "old line ends": PLAIN.replace("\n", "\r"),
    "a byte order mark": "\ufeff" + PLAIN,
    "other letters": PLAIN.replace("c1", "Gänserndorf").replace("c4", "京都"),
    "spaces": PLAIN.replace(",", " , "),
    "other columns": PLAIN.replace(",when", ",no,when").replace(".5,", ",1,"),
    "separators at the end": PLAIN.replace("\n", ",\n"),
    "some separators at the end": PLAIN.replace("c5\n", "c5,,\n"),
    "missing cells": PLAIN.replace("3,", "NA,").replace("4.5", ""),
    "numbers of other forms": PLAIN.replace("3,", "1e3,").replace("2.5", "1e300"),
}
REFUSED = {
    "absent column": PLAIN.replace("when", "then"),
    "no rows": "age,when,city\n",
    "nothing": "",
    "empty names": PLAIN.replace("age,when,city", ",,"),
    "semicolons": PLAIN.replace(",", ";"),
    "a name twice": PLAIN.replace("when", "age"),
    "a row that is too long": PLAIN.replace("c5", "c5,x"),
    "a row that is too short": PLAIN.replace("5.5,c5", "5.5"),
    "a row that is cut off": PLAIN[:-8],
    "a word for a number": PLAIN.replace("5.5", "five"),
    "an infinite number": PLAIN.replace("5.5", "inf"),
    "a number beyond float32": PLAIN.replace("\n5,", "\n1e39,"),
    "a number as Python writes it": PLAIN.replace("\n5,", "\n1_0,"),
    "a quote that is never closed": PLAIN.replace("c6", '"c6'),
    "a NUL": PLAIN.replace("c5", "c\0"),
    "two mistakes": PLAIN.replace("\n1,", "\none,").replace("c6", "c6,x"),
}


@pytest.mark.parametrize("name", [*WHOLE, *REFUSED])
def test_parts_of_a_csv_are_those_of_the_whole(tmp_path, name):
    path = tmp_path / "rows.csv"
    path.write_bytes({**WHOLE, **REFUSED}[name].encode("utf-8"))
    found = outcome(in_parts, path)
    expected = outcome(lambda p: read_columns(p, TYPES), path)
    assert found == expected
    assert expected[0].startswith("{") == (name in WHOLE)


def test_a_mistake_in_the_last_row_is_told_before_the_first_is_read(tmp_path):
    path = tmp_path / "rows.csv"
    for name in REFUSED.keys() - {"a number as Python writes it"}:
        path.write_bytes(REFUSED[name].encode("utf-8"))
        with pytest.raises(ValueError, match="rows.csv"):
            CsvRows(path, TYPES, every=2)


def test_compressed_files_are_read_in_any_order(tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(PLAIN.encode()))
    rows = CsvRows(path, TYPES, every=3)
    assert rows.num_rows == 7
    for start, stop in ((6, 7), (0, 3), (3, 7), (0, 7)):
        part = rows.read(start, stop)
        assert part["age"].tolist() == list(range(start, stop))
        assert part["city"].tolist() == [f"c{i}" for i in range(start, stop)]
    with pytest.raises(ValueError, match="multiples of 3"):
        rows.read(1, 3)


def test_columns_that_may_be_absent_are_missing_in_all_parts(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("age,when\n1,2\n3,4\n5,6\n")
    options = {"optional": ("city",)}
    found = outcome(in_parts, path, **options)
    assert found == outcome(lambda p, **o: read_columns(p, TYPES, **o), path, **options)
    assert "['', '', '']" in found[0]
