import csv
import json
import re

import numpy as np
import pytest

from keras_ebm.export.monitor import (
    ALARM_STATUS,
    MonitorSettings,
    open_monitor,
    read_answers,
)
from keras_ebm.export.predict import check_batch_rate, read_card
from keras_ebm.serving import DriftMonitor
from keras_ebm.trainers.run.record import recall


def write_answers(path, p_values, mode="w", header=True):
    """Answers as `export.predict` writes them, of some columns."""
    with open(path, mode, newline="") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(["p_value", "accept"])
        writer.writerows([p, "true" if p > 0.05 else "false"] for p in p_values)
    return path


@pytest.fixture
def p_values():
    return np.random.default_rng(0).integers(1, 101, 300) / 100


def test_answers_of_an_export_are_watched(
    run, table_export, write_table, new_table_rows, tmp_path
):
    version, _ = table_export
    rows = [[age, income, city] for age, income, _, city in new_table_rows(200, seed=3)]
    spec = write_table(tmp_path / "new.csv", rows, ["age", "income (k)", "city"])
    answers, state = tmp_path / "answers.csv", tmp_path / "state.json"
    code, out, err = run(
        "export.predict",
        *[f"--model={version}", f"--dataset={spec}", f"--output={answers}"],
        "--batch_rate=0.2",
    )
    assert (code, err) == (0, "")
    with open(answers, newline="") as file:
        lines = list(csv.DictReader(file))
    refused = sum(line["refused_in_batch"] == "true" for line in lines)
    assert f"{refused} refused in the batch, of which at most 20 %" in out
    code, out, err = run(
        "export.monitor",
        *[f"--model={version}", f"--answers={answers}", f"--state={state}"],
        f"--picture={tmp_path / 'drift.png'}",
    )
    assert (code, err) == (0, "")
    assert f"{answers}: 200 rows counted" in out
    assert "200 answers, 0 rows without an answer" in out
    assert "the model's rate is 10 %" in out and "no alarm" in out
    card = read_card(version)
    assert all(f"class {name} " in out for name in card["class_names"])
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")
    monitor = DriftMonitor.load(state)
    assert monitor.references[0].rows == card["calibration_rows"]
    assert monitor.flagged == 200
    # No inputs are kept.
    assert "income" not in state.read_text()


def test_an_alarm_is_told_by_the_exit_status_until_the_next_test(run, tmp_path):
    answers = write_answers(tmp_path / "a.csv", [0.01] * 40)
    flags = [f"--state={tmp_path / 'new' / 'state.json'}", "--fail_on_alarm"]
    code, out, err = run(
        "export.monitor", *flags, f"--answers={answers}", "--calibration_rows=99"
    )
    assert (code, err) == (ALARM_STATUS, "")
    assert re.search(r"ALARM at answer \d+: evidence 10\^\d", out)
    more = write_answers(tmp_path / "b.csv", [0.7])
    code, out, _ = run("export.monitor", *flags, f"--answers={more}", "--reset")
    assert code == 0 and "1 answers" in out


def test_rows_that_were_added_are_counted_alone(p_values, tmp_path):
    whole, grown = tmp_path / "whole.csv", tmp_path / "grown.csv"
    write_answers(whole, p_values)
    expected, _ = read_answers(whole, {}, False)
    write_answers(grown, p_values[:200])
    first, mark = read_answers(grown, {}, True)
    counted = {str(grown): mark}
    write_answers(grown, p_values[200:], "a", header=False)
    with open(grown, "a") as file:
        file.write("0.0")  # Which is not written to its end.
    second, mark = read_answers(grown, counted, True)
    assert mark["rows"] == 300
    both = np.concatenate([first.p_values, second.p_values])
    np.testing.assert_array_equal(both, expected.p_values)
    np.testing.assert_array_equal(expected.p_values, p_values)
    assert expected.accepted.tolist() == (p_values > 0.05).tolist()
    none, again = read_answers(grown, {str(grown): mark}, True)
    assert len(none.p_values) == 0 and again == mark


def test_no_row_is_counted_twice(p_values, tmp_path):
    path = write_answers(tmp_path / "a.csv", p_values)
    _, mark = read_answers(path, {}, False)
    counted = {str(path): mark}
    with pytest.raises(ValueError, match="300 rows are in the state; with --only_new"):
        read_answers(path, counted, False)
    copied = tmp_path / "b.csv"
    copied.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="b.csv, whose content was counted as .*a.csv"):
        read_answers(copied, counted, False)
    write_answers(path, p_values[::-1])
    with pytest.raises(ValueError, match="300 rows were counted that are no longer"):
        read_answers(path, counted, True)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "column p_value.*Received: no column"),
        ("energy\n1.0\n", "column p_value.*Received: energy"),
        ("p_value\nhigh\n", "numbers in p_value, or nothing. Received: 'high'"),
        ("p_value,accept\n0.5,yes\n", "true or false in accept. Received: 'yes'"),
        ("p_value,accept\n0.5,true\n0.5\n", "row 2 must have 2 cells. Received: 1"),
    ],
)
def test_a_file_of_other_columns_is_refused_by_name(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=f"a.csv.*{words}"):
        read_answers(tmp_path / "a.csv", {}, False)


def test_what_has_no_p_value_is_read_as_such(tmp_path):
    (tmp_path / "a.csv").write_text("p_value,label\nnan,\n0.5,x\n,\n")
    answers, _ = read_answers(tmp_path / "a.csv", {}, False)
    np.testing.assert_array_equal(answers.p_values, [np.nan, 0.5, np.nan])
    assert answers.accepted is None and answers.labels == ["", "x", ""]


def test_a_state_is_of_one_model_one_level_and_one_seed(table_export, tmp_path):
    card = read_card(table_export[0])
    state = str(tmp_path / "state.json")
    monitor = open_monitor(MonitorSettings(state=state, model="m"), card, set())
    monitor.save(state)
    assert monitor.notes["target_fpr"] == 0.1
    cases = [
        ({"level": 0.5}, card, {"level"}, "`level` must be that of the state, 0.01"),
        ({"seed": 5}, card, {"seed"}, "`seed` must be that of the state, 0"),
        ({}, {**card, "calibration_sha256": "0"}, set(), "other calibration rows"),
        ({"calibration_rows": 7}, None, set(), "must be that of the state"),
    ]
    for keywords, of, given, words in cases:
        settings = MonitorSettings(state=state, model="m", **keywords)
        with pytest.raises(ValueError, match=words):
            open_monitor(settings, of, given)


def test_exports_of_earlier_versions_are_watched_by_their_number_of_rows():
    card = {"per_class": False, "calibration_rows": 99, "target_fpr": 0.1}
    assert DriftMonitor.for_card(card).references == DriftMonitor(99).references
    cross = DriftMonitor.for_card({**card, "calibration": "cross"})
    assert cross.references == DriftMonitor(0).references
    by_class = {"per_class": True, "calibration_rows_by_class": [50, 49]}
    monitor = DriftMonitor.for_card({**card, **by_class, "class_names": ["a", "b"]})
    assert monitor.references == DriftMonitor([50, 49]).references


def test_a_detectors_answers_are_watched_and_its_card_says_what_that_needs(
    table_export, table
):
    version, detector = table_export
    rows = recall(table[0] / "model.keras").dataset.x
    answers = detector.predict(rows[:50])
    monitor = DriftMonitor.for_conformal(detector.conformal)
    monitor.update(answers["p_value"], answers["accept"], answers["class_id"])
    assert monitor.answers == 50 == sum(monitor.classes.values())
    assert monitor.refused == np.sum(~answers["accept"])
    card = json.loads((version / "assets.extra" / "keras_ebm.json").read_text())
    assert DriftMonitor.for_card(card).references == monitor.references


def test_a_batch_rate_of_cross_calibration_is_refused():
    check_batch_rate({"calibration": "split"})
    with pytest.raises(ValueError, match="`batch_rate` must be asked of an export wi"):
        check_batch_rate({"calibration": "cross"})
