"""Many rows: chunk by chunk, from files of several kinds, and on after a kill."""

import csv
import io
import json
import os
import stat
import sys

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf

from keras_ebm.data import ExampleRows, ParquetRows
from keras_ebm.export.answering import answer_rows, columns_of, lines_of
from keras_ebm.export.loading import load_examples, load_signature
from keras_ebm.export.part import Done, PartFile
from keras_ebm.export.predict import BatchColumn, PredictSettings, read_card
from keras_ebm.export.progress import Progress
from keras_ebm.export.rows import open_rows
from keras_ebm.ood import benjamini_hochberg
from keras_ebm.serving import examples

NAMES = ["age", "income (k)", "city"]
CHUNK = "--chunk_rows=4096"
COUNT = 81_000


@pytest.fixture
def many(new_table_rows, write_table, tmp_path):
    """The spec of a csv of 20 chunks."""
    rows = new_table_rows(3000, seed=7)
    rows = [[age, income, city] for age, income, _, city in rows]
    return write_table(tmp_path / "rows.csv", rows * 27, NAMES)


def killed(start, flags, record):
    """Kills a run, with no chance to clean up, once some chunks are kept."""
    process = start("export.predict", *flags)
    while not record.exists() or json.loads(record.read_bytes())["rows"] < 8192:
        pass
    process.kill()
    process.communicate()
    return json.loads(record.read_bytes())


def test_a_killed_run_goes_on_to_the_file_of_an_unbroken_one(
    start, run, table_export, many, tmp_path
):
    folder = tmp_path / "answers"
    folder.mkdir()
    output, whole = folder / "answers.csv", tmp_path / "whole.csv"
    flags = [f"--model={table_export[0]}", f"--dataset={many}", CHUNK]
    assert run("export.predict", *flags, f"--output={whole}")[0] == 0
    flags.append(f"--output={output}")
    output.write_text("former")
    kept = killed(start, flags, folder / "answers.csv.part.json")
    assert 0 < kept["rows"] < COUNT and kept["rows"] % 4096 == 0
    assert output.read_text() == "former"
    # What a kill in the middle of a chunk leaves.
    with open(folder / "answers.csv.part", "ab") as file:
        file.write(b"half a li")
    code, out, err = run("export.predict", *flags, "--resume")
    assert (code, err) == (0, "") and f"{COUNT} rows" in out
    assert output.read_bytes() == whole.read_bytes()
    assert os.listdir(folder) == ["answers.csv"]


def some(tmp_path, resume=False, column=None, **changes):
    begun = {"source": "a", "--target_fpr": 0.1, **changes}
    return PartFile(tmp_path / "out.csv", begun, resume, column)


def line(text):
    return lambda header: ("p_value\r\n" if header else "") + f"{text}\r\n"


def test_another_source_export_or_rate_is_not_gone_on_with(tmp_path):
    (tmp_path / "out.csv").write_text("former")
    part = some(tmp_path)
    part.add(line(0.5), Done(1, 1))
    with pytest.raises(ValueError, match="one process at a time"):
        some(tmp_path).add(line(0.5), Done(1, 1))
    part.leave(discard=False)
    for name, value in (("source", "b"), ("--target_fpr", 0.2), ("export", "c")):
        with pytest.raises(ValueError, match=f"Received: another {name} .*begin again"):
            some(tmp_path, resume=True, **{name: value})
    part = some(tmp_path, resume=True)
    assert part.done == Done(1, 1)
    part.add(line(0.25), Done(2, 2))
    os.chmod(tmp_path / "out.csv", 0o640)
    part.finish()
    assert (tmp_path / "out.csv").read_bytes() == b"p_value\r\n0.5\r\n0.25\r\n"
    assert stat.S_IMODE(os.stat(tmp_path / "out.csv").st_mode) == 0o640
    assert os.listdir(tmp_path) == ["out.csv"]
    # There is nothing to go on with, so all is answered.
    assert some(tmp_path, resume=True).done == Done()


def test_a_part_that_is_cut_off_or_of_a_run_before_is_not_gone_on_with(tmp_path):
    part = some(tmp_path)
    part.add(line(0.5), Done(1, 1))
    part.leave(discard=False)
    (tmp_path / "out.csv.part").write_bytes(b"p_")
    with pytest.raises(ValueError, match="must hold the 14 bytes"):
        some(tmp_path, resume=True)
    part = some(tmp_path)
    part.add(line(0.75), Done(1, 1))
    part.finish()
    assert (tmp_path / "out.csv").read_bytes() == b"p_value\r\n0.75\r\n"


def test_a_chunk_of_broken_files_alone_leaves_the_header_to_the_next(tmp_path):
    part = some(tmp_path)
    part.add(lambda header: "", Done(2, 0, 0, ["x.png", "y.png"]))
    part.leave(discard=False)
    part = some(tmp_path, resume=True)
    assert part.done.broken == ["x.png", "y.png"]
    part.add(lambda header: "", Done(4))
    part.add(line(0.5), Done(6, 1))
    part.finish()
    assert (tmp_path / "out.csv").read_bytes() == b"p_value\r\n0.5\r\n"


def test_a_mistake_leaves_no_part(tmp_path):
    part = some(tmp_path)
    part.add(line(0.5), Done(1, 1))
    part.leave(discard=True)
    assert os.listdir(tmp_path) == []


def test_what_is_refused_in_the_batch_is_that_of_all_rows_at_once(tmp_path):
    rng = np.random.default_rng(0)
    p_values = (rng.integers(1, 101, 3000) ** 2 / 10201).astype(np.float32)
    column = BatchColumn(0.3)
    part = some(tmp_path, column=column)
    texts = [*map(str, p_values), "nan"]
    for index in range(0, 3001, 1000):
        text = "\r\n".join(texts[index : index + 1000])
        part.add(line(text), Done(index, index))
    part.finish()
    with open(tmp_path / "out.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [one["p_value"] for one in lines] == texts
    refused = [one["refused_in_batch"] == "true" for one in lines]
    expected = benjamini_hochberg(p_values, 0.3)
    assert 0 < expected.sum() < 3000 and column.total == expected.sum() + 1
    assert refused == [*expected, True]
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.fixture(scope="module")
def asked(table_export):
    """Gives the lines of a dataset, in chunks, and what a card and specs are."""
    version, _ = table_export
    card = read_card(version)
    loaded, signature = load_signature(version, "serving_default", card)
    _, specs = signature.structured_input_signature

    def ask(spec):
        rows = open_rows(PredictSettings(dataset=spec, chunk_rows=4096), card, specs)
        function = load_examples(version, loaded, 0.0) if rows.signature else signature
        text = ""
        for start in range(0, rows.num_rows, rows.chunk):
            part = rows.read(start, min(start + rows.chunk, rows.num_rows))
            answers = answer_rows(function, rows, part.request, 0.0)
            text += lines_of(columns_of(answers), header=not start)
        return text

    return ask, card, specs


def test_other_files_of_the_same_rows_have_the_same_answers(asked, many, tmp_path):
    ask, card, specs = asked
    table = pandas.read_csv(many[4:], dtype=str, keep_default_na=False)[:9000]
    table.to_csv(tmp_path / "rows.csv", index=False)
    expected = ask(f"csv:{tmp_path}/rows.csv")
    assert expected.count("\n") == 9001
    frame = table.copy()
    for name in NAMES[:2]:
        frame[name] = pandas.to_numeric(table[name]).astype("float32")
    frame["city"] = table["city"].where(table["city"] != "", None)
    # Beside what no model asks for, and in groups that no chunk is of.
    frame.assign(x=1.0).to_parquet(tmp_path / "words.parquet", row_group_size=2500)
    frame["city"] = frame["city"].astype("category")
    frame.to_parquet(tmp_path / "codes.parquet")
    for name in ("words", "codes"):
        assert ask(f"parquet:{tmp_path}/{name}.parquet") == expected
    given = {
        card["columns"][name]: tf.constant(
            table[name].to_numpy(object) if name == "city" else frame[name].to_numpy()
        )
        for name in NAMES
    }
    with tf.io.TFRecordWriter(f"{tmp_path}/rows.tfrecord") as writer:
        for one in examples.serialise(given, examples.features(specs)):
            writer.write(one)
    assert ask(f"tfrecord:{tmp_path}/rows.tfrecord") == expected


def test_a_record_that_is_no_example_is_refused(asked, tmp_path):
    with tf.io.TFRecordWriter(f"{tmp_path}/rows.tfrecord") as writer:
        writer.write(b"no example")
    with pytest.raises(ValueError, match="rows that the export can read.*not parse"):
        asked[0](f"tfrecord:{tmp_path}/rows.tfrecord")


def test_a_chunk_is_of_whole_batches(asked):
    settings = PredictSettings(dataset="csv:rows.csv", chunk_rows=5000)
    with pytest.raises(ValueError, match="multiple of 4096.*5000; choose 4096"):
        open_rows(settings, *asked[1:])


TYPES = {"age": np.dtype("float32"), "city": None}


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"age": [[1.0]], "city": ["Wien"]}, "list<.*> in column 'age'"),
        ({"age": [1.0]}, "Missing: city. The file has: age"),
        ({"age": ["1", "x"], "city": ["a", "b"]}, "Received: 'x' in row 1 "),
        ({"age": [1.0, np.inf], "city": ["a", "b"]}, "Received: inf in row 1 "),
        ({"age": [1.0], " age": [1.0], "city": ["a"]}, "Received twice: 'age'"),
        ({"age": np.zeros(0), "city": np.zeros(0, str)}, "there must be a row"),
    ],
)
def test_a_parquet_file_that_breaks_a_rule_is_refused(tmp_path, columns, message):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(ValueError, match=message):
        rows = ParquetRows(path, TYPES)
        rows.read(0, rows.num_rows)


def test_cells_of_parquet_are_those_of_a_csv(tmp_path):
    path = tmp_path / "rows.parquet"
    columns = {"age": ["1", " NA", None, "4"], "city": [1, 2, None, 4]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    rows = ParquetRows(path, TYPES)
    for start, stop in ((0, 4), (1, 3), (3, 4), (0, 1)):
        part = rows.read(start, stop)
        expected = np.float32([1, np.nan, np.nan, 4])[start:stop]
        np.testing.assert_array_equal(part["age"], expected)
        assert part["city"].tolist() == ["1", "2", "", "4"][start:stop]


def test_a_record_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "rows.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index in range(5):
            writer.write(b"%d" % index)
    content = path.read_bytes()
    rows = ExampleRows(path)
    assert rows.num_rows == 5
    for start, stop in ((3, 5), (0, 2), (2, 3)):
        assert (
            rows.read(start, stop).tolist() == [b"%d" % i for i in range(5)][start:stop]
        )
    # Within a record, its sum, and the next one's header.
    for count in (15, 30, 40):
        path.write_bytes(content[:count])
        with pytest.raises(ValueError, match="must be a whole TFRecord file"):
            ExampleRows(path)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_how_far_it_is_stands_on_a_terminal_alone(monkeypatch):
    for kind, text in ((Terminal, "50 of 100 rows, "), (io.StringIO, "")):
        monkeypatch.setattr(sys, "stderr", kind())
        with Progress(100) as progress:
            progress.show(50)
            assert text in sys.stderr.getvalue()
        assert bool(text) == sys.stderr.getvalue().endswith("\033[K")
