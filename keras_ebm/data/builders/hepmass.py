"""HEPMASS: collisions that make a particle of mass 1000, and background."""

from __future__ import annotations

import pathlib

import numpy as np

from keras_ebm.data.builders import source
from keras_ebm.data.builders.numbers import class_labels, read_numbers

#: A label and 27 numbers; the test file has a column more, which says nothing.
WIDTH = 28
TRAIN, TEST = (
    (f"1000_{part}.csv", f"1000_{part}.csv.gz") for part in ("train", "test")
)


def read_hepmass(folder: pathlib.Path) -> source.Table:
    """Reads the two files `1000_train.csv` and `1000_test.csv`, or `.gz`.

    Column 0 is the label. Features that are discrete in the training file are
    dropped from both (`source.continuous_columns`), of the original's 27 all but
    15. Validation is the last tenth of the training file, in its order.

    Args:
        folder: where the files are.

    Returns:
        `Table`; its columns are named `f0` to `f26`, as in the files.

    Raises:
        FileNotFoundError: if a file is absent.
        ValueError: if a file is not of that form.
    """
    path, values = _read(folder, TRAIN, (WIDTH,))
    kept = source.continuous_columns(values[:, 1:])
    if not len(kept):
        raise ValueError(
            f"{path}: there must be a feature whose smallest value occurs at most "
            f"{source.MAX_SMALLEST} times. Received: none. Check the file."
        )
    x, y = _rows(path, values, kept)
    train, validation = source.cut_last_tenth(x, y, path)
    del values  # 1.6 GB of the original, before as much comes with the test file.
    path, values = _read(folder, TEST, (WIDTH, WIDTH + 1))
    return source.Table(
        columns=source.column_names(kept, first=0),
        splits={
            "train": train,
            "validation": validation,
            "test": _rows(path, values, kept),
        },
    )


def _read(folder, candidates, widths):
    path = source.find_file(folder, candidates)
    return path, read_numbers(path, widths, delimiter=",")


def _rows(path, values, kept):
    x = values[:, 1 + kept].astype(np.float32)
    return x, class_labels(path, values[:, 0], first=0, num_classes=2)


SOURCE = source.Source(
    name="hepmass",
    description=(
        "Simulated collisions, half of which make a particle of mass 1000 (signal). "
        "Features that are discrete in the training file are dropped: those whose "
        "smallest value occurs more than 5 times. Raw values; validation is the "
        "last tenth of the training file."
    ),
    homepage="https://archive.ics.uci.edu/dataset/347/hepmass",
    files=(TRAIN, TEST),
    instructions=(
        "Download 1000_train.csv.gz and 1000_test.csv.gz of HEPMASS from "
        "https://archive.ics.uci.edu/dataset/347/hepmass; unpacking is optional."
    ),
    citation="""@article{baldi2016parameterized,
  title={Parameterized neural networks for high-energy physics},
  author={Baldi, Pierre and Cranmer, Kyle and Faucett, Taylor and Sadowski, Peter
    and Whiteson, Daniel},
  journal={The European Physical Journal C},
  volume={76},
  number={5},
  pages={235},
  year={2016}
}""",
    class_names=("background", "signal"),
    num_columns=None,
    read=read_hepmass,
)
