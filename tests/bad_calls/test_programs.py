"""What no program may be asked for is refused in one line, and nothing is left."""

import json

import pytest
from bad_calls_table import PROGRAMS, is_told

from keras_ebm.trainers.run.record import read_record


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_bad_flag_is_refused_in_one_line_with_name_and_value(refused, program):
    flags, _ = refused(program)
    assert flags
    assert [call for call in flags if not is_told(program, *call[1:])] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_bad_file_is_refused_in_one_line_and_nothing_is_left(
    refused, bad, program
):
    _, files = refused(program)
    assert [call for call in files if not is_told(program, *call[1:])] == []
    assert not (bad / "new").exists() and not (bad / "run").exists()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda record: [record], "must hold an object with .*Received: a list"),
        (lambda record: {**record, "data": []}, "'data', of type dict. Received: a li"),
        (lambda record: {**record, "class_names": None}, "'class_names', of type list"),
        (lambda record: {**record, "schema": {"columns": 3}}, "'schema' must be as it"),
        (lambda record: {**record, "data": {}}, "'data' must have 'dataset'"),
        (
            lambda record: {k: v for k, v in record.items() if k != "fingerprint"},
            "'fingerprint'.*no such key",
        ),
    ],
)
def test_a_record_of_another_shape_is_refused_by_its_key(tmp_path, change, words):
    record = {
        "data": {"dataset": "digits", "data_dir": "", "seed": 0},
        "kind": "image",
        "input_shape": [8, 8, 1],
        "class_names": ["0", "1"],
        "schema": None,
        "fingerprint": "0",
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert read_record(tmp_path / "model.keras") == record
    (tmp_path / "run.json").write_text(json.dumps(change(record)))
    with pytest.raises(ValueError, match=words):
        read_record(tmp_path / "model.keras")
