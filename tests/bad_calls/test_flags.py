"""Numbers and words that no flag may have are refused before a program begins."""

import json

import pytest
from table import PROGRAMS, calls


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_bad_flag_is_refused_in_one_line_with_name_and_value(
    run, program, tmp_path
):
    table = calls(program, tmp_path)
    (tmp_path / "calls.json").write_text(json.dumps([flags for flags, _ in table]))
    code, out, err = run("tests.bad_calls.parsing", program, tmp_path / "calls.json")
    assert code == 0, err
    results = json.loads(out.splitlines()[-1])
    faults = [
        (flags[-1], code, err)
        for (flags, words), (code, err) in zip(table, results, strict=True)
        if code != 2
        or err.count("\n") != 1
        or not all(word in err for word in (program.split(".")[1], *words))
    ]
    assert not faults
