"""Answers of Apache Beam's workers, where it is installed."""

import os

import pytest

from keras_ebm.export.rows import Part

NAMES = ["age", "income (k)", "city"]


def joined(folder):
    """The answers of all files, in the order of their names."""
    texts = [path.read_bytes() for path in sorted(folder.glob("answers-*-of-*.csv"))]
    header, _, _ = texts[0].partition(b"\n")
    return header + b"\n" + b"".join(text.partition(b"\n")[2] for text in texts)


def test_two_workers_give_the_answers_of_one_process(
    run, table_export, new_table_rows, write_table, tmp_path
):
    pytest.importorskip("apache_beam")
    rows = new_table_rows(3000, seed=7)
    rows = [[age, income, city] for age, income, _, city in rows]
    spec = write_table(tmp_path / "rows.csv", rows * 7, NAMES)
    flags = [f"--model={table_export[0]}", f"--dataset={spec}", "--chunk_rows=4096"]
    code, out, _ = run("export.predict", *flags, f"--output={tmp_path}/whole.csv")
    assert code == 0
    folder = tmp_path / "far"
    folder.mkdir()
    # Of a run before, over fewer rows.
    (folder / "answers-00002-of-00003.csv").write_text("former")
    flags += ["--runner=DirectRunner", f"--output={folder}/answers.csv"]
    workers = "--direct_num_workers=2 --direct_running_mode=multi_processing"
    code, far, err = run("export.predict", *flags, f"--pipeline_options={workers}")
    assert code == 0, err
    assert far.partition(": ")[2] == out.partition(": ")[2]
    names = [f"answers-0000{index}-of-00006.csv" for index in range(6)]
    assert sorted(os.listdir(folder)) == names
    assert joined(folder) == (tmp_path / "whole.csv").read_bytes()


@pytest.fixture
def chunks(tmp_path):
    """A folder in which one of two chunks is done, and what the run was begun as."""
    beam = pytest.importorskip("keras_ebm.export.beam", exc_type=ImportError)
    folder, begun = str(tmp_path / "answers.csv.shards"), {"source": "a"}
    assert beam.open_folder(folder, 2, begun, resume=True) == [0, 1]
    list(beam.WriteChunk(folder).process((1, Part({}, None, ["x.png"]), {})))
    return beam, folder, begun


def test_a_run_that_failed_goes_on_with_the_chunks_that_are_left(chunks):
    beam, folder, begun = chunks
    assert beam.open_folder(folder, 2, begun, resume=True) == [0]
    with pytest.raises(ValueError, match="another source"):
        beam.open_folder(folder, 2, {"source": "b"}, resume=True)
    # A worker that was taken for lost writes its chunk again.
    list(beam.WriteChunk(folder).process((1, Part({}, None, ["x.png"]), {})))
    assert sorted(os.listdir(folder)) == ["1", "1.json", "begun.json"]
    assert beam.read_file(folder, "1.json")["broken"] == ["x.png"]
    assert beam.open_folder(folder, 2, begun, resume=False) == [0, 1]


def test_what_beam_cannot_do_is_told(run, table_export, tmp_path):
    flags = [f"--model={table_export[0]}", f"--output={tmp_path}/a.csv"]
    flags += ["--dataset=csv:rows.csv", "--runner=DirectRunner", "--batch_rate=0.1"]
    code, _, err = run("export.predict", *flags)
    assert code == 2 and "--batch_rate must be asked without --runner" in err


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    beam = pytest.importorskip("keras_ebm.export.beam", exc_type=ImportError)
    (tmp_path / "a.csv.shards").mkdir()
    (tmp_path / "a.csv.shards" / "mine").write_text("kept")
    with pytest.raises(ValueError, match="a folder of something else"):
        beam.open_folder(str(tmp_path / "a.csv.shards"), 2, {}, resume=False)
