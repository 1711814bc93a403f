"""A file of a run that is no JSON, or JSON of another shape, is refused by its name."""

import dataclasses
import json

import pytest

from keras_ebm.trainers.program import json_files
from keras_ebm.trainers.run import backup
from keras_ebm.trainers.run.record import same_data
from keras_ebm.trainers.search import setup
from keras_ebm.trainers.search.trial_files import read_result, read_values
from keras_ebm.trainers.settings.data import DataSettings, load

trials = pytest.importorskip("keras_ebm.trainers.search.trials")

NO_OBJECT = {
    b"": "cannot be read",
    b'{"steps": 3': "cannot be read",
    b"\x89PNG\xff": "cannot be read",
    b"[" * 100_000: "cannot be read",
    b"[1, 2]": "must hold an object.*Received: a list",
    b"null": "must hold an object.*Received: a NoneType",
    b"3.5": "must hold an object.*Received: a float",
}
READERS = {
    "search.json": lambda path: setup.check_same({}, path),
    "values.json": lambda path: read_values(path.parent),
    "result.json": lambda path: read_result(path.parent),
    "metrics.json": lambda path: backup.read_metrics(path.parent),
    "run.json": lambda path: json_files.read_shaped(path, {}),
}


@pytest.mark.parametrize("content", NO_OBJECT, ids=range(len(NO_OBJECT)))
@pytest.mark.parametrize("name", READERS)
def test_what_holds_no_object_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=NO_OBJECT[content]) as error:
        READERS[name](tmp_path / name)
    message = str(error.value)
    assert message.startswith(str(tmp_path / name)) and "restore" in message


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("search.json", {}, "'dataset', of type str. Received: no such key; restore"),
        ("search.json", {"dataset": "a", "space": []}, "'space', of type dict"),
        ("result.json", {"reason": 3}, "'reason', of type str. Received: a int"),
        ("result.json", {"steps": "many"}, "'steps', of type int. Received: a str"),
        ("result.json", {"steps": 3}, "'seconds', of type int or float"),
    ],
)
def test_an_object_of_another_shape_is_refused_by_its_key(
    tmp_path, name, values, words
):
    (tmp_path / name).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=words):
        READERS[name](tmp_path / name)


def test_an_absent_file_is_told_by_its_name(tmp_path):
    with pytest.raises(ValueError, match="values.json.*No such file.*remove the trial"):
        read_values(tmp_path)


def test_measures_that_a_kill_cut_off_are_of_no_finished_run(tmp_path):
    (tmp_path / "model.keras").touch()
    assert not backup.is_finished(tmp_path)
    (tmp_path / "metrics.json").write_text("")
    assert not backup.is_finished(tmp_path)
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(ValueError, match="metrics.json must hold an object. Rec"):
        backup.is_finished(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    assert backup.is_finished(tmp_path)


@dataclasses.dataclass
class Resumed:
    """What `to_resume` asks of settings."""

    workdir: str
    resume: bool = True
    auto_resume: bool = False


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b'{"data": 3}'])
def test_a_record_or_a_history_that_is_none_is_refused_before_a_run_goes_on(
    tmp_path, content
):
    run = load(DataSettings(dataset="toy:rings", toy_rows=40))
    folder = backup.backup_folder(tmp_path)
    folder.mkdir()
    (folder / "epoch-000001.weights.h5").touch()
    with pytest.raises(ValueError, match="run.json must be JSON.*No such file"):
        backup.to_resume(run, Resumed(str(tmp_path)))
    (folder / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match="run.json must (be JSON|hold an|have 'data')"):
        same_data(run, tmp_path)


def test_a_history_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "history.csv").write_bytes(b"epoch,loss\n0,\xff\n")
    with pytest.raises(ValueError, match="history.csv must be the text.*restore"):
        backup.keep_history(tmp_path / "history.csv", 1)
