"""CROP: fields near Winnipeg, seen by a satellite and by radar from the air."""

from __future__ import annotations

import pathlib

import numpy as np

from keras_ebm.data.builders import source
from keras_ebm.data.builders.numbers import class_labels, read_numbers

NUM_FEATURES = 174
CLASSES = ("corn", "peas", "canola", "soybeans", "oats", "wheat", "broadleaf")


FILE = ("WinnipegDataset.txt",)


def read_crop(folder: pathlib.Path) -> source.Table:
    """Reads `WinnipegDataset.txt`: the header `label,f1,...,f174` and its rows.

    There is no official test: rows are shuffled, the last tenth is the test, and
    the last tenth of the others validation. Neighbouring pixels of a field may so
    lie in both, which flatters every classifier.

    Args:
        folder: where the file is.

    Returns:
        `Table`; its columns are named as in the file. Labels 1 to 7 become 0 to 6.

    Raises:
        FileNotFoundError: if the file is absent.
        ValueError: if it is not of that form.
    """
    path = source.find_file(folder, FILE)
    values = read_numbers(path, (1 + NUM_FEATURES,), delimiter=",")
    y = class_labels(path, values[:, 0], first=1, num_classes=len(CLASSES))
    x, y = source.shuffle(values[:, 1:].astype(np.float32), y)
    (x, y), test = source.cut_last_tenth(x, y, path)
    train, validation = source.cut_last_tenth(x, y, path)
    return source.Table(
        columns=source.column_names(range(NUM_FEATURES), first=1),
        splits={"train": train, "validation": validation, "test": test},
    )


SOURCE = source.Source(
    name="crop",
    description=(
        "Optical and radar features of pixels on two days of July 2012 near Winnipeg, "
        "with the crop that grew there. Raw values; rows shuffled, the last tenth is "
        "the test, the last tenth of the others validation."
    ),
    homepage=(
        "https://archive.ics.uci.edu/dataset/525/"
        "crop+mapping+using+fused+optical+radar+data+set"
    ),
    files=(FILE,),
    instructions=(
        "Download Crop Mapping Using Fused Optical-Radar Data Set from "
        "https://archive.ics.uci.edu/dataset/525 and unpack WinnipegDataset.txt."
    ),
    citation="""@article{khosravi2019random,
  title={A random forest-based framework for crop mapping using temporal, spectral,
    textural and polarimetric observations},
  author={Khosravi, Iman and Alavipanah, Seyed Kazem},
  journal={International Journal of Remote Sensing},
  volume={40},
  number={18},
  pages={7221--7251},
  year={2019}
}""",
    class_names=CLASSES,
    num_columns=NUM_FEATURES,
    read=read_crop,
)
