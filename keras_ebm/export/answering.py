"""Asks a signature for the answers to rows, and writes these as lines of csv."""

import itertools
import os
import re

import numpy as np
import tensorflow as tf

from keras_ebm.data.example_rows import plain_message
from keras_ebm.serving.inputs import RATE
from keras_ebm.serving.outputs import OUTPUTS, restore

#: Rows that are asked together, and those of a table, which are small.
BATCH, TABLE_BATCH = 256, 4096
#: First characters by which a spreadsheet takes a text for a formula.
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")


def answer(signature, request: dict, batch: int = BATCH) -> dict[str, np.ndarray]:
    """The outputs of a signature on all rows, in batches; NaN where there is none."""
    count = len(next(iter(request.values())))
    parts = [
        signature(
            **{k: tf.constant(v[start : start + batch]) for k, v in request.items()}
        )
        for start in range(0, count, batch)
    ]
    return restore({k: np.concatenate([part[k] for part in parts]) for k in parts[0]})


def answer_rows(signature, rows, request: dict, rate: float) -> dict[str, np.ndarray]:
    """The answers to a part of the rows, at a rate if there is one.

    Args:
        signature: of the export.
        rows: the `keras_ebm.export.rows` that the part is of.
        request: what `rows.read` gave.
        rate: share of known inputs that may be refused; 0 for that of the export.

    Raises:
        ValueError: if the signature cannot read a row.
    """
    if rate:
        count = len(next(iter(request.values())))
        request = {**request, RATE: np.full(count, rate, np.float32)}
    try:
        return answer(signature, request, rows.batch)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"`dataset` must hold rows that the export can read. Received: {rows.spec}"
            f", of which it says: {plain_message(error)}"
        ) from error


def spreadsheet_text(text: str | bytes) -> str:
    """A text as a cell that no spreadsheet runs: `=1+1` becomes `'=1+1`.

    A label that is a number, such as -1, stays one.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    return (
        f"'{text}" if text.startswith(FORMULA_MARKS) and not is_number(text) else text
    )


def is_number(text: str) -> bool:
    """Whether a text is a number in digits, of which spreadsheets run nothing."""
    return re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text) is not None


def columns_of(answers: dict, files=None) -> dict[str, list[str]]:
    """The answers as cells of a csv, the label's probability in the place of all.

    They are in quotes where a csv needs them. Texts that a spreadsheet would take for
    formulas begin with an apostrophe.

    Args:
        answers: dict of arrays `(rows, ...)`.
        files: what the rows were read from, one each, or None.
    """
    # Exports of earlier versions give some of them only.
    columns = {
        name: answers[name]
        for name, output in OUTPUTS.items()
        if name in answers and output.of != "classes" and answers[name].ndim == 1
    }
    if "label" in answers:
        likeliest = answers["probabilities"].max(axis=-1)
        columns = {"label": answers["label"], "probability": likeliest, **columns}
    if files is not None:
        names = np.array([os.fspath(name) for name in files], object)
        columns = {"file": names, **columns}
    cells: dict[str, list[str]] = {}
    for name, values in columns.items():
        # The score is most often the energy, and writing numbers takes the longest.
        same = next((n for n in cells if _are_equal(columns[n], values)), None)
        cells[name] = _cells(values) if same is None else cells[same]
    return cells


def _are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        one.dtype == other.dtype
        and one.dtype.kind == "f"
        and one.tobytes() == other.tobytes()
    )


def _cells(values: np.ndarray) -> list[str]:
    """An output's values as cells of a csv."""
    if values.dtype == bool:
        return np.where(values, "true", "false").tolist()
    if values.dtype == object:
        texts = {v: quoted(spreadsheet_text(v)) for v in set(values.tolist())}
        return [texts[value] for value in values.tolist()]
    bits = values.view(f"u{values.itemsize}") if values.dtype.kind == "f" else values
    found, places = np.unique(bits, return_inverse=True)
    if 2 * len(found) > len(values):
        return list(map(str, values))
    # p-values are no more different ones than there are rows of the calibration.
    texts = list(map(str, found.view(values.dtype)))
    return [texts[place] for place in places.tolist()]


def quoted(text: str) -> str:
    """A text as `csv.writer` writes it beside others, which takes longer."""
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def lines_of(columns: dict[str, list[str]], header: bool) -> str:
    """Lines of csv, that of the names before them where it is asked for."""
    rows = map(",".join, zip(*columns.values(), strict=True))
    names = [",".join(map(quoted, columns))] if header else []
    return "".join(f"{line}\r\n" for line in itertools.chain(names, rows))
