"""HUMAN: what a smartphone's sensors say of six activities (UCI HAR)."""

from __future__ import annotations

import pathlib

import numpy as np

from keras_ebm.data.builders import source
from keras_ebm.data.builders.numbers import class_labels, read_numbers

NUM_FEATURES = 561
CLASSES = (
    "WALKING",
    "WALKING_UPSTAIRS",
    "WALKING_DOWNSTAIRS",
    "SITTING",
    "STANDING",
    "LAYING",
)


def _candidates(part, name):
    name = f"{name}_{part}.txt"
    return f"UCI HAR Dataset/{part}/{name}", f"{part}/{name}", name


FILES = {
    part: (_candidates(part, "X"), _candidates(part, "y")) for part in ("train", "test")
}


def read_human(folder: pathlib.Path) -> source.Table:
    """Reads `X_train.txt`, `y_train.txt`, `X_test.txt` and `y_test.txt`.

    They lie in `UCI HAR Dataset/train` and `.../test`, as unpacked, in `train` and
    `test`, or directly in the folder. Features that are discrete in the training
    file are dropped from both (`source.continuous_columns`), of the original's 561
    all but 523. The training rows are shuffled, and their last tenth is validation.
    Training and validation share persons, the test has others.

    Args:
        folder: where the files are.

    Returns:
        `Table`; its columns are named `f1` to `f561`, as numbered in the original's
        `features.txt`. Labels 1 to 6 become 0 to 5.

    Raises:
        FileNotFoundError: if a file is absent.
        ValueError: if a file is not of that form.
    """
    path, values, y = _read(folder, "train")
    kept = source.continuous_columns(values)
    if not len(kept):
        raise ValueError(
            f"{path}: there must be a feature whose smallest value occurs at most "
            f"{source.MAX_SMALLEST} times. Received: none. Check the file."
        )
    rows = source.shuffle(values[:, kept].astype(np.float32), y)
    train, validation = source.cut_last_tenth(*rows, path)
    _, values, y = _read(folder, "test")
    test = values[:, kept].astype(np.float32), y
    return source.Table(
        columns=source.column_names(kept, first=1),
        splits={"train": train, "validation": validation, "test": test},
    )


def _read(folder, part):
    paths = [source.find_file(folder, candidates) for candidates in FILES[part]]
    x = read_numbers(paths[0], (NUM_FEATURES,))
    y = class_labels(paths[1], read_numbers(paths[1], (1,))[:, 0], 1, len(CLASSES))
    if len(x) != len(y):
        raise ValueError(
            f"{paths[1]}: there must be a label for each row of {paths[0].name}. "
            f"Received: {len(y)} labels for {len(x)} rows. Check that both files are "
            "complete."
        )
    return paths[0], x, y


SOURCE = source.Source(
    name="human",
    description=(
        "Features of a smartphone's accelerometer and gyroscope while 30 persons "
        "walked, climbed, sat, stood or lay. Features that are discrete in the "
        "training file are dropped: those whose smallest value occurs more than 5 "
        "times. Raw values; training rows shuffled, validation is their last tenth."
    ),
    homepage=(
        "https://archive.ics.uci.edu/dataset/240/"
        "human+activity+recognition+using+smartphones"
    ),
    files=(*FILES["train"], *FILES["test"]),
    instructions=(
        "Download UCI HAR Dataset.zip of Human Activity Recognition Using Smartphones "
        "from https://archive.ics.uci.edu/dataset/240 and unpack it, so that there is "
        "UCI HAR Dataset/train/X_train.txt."
    ),
    citation="""@inproceedings{anguita2013public,
  title={A public domain dataset for human activity recognition using smartphones},
  author={Anguita, Davide and Ghio, Alessandro and Oneto, Luca and Parra, Xavier
    and Reyes-Ortiz, Jorge Luis},
  booktitle={European Symposium on Artificial Neural Networks (ESANN)},
  pages={437--442},
  year={2013}
}""",
    class_names=CLASSES,
    num_columns=None,
    read=read_human,
)
