"""Classes of which a random split leaves a part no row: what is done, what is said."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from keras_ebm.data.dataset import Dataset

#: Names of classes in a notice.
MAX_NAMES = 5
CONSEQUENCES = {
    "train": "rows to train on, so that they cannot be learned",
    "validation": "rows to validate on, so that the choice of weights and temperature "
    "does not see them",
    "calibration": "rows to calibrate on, so that their own thresholds cannot be set",
    "test": "rows to test with, so that their accuracy is not measured",
}
#: A class of fewer rows cannot have one in every part.
FEW_ROWS = len(CONSEQUENCES)


def spread_classes(
    parts: Mapping[str, np.ndarray], spare: np.ndarray, y: np.ndarray, keep_test: bool
) -> dict[str, np.ndarray]:
    """Gives classes that a part lacks a row there, in exchange for another row.

    Where every class has rows to train on and to test with, nothing is changed. Else
    a class without training rows gets one, of the rows that are in no part, else of
    validation or test, whichever has more; in its place goes the last training row of
    the class that has the most. Then a class of two training rows or more gives one to
    the test if that has none. The sizes of the parts stay.

    Calibration rows stay as drawn, as the rates promised need them to be exchangeable
    with new rows; what is exchanged does not depend on them. A class whose rows are
    all among them is the one exception: it gives a row, which adds `1 / (n + 1)` to
    the rates at most, for `n` calibration rows.

    Args:
        parts: row numbers by the name of a part.
        spare: row numbers that are in no part, and may be.
        y: labels of all rows, -1 for none.
        keep_test: bool, whether the test is an official one.

    Returns:
        The parts, of the same sizes.
    """
    rows = {name: part.copy() for name, part in {**parts, "spare": spare}.items()}
    held = np.concatenate([rows[name] for name in (*CONSEQUENCES, "spare")])
    classes = np.unique(y[held])
    classes = classes[classes >= 0]
    for code in classes:
        if not np.any(y[rows["train"]] == code):
            giver = _giver(rows, y, code, keep_test)
            if giver:
                _exchange(rows, y, code, giver, "train")
    for code in classes if not keep_test else ():
        spared = np.sum(y[rows["train"]] == code) > 1
        if spared and not np.any(y[rows["test"]] == code):
            _exchange(rows, y, code, "train", "test")
    return {name: rows[name] for name in parts}


def _giver(rows, y, code: int, keep_test: bool) -> str | None:
    """The part that a class's row is taken from."""
    counts = {name: int(np.sum(y[part] == code)) for name, part in rows.items()}
    if keep_test:
        counts["test"] = 0
    middle = "test" if counts["test"] > counts["validation"] else "validation"
    for name in ("spare", middle, "calibration"):
        if counts[name]:
            return name
    return None


def _exchange(rows, y, code: int, giver: str, taker: str) -> None:
    """Moves a row of class `code`, for one of a class with more rows, if there is."""
    labels, counts = np.unique(y[rows[taker]], return_counts=True)
    # Rows without labels, which sort first, only where no class has two.
    rank = np.where(labels >= 0, counts, 1.5)
    best = int(np.argmax(rank))
    if rank[best] <= 1:
        return
    out = np.flatnonzero(y[rows[taker]] == labels[best])[-1]
    into = np.flatnonzero(y[rows[giver]] == code)[-1 if giver == "train" else 0]
    rows[taker][out], rows[giver][into] = rows[giver][into], rows[taker][out]


def tell_rare_classes(
    dataset: Dataset, parts: Mapping[str, np.ndarray], held_out: list[int]
) -> None:
    """Names, in one `UserWarning`, the classes that lack rows and what follows.

    These are classes without any row, without rows to train on or to test with, and
    of classes of fewer than `FEW_ROWS` rows also those without rows to validate or
    calibrate.

    Args:
        dataset: `Dataset` that was split.
        parts: row numbers by the name of a part.
        held_out: numbers of the classes that are no part of this.
    """
    codes = np.setdiff1d(np.arange(dataset.num_classes), held_out)
    if not np.any(dataset.y >= 0):
        return
    totals = np.bincount(dataset.y[dataset.y >= 0], minlength=dataset.num_classes)
    notes = []
    absent = [code for code in codes if not totals[code]]
    if absent:
        notes.append(f"{_names(dataset, absent)}: no rows at all")
    for part, consequence in CONSEQUENCES.items():
        here = dataset.y[parts[part]]
        most = FEW_ROWS if part in ("validation", "calibration") else np.inf
        lacking = [c for c in codes if 0 < totals[c] < most and not np.any(here == c)]
        if lacking:
            notes.append(f"{_names(dataset, lacking)}: no {consequence}")
    if notes:
        warnings.warn(f"{dataset.name}: classes {'; '.join(notes)}", stacklevel=4)


def _names(dataset: Dataset, codes: list[int]) -> str:
    named = ", ".join(repr(dataset.class_names[code]) for code in codes[:MAX_NAMES])
    more = len(codes) - MAX_NAMES
    return named + (f" and {more} others" if more > 0 else "")
