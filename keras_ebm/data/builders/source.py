"""What the tables made of downloaded files share: where they lie, how they split."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

#: More rows than this at a feature's smallest value make it a discrete one.
MAX_SMALLEST = 5
#: Of the order of rows, where the source gives none: part of a set's version.
SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table cut into splits.

    Args:
        columns: tuple of str, the names of the columns but the label.
        splits: dict of `"train"`, `"validation"` and `"test"` to `(x, y)`:
            float32 of shape `(n, columns)` and int64 of shape `(n,)`.
    """

    columns: tuple[str, ...]
    splits: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Source:
    """A table whose files are downloaded by hand.

    Args:
        name: str, as TensorFlow Datasets is to know it.
        description: str, what the table is and how it is made.
        homepage: str, where its files are.
        files: tuple of tuples of str, the paths below the folder of the files at
            which each of them may lie; the first is where it is asked for.
        instructions: str, how to get them.
        citation: str, BibTeX.
        class_names: tuple of str.
        num_columns: int, how many columns every copy has; `None` where that
            depends on the file's values.
        read: callable from the folder of the files to a `Table`.
    """

    name: str
    description: str
    homepage: str
    files: tuple[tuple[str, ...], ...]
    instructions: str
    citation: str
    class_names: tuple[str, ...]
    num_columns: int | None
    read: Callable[[pathlib.Path], Table]


def find_file(folder: str | os.PathLike, candidates: Sequence[str]) -> pathlib.Path:
    """The first of the paths below `folder` at which there is a file.

    Raises:
        FileNotFoundError: if there is none; its text is where it is asked for.
    """
    for candidate in candidates:
        path = pathlib.Path(folder) / candidate
        if path.is_file():
            return path
    raise FileNotFoundError(candidates[0])


def continuous_columns(x: np.ndarray) -> np.ndarray:
    """Numbers of the columns whose smallest value occurs at most 5 times.

    A value that recurs says that a feature is discrete or clipped. That only the
    smallest one is counted is the published rule.

    Args:
        x: float array of shape `(n, columns)`, as precise as the file.

    Returns:
        int64 array, in increasing order.

    References:
        - Papamakarios et al. (2017), "Masked autoregressive flow for density
          estimation", https://arxiv.org/abs/1705.07057: its data HEPMASS.
    """
    counts = [np.sum(feature == feature.min()) for feature in x.T]
    return np.flatnonzero(np.array(counts) <= MAX_SMALLEST)


def shuffle(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels in the order that `SEED` gives."""
    order = np.random.default_rng(SEED).permutation(len(x))
    return x[order], y[order]


def cut_last_tenth(
    x: np.ndarray, y: np.ndarray, path: str | os.PathLike
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`((x, y), (x, y))`: all rows but the last tenth (rounded down), and these.

    Raises:
        ValueError: if there are less than 10 rows; `path` says of what.
    """
    end = len(x) - len(x) // 10
    if end == len(x):
        raise ValueError(
            f"{path}: there must be at least 10 rows to cut a tenth off. Received: "
            f"{len(x)}. Check that the file is complete."
        )
    return (x[:end], y[:end]), (x[end:], y[end:])


def column_names(numbers: Iterable[int], first: int) -> tuple[str, ...]:
    """Names such as `f7` by position in the file; `first` names the first one."""
    return tuple(f"f{first + int(number)}" for number in numbers)
