"""What a label says: one rule for csv and npz files, `fit` and the estimators.

- **Missing is unlabelled**: an empty cell, a word for a missing value (`MISSING` of
  `keras_ebm.data.schema`, and `?`, as UCI's files have it), None, NaN, pandas's NA,
  and -1. Labels that are 1 and -1 and nothing else are two classes.
- **A whole number is the same however it is written**: `1.0` and `+1` are `1`.
- In csv files and in the estimators all other words and numbers are names of classes,
  but for fractions among the estimators' numbers, which are no classes.
- In npz files and in `fit` labels are numbers of classes, from 0; in npz files those
  that occur are the classes, and their numbers the names. There fractions,
  infinities and negative numbers but -1 are refused, and in `fit`, where a batch
  does not show all labels, -1 never is a class.
"""

from __future__ import annotations

import numbers
import re
import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.data.schema import MISSING

#: Whole numbers as texts. "01" is a code and stays one.
_WHOLE = re.compile(r"([+-]?)(0|[1-9]\d*)(\.0*)?")
_BINARY = {"1", "-1"}


def plain(word: str) -> str:
    """A text, without `+` and `.0` where it is a whole number."""
    match = _WHOLE.fullmatch(word)
    if match is None:
        return word
    sign = "-" if match[1] == "-" and match[2] != "0" else ""
    return sign + match[2]


def is_whole(word: str) -> bool:
    """Whether a text is a whole number."""
    return _WHOLE.fullmatch(word) is not None


def missing_labels(missing: Sequence[str] = MISSING) -> tuple[str, ...]:
    """The words for "no label", by those for "no value" in the same table.

    `?` is one of them unless someone has chosen the others.
    """
    return (*missing, "?") if tuple(missing) == MISSING else tuple(missing)


def class_names(words: Iterable[str], missing: Sequence[str] = MISSING) -> list[str]:
    """The classes among labels that are texts, by the rule of this module.

    Args:
        words: labels; each may occur often.
        missing: what stands for "no value" in their table.

    Returns:
        Their names, sorted, as numbers where all of them are whole numbers.
    """
    names = {plain(word) for word in set(words) - set(missing_labels(missing))}
    if not is_binary(names):
        names.discard("-1")
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def is_binary(names: Iterable[str]) -> bool:
    """Whether labels are 1 and -1, which are two classes then."""
    return set(names) == _BINARY


def encode(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes of an estimator's labels, and which of them each row has.

    Args:
        labels: array of shape `(n,)` of words or of numbers, where objects may stand
            for missing labels.

    Returns:
        `(classes, codes)`: the sorted classes as they are written, and for each row
        its place among them or -1, int64 of shape `(n,)`.

    Raises:
        ValueError: if labels are of several kinds, infinite or fractions.
    """
    absent = _absent(labels)
    if any(isinstance(label, str) for label in labels):
        # The number -1 may stand among words.
        absent |= np.array([_is_minus_one(label) for label in labels])
    values = labels[~absent]
    if labels.dtype == object:
        values = _of_one_kind(values)
    elif labels.dtype.kind == "S":
        values = np.char.decode(values)
    by_word = values.dtype.kind in "UO" and len(values)
    classes, found = (_encode_words if by_word else _encode_numbers)(values)
    codes = np.full(len(labels), -1, np.int64)
    codes[~absent] = found
    return classes, codes


def _absent(labels) -> np.ndarray:
    """Where there is None, NaN or pandas's NA."""
    if labels.dtype.kind == "f":
        return np.isnan(labels)
    if labels.dtype != object:
        return np.zeros(labels.shape, bool)
    flat = [_is_absent(label) for label in labels.ravel()]
    return np.array(flat, bool).reshape(labels.shape)


def _is_absent(label) -> bool:
    # pandas's NA is equal to nothing, and no bool.
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, float | np.floating) and label != label


def _is_minus_one(label) -> bool:
    return isinstance(label, numbers.Real) and label == -1


def _of_one_kind(values):
    """Objects that are all words as they are, or all numbers in an array of them."""
    has_words = {isinstance(value, str) for value in values}
    found = values if True in has_words else np.array(values.tolist())
    if has_words == {True, False} or (has_words == {False} and found.dtype == object):
        raise ValueError(
            "`y` must hold words alone or numbers alone. Received an Unknown label "
            f"type: {sorted({type(value).__name__ for value in values})}. Name the "
            "classes by str."
        )
    return found


def _encode_words(values):
    unlabelled = set(values) & set(missing_labels()) - {""}
    if unlabelled:
        rows = int(np.isin(values, list(unlabelled)).sum())
        words = listed(repr(str(word)) for word in sorted(unlabelled))
        warnings.warn(
            f"`y`: {words} in {rows} rows: read as no label. If it is a class, write "
            "it otherwise.",
            stacklevel=4,
        )
    spellings = {name: set() for name in class_names(values)}
    for value in set(values):
        spellings.get(plain(value), set()).add(value)
    written = {
        name: name if len(found) > 1 else next(iter(found))
        for name, found in spellings.items()
    }
    classes = np.array(sorted(written.values()), values.dtype)
    places = {name: code for code, name in enumerate(classes)}
    # "NA" and the like are no key of `written`, and None has no place.
    codes = {value: places.get(written.get(plain(value)), -1) for value in set(values)}
    return classes, [codes[value] for value in values]


def _encode_numbers(values):
    _check_whole(values, "`y`")
    classes = np.unique(values)
    if values.dtype.kind != "b" and not is_binary(plain(f"{c:.0f}") for c in classes):
        classes = classes[classes != -1]
    if len(classes) == 0:
        return classes, np.full(len(values), -1)
    codes = np.searchsorted(classes, values).clip(0, len(classes) - 1)
    return classes, np.where(classes[codes] == values, codes, -1)


def whole_numbers(y: np.ndarray, name: str) -> np.ndarray:
    """Labels that are numbers of classes, as integers with -1 where one is missing.

    Args:
        y: array of integers, of whole numbers as floats, or of objects.
        name: of the labels, for the error.

    Returns:
        Array of `y`'s shape: `y` itself if it holds integers, else int64.

    Raises:
        ValueError: if a label is no number, infinite or a fraction.
    """
    y = np.asarray(y)
    if y.dtype.kind in "iub":
        _check_fits(y, name)
        return y
    absent = _absent(y)
    values = y[~absent]
    if y.dtype == object:
        values = np.array(values.tolist())
    if values.dtype.kind not in "iubf":
        raise ValueError(
            f"{name} must hold numbers of classes, from 0, or -1. Received: "
            f"{values.ravel().tolist()[0]!r}. Words become their numbers by "
            "np.unique(y, return_inverse=True)[1]."
        )
    _check_whole(values, name)
    _check_fits(values, name)
    filled = np.full(y.shape, -1, np.int64)
    filled[~absent] = values.astype(np.int64)
    return filled


def _check_fits(values, name: str) -> None:
    """Refuses what would become another number, as 2^64 - 1 would become -1."""
    bad = values[values >= 2**63] if values.dtype.kind in "uf" else values[:0]
    if bad.size:
        raise ValueError(
            f"{name} must hold numbers of classes, from 0, or -1. Received: "
            f"{bad.ravel()[0]}. Renumber them by np.unique(y, return_inverse=True)[1]."
        )


def _check_whole(values, name: str) -> None:
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values) | (values != np.trunc(values))
    if bad.any():
        raise ValueError(
            f"{name} must hold classes, which are whole numbers or words. Received: "
            f"{values[bad][0]}, a continuous value. Where these are probabilities of a "
            "second class, take (y > 0.5).astype('int64'); bin other measurements."
        )
