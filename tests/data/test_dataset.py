import dataclasses

import numpy as np
import pytest

from keras_ebm.data.dataset import Dataset, validate
from keras_ebm.data.schema import Column, TableSchema

VECTORS = Dataset(
    x=np.zeros((4, 2), np.float32),
    y=np.array([0, 1, -1, 1]),
    kind="vector",
    class_names=("a", "b"),
)
TABLE = dataclasses.replace(
    VECTORS,
    kind="table",
    schema=TableSchema((Column("age", "numeric"), Column("height", "numeric"))),
)
IMAGES = dataclasses.replace(VECTORS, x=np.zeros((4, 8, 8, 1), np.uint8), kind="image")


def spoilt(dataset, row, column, value):
    x = dataset.x.copy()
    x[row, column] = value
    return dataclasses.replace(dataset, x=x)


def labelled(*labels):
    return dataclasses.replace(VECTORS, y=np.array(labels))


def test_a_dataset_knows_its_classes_and_the_shape_of_a_row():
    assert IMAGES.num_classes == 2
    assert IMAGES.input_shape == (8, 8, 1)


@pytest.mark.parametrize(
    "dataset",
    [VECTORS, TABLE, IMAGES, spoilt(TABLE, 1, 1, np.nan), labelled(-1, -1, -1, -1)],
)
def test_good_data_passes(dataset):
    validate(dataset)


@pytest.mark.parametrize(
    "dataset, message",
    [
        (dataclasses.replace(VECTORS, x=np.zeros((0, 2))), "at least one row"),
        (dataclasses.replace(VECTORS, kind="sound"), "`kind` must be one of"),
        (dataclasses.replace(VECTORS, x=np.zeros(4)), "shape .n, features"),
        (spoilt(VECTORS, 2, 1, np.nan), "nan in column 1, first in row 2"),
        (spoilt(VECTORS, 3, 0, np.inf), "inf in column 0, first in row 3"),
        (spoilt(TABLE, 2, 1, -np.inf), "-inf in column 'height', first in row 2"),
        (labelled(0, 1, 2, 1), "number of classes, 2. Received: 2 in row 2"),
        (labelled(0, -2, 1, 1), "Received: -2 in row 1"),
        (labelled(1, 1, -1, 1), "class 'b' alone"),
        (labelled(0, 1), "one integer a row"),
        (labelled(0.0, 1.0, 0.0, 1.0), "one integer a row"),
        (
            dataclasses.replace(IMAGES, x=np.zeros((4, 8, 8), np.uint8)),
            "uint8 of shape",
        ),
        (dataclasses.replace(IMAGES, x=np.zeros((4, 8, 8, 1))), "uint8 of shape"),
        (dataclasses.replace(IMAGES, x=np.zeros((4, 8, 8, 4), np.uint8)), "1 or 3"),
    ],
)
def test_bad_data_is_refused_with_its_place(dataset, message):
    with pytest.raises(ValueError, match=message):
        validate(dataset)


def test_one_class_passes_where_the_model_has_been_trained():
    validate(labelled(1, 1, -1, 1), allow_one_class=True)
