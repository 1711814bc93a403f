r"""Watches the answers of an exported model for signs that its inputs have changed.

Reads what `keras-ebm predict` writes, or any csv with a column `p_value` and, where
there are, `accept` and `label`; counts its rows into a small state without inputs,
prints what was seen, and raises an alarm that is false with probability `level` at
most, however long the stream is and however often one looks (see `docs/drift.md`).
Rows without a p-value, which could not be answered, are counted apart. Run it again for
each new file:

    keras-ebm monitor --model=served/table --answers=answers.csv \
        --state=drift.json --picture=drift.png

A file that grows is read again with `--only_new`, which counts the rows that were
added. With `--fail_on_alarm` the exit status is 3 while there is an alarm, for cron.
An alarm stays until `--reset` starts the next test.
"""

import csv
import dataclasses
import hashlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags

from keras_ebm import plots
from keras_ebm.arguments import listed
from keras_ebm.export.predict import find_version, read_card, spreadsheet_text
from keras_ebm.serving import DriftMonitor
from keras_ebm.trainers.program import errors, folders, options, running
from keras_ebm.trainers.program.options import Checked, setting

FLAGS = flags.FLAGS
#: Exit status of `--fail_on_alarm`; 1 and 2 are of errors.
ALARM_STATUS = 3
FLAG_VALUES = {"true": True, "false": False}


@dataclasses.dataclass(frozen=True)
class MonitorSettings(Checked):
    """Which answers are counted where."""

    answers: tuple = setting(
        (), "CSV files of answers, with commas between, in the order of the answers."
    )
    state: str = setting("", "JSON file of the state, which is created or goes on.")
    model: str = setting(
        "",
        "Export that gave the answers: DIR/NAME, of which the latest version, or one. "
        "It says what a new state needs; with one that goes on it is compared.",
    )
    calibration_rows: int = setting(
        -1,
        "Without --model, how many rows the p-values were computed from; 0: answers "
        "are compared among each other. -1: as --model says.",
        low=-1,
    )
    level: float = setting(
        0.01, "Probability of ever raising a false alarm.", above=0, below=1
    )
    seed: int = setting(0, "Seed of the draws that break ties.", **options.SEED)
    only_new: bool = setting(
        False, "Whether of files that were counted before the rows after these count."
    )
    reset: bool = setting(
        False, "Whether the next test starts before the rows are counted."
    )
    fail_on_alarm: bool = setting(
        False, f"Whether the exit status is {ALARM_STATUS} while there is an alarm."
    )
    picture: str = setting("", "Picture to write, of evidence and refused over time.")


class Answers(NamedTuple):
    """Columns of answers; those that a file lacks are None."""

    p_values: np.ndarray
    accepted: np.ndarray | None
    labels: list[str] | None


def read_answers(path: str, counted: dict, only_new: bool) -> tuple[Answers, dict]:
    """Reads the rows of a file that have not been counted.

    Args:
        path: of a csv.
        counted: by path, what was counted before; see the second result.
        only_new: whether a file that was counted may be read again.

    Returns:
        `(answers, mark)`: the rows, and what is kept of the file: the number of `rows`
        and `bytes` that are counted by now, and the `sha256` of these.

    Raises:
        ValueError: if it cannot be read, lacks a column, or was counted before.
    """
    content = Path(path).read_bytes()
    if only_new:
        # Somebody may be writing the last line.
        content = content[: content.rfind(b"\n") + 1]
    before = counted.get(os.path.realpath(path), {"rows": 0, "bytes": 0})
    mark = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    _check_new(path, content, mark, counted, only_new)
    header, _, rest = content.partition(b"\n")
    if before["bytes"]:
        rest = content[before["bytes"] :]
    answers = _parse(path, header, rest, before["rows"])
    return answers, {"rows": before["rows"] + len(answers.p_values), **mark}


def _check_new(path, content: bytes, mark: dict, counted: dict, only_new: bool) -> None:
    """Refuses what was counted before, which would count as a change."""
    before = counted.get(os.path.realpath(path))
    if before is None:
        same = [name for name, of in counted.items() if of["sha256"] == mark["sha256"]]
        if same:
            raise ValueError(
                f"`answers` must be files that were not counted before. Received: "
                f"{path}, whose content was counted as {same[0]}."
            )
    elif not only_new:
        raise ValueError(
            "`answers` must be files that were not counted before. Received: "
            f"{path}, of which {before['rows']} rows are in the state; with --only_new "
            "those after them are counted."
        )
    else:
        former = hashlib.sha256(content[: before["bytes"]]).hexdigest()
        if former != before["sha256"]:
            raise ValueError(
                "`answers` must begin with the rows that were counted before. "
                f"Received: {path}, of which {before['rows']} rows were counted "
                "that are no longer there; give files with other answers other names."
            )


def _parse(path, header: bytes, rest: bytes, rows_before: int) -> Answers:
    try:
        names = next(csv.reader([header.decode("utf-8-sig")]), [])
        lines = csv.reader(io.StringIO(rest.decode("utf-8"), newline=""), strict=True)
        cells = [line for line in lines if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path} must be a csv in UTF-8. Received: {error}."
        ) from error
    if "p_value" not in names:
        raise ValueError(
            f"{path} must have a column p_value, as keras-ebm predict writes it. "
            f"Received: {listed(names) or 'no column'}."
        )
    for number, line in enumerate(cells, rows_before + 1):
        if len(line) != len(names):
            raise ValueError(
                f"{path}: row {number} must have {len(names)} cells. Received: "
                f"{len(line)}."
            )
    columns = {name: [line[i] for line in cells] for i, name in enumerate(names)}
    accepted = columns.get("accept")
    return Answers(
        np.array([_number(path, text) for text in columns["p_value"]], np.float64),
        None
        if accepted is None
        else np.array([_flag(path, t) for t in accepted], bool),
        columns.get("label"),
    )


def _number(path, text: str) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        raise ValueError(
            f"{path} must hold numbers in p_value, or nothing. Received: {text!r}."
        ) from None


def _flag(path, text: str) -> bool:
    if text.lower() not in FLAG_VALUES:
        raise ValueError(
            f"{path} must hold true or false in accept. Received: {text!r}."
        )
    return FLAG_VALUES[text.lower()]


def class_ids(path, answers: Answers, monitor: DriftMonitor) -> np.ndarray | None:
    """Numbers of the classes that answers name; None where none are known.

    Raises:
        ValueError: if the monitor needs them, or a name is none of its classes.
    """
    if answers.labels is None or not monitor.class_names:
        if monitor.by_class:
            raise ValueError(
                f"{path} must have a column label, as the model was calibrated by "
                "class. Received: none."
            )
        return None
    numbers = {
        spreadsheet_text(name): index for index, name in enumerate(monitor.class_names)
    }
    # Those of rows without an answer are empty.
    known = {*numbers, ""} if np.isnan(answers.p_values).any() else {*numbers}
    wrong = [label for label in answers.labels if label not in known]
    if wrong:
        raise ValueError(
            f"{path} must hold classes of the model in label: {listed(numbers)}. "
            f"Received: {wrong[0]!r}."
        )
    return np.array([numbers.get(label, -1) for label in answers.labels], np.int64)


def open_monitor(settings: MonitorSettings, card: dict | None, given) -> DriftMonitor:
    """The monitor of the state, or a new one.

    Args:
        settings: `MonitorSettings`.
        card: of the export, if one is named.
        given: names of the flags that were given.

    Raises:
        ValueError: if a new state lacks what it needs, or a flag contradicts the state.
    """
    if not os.path.exists(settings.state):
        return _new_monitor(settings, card)
    monitor = DriftMonitor.load(settings.state)
    for name in ("level", "seed"):
        if name in given and getattr(settings, name) != getattr(monitor, name):
            raise ValueError(
                f"`{name}` must be that of the state, {getattr(monitor, name)}. "
                f"Received: {name}={getattr(settings, name)}; leave it out, or begin "
                "another state."
            )
    if card is not None:
        _check_same_model(settings, card, monitor)
    if settings.calibration_rows >= 0:
        rows = [reference.rows for reference in monitor.references]
        if rows != [settings.calibration_rows]:
            raise ValueError(
                f"`calibration_rows` must be that of the state, {listed(rows)}. "
                f"Received: calibration_rows={settings.calibration_rows}."
            )
    return monitor


def _new_monitor(settings: MonitorSettings, card: dict | None) -> DriftMonitor:
    if (card is None) == (settings.calibration_rows < 0):
        raise ValueError(
            "`model` or `calibration_rows` must be given for a new state, one of them. "
            f"Received: model={settings.model!r}, calibration_rows="
            f"{settings.calibration_rows}, and no file {settings.state}."
        )
    chosen = {"level": settings.level, "seed": settings.seed}
    if card is None:
        monitor = DriftMonitor(settings.calibration_rows, **chosen)
        monitor.notes = {"files": {}}
        return monitor
    monitor = DriftMonitor.for_card(card, **chosen)
    monitor.notes = {
        "files": {},
        "calibration_sha256": card.get("calibration_sha256"),
        "target_fpr": card["target_fpr"],
    }
    return monitor


def _check_same_model(settings, card: dict, monitor: DriftMonitor) -> None:
    if card.get("calibration_sha256") != monitor.notes.get("calibration_sha256"):
        raise ValueError(
            "`model` must be the one whose answers the state counts. Received: "
            f"{settings.model}, with other calibration rows than that of "
            f"{settings.state}; begin another state for another version."
        )


def count(monitor: DriftMonitor, path: str, only_new: bool) -> int:
    """Counts the rows of a file; how many there were."""
    counted = monitor.notes.setdefault("files", {})
    answers, mark = read_answers(path, counted, only_new)
    classes = class_ids(path, answers, monitor)
    try:
        monitor.update(answers.p_values, answers.accepted, classes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    counted[os.path.realpath(path)] = mark
    return len(answers.p_values)


def lines(monitor: DriftMonitor) -> list[str]:
    """What was seen, in plain lines."""
    seen = monitor.summary()
    found = [f"{seen['answers']} answers, {seen['unanswered']} rows without an answer"]
    if seen["refused"]:
        rate = monitor.notes.get("target_fpr")
        beside = f", the model's rate is {100 * rate:g} %" if rate else ""
        found.append(f"refused {_share(seen['refused'])}{beside}")
    for name, of in seen["classes"].items():
        share = of["calibration_share"]
        beside = "" if share is None else f", of calibration rows {100 * share:.1f} %"
        found.append(f"class {name} {_share(of)}{beside}")
    evidence = f"evidence 10^{seen['log10_highest']:.1f} at its highest"
    needed = f"{1 / seen['level']:g} is an alarm"
    if seen["alarm"]:
        found.append(f"ALARM at answer {seen['alarm_at']}: {evidence}; {needed}")
    else:
        found.append(f"no alarm: {evidence}; {needed}")
    return found


def _share(of: dict) -> str:
    low, high = (100 * bound for bound in of["interval"])
    return f"{100 * of['share']:.1f} % ({low:.1f} to {high:.1f} with 95 % at any time)"


def figure(monitor: DriftMonitor):
    """The picture over time."""
    return plots.draw_drift(
        monitor.history(),
        monitor.level,
        alarm_at=monitor.alarm_at,
        expected=monitor.notes.get("target_fpr"),
    )


def main(argv):
    del argv
    settings = options.from_flags(MonitorSettings)
    if not settings.answers:
        raise app.UsageError(
            "--answers must name files of answers. Received: none; write "
            "--answers=answers.csv."
        )
    state = folders.require_file("state")
    written = {"state": settings.state, "picture": settings.picture}
    if settings.picture:
        folders.require_file("picture")
    folders.check_apart(written, {f"answers {path}": path for path in settings.answers})
    with errors.usage_errors():
        card = read_card(find_version(Path(settings.model))) if settings.model else None
        given = {name for name in ("level", "seed") if FLAGS[name].present}
        monitor = open_monitor(settings, card, given)
        if settings.reset:
            monitor.reset()
        for path in settings.answers:
            print(f"{path}: {count(monitor, path, settings.only_new)} rows counted")
        # Drawn before the rows count, so that what fails leaves all as it was.
        drawn = figure(monitor) if settings.picture and monitor.answers else None
    folders.make_parent(state)
    monitor.save(state)
    if drawn is not None:
        folders.make_parent(Path(settings.picture))
        plots.save(drawn, settings.picture)
    print("\n".join(lines(monitor)))
    if settings.fail_on_alarm and monitor.alarm:
        sys.exit(ALARM_STATUS)


if __name__ == "__main__":
    options.define_flags(MonitorSettings)
    running.run_program(main)
