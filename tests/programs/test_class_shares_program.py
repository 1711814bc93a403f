"""What `--class_shares` does to a model that has been trained."""

import types

import keras
import numpy as np
import pytest

from keras_ebm import EnergyModel
from keras_ebm.trainers.run.class_shares import answer_by_shares, check_shares


def a_run(train_labels, validation_labels, kind="table"):
    """Two Gaussians, nine rows of the first to one of the second."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 10 == 0
    x = (rng.normal(size=(200, 2)) + 4.0 * y[:, None]).astype(np.float32)
    rows = {
        "train": (x, np.where(train_labels(y.astype(int)), y, -1)),
        "validation": (x, np.where(validation_labels(y.astype(int)), y, -1)),
    }
    dataset = types.SimpleNamespace(class_names=("no", "yes"), kind=kind, name="rows")
    return types.SimpleNamespace(rows=rows.get, dataset=dataset)


def ten_a_class(y):
    return np.cumsum(y == 0) * (y == 0) + np.cumsum(y) * y <= 10


def all_of_them(y):
    return y >= 0


def none(y):
    return y < 0


@pytest.fixture
def model():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    kernel = np.array([[-1.0, 1.0], [-1.0, 1.0]], np.float32)
    network.layers[0].set_weights([kernel, np.array([4.0, -4.0], np.float32)])
    return EnergyModel(network)


def test_validation_rows_with_labels_are_counted(model, capsys):
    answer_by_shares(model, a_run(ten_a_class, all_of_them), "counted")
    first, second = model.class_offsets
    assert first > 0.0 > second
    # 180 and 20 of 200, and 5 rows of even shares.
    assert "class_shares: counted: no 0.890, yes 0.110" in capsys.readouterr().err


def test_unlabelled_rows_tell_where_they_are_asked(model, capsys):
    answer_by_shares(model, a_run(ten_a_class, all_of_them), "estimated")
    first, second = model.class_offsets
    assert first > 0.0 > second
    assert "class_shares: estimated: no 0." in capsys.readouterr().err


def test_labels_of_all_training_rows_are_believed(model):
    answer_by_shares(model, a_run(all_of_them, all_of_them), "counted")
    assert model.class_offsets is None


def test_too_few_validation_labels_are_not_counted(model, capsys):
    answer_by_shares(model, a_run(ten_a_class, none), "counted")
    assert model.class_offsets is None
    assert "fewer than 20 validation rows have labels" in capsys.readouterr().err


def test_shares_of_several_inputs_are_not_estimated():
    check_shares(a_run(ten_a_class, all_of_them))
    with pytest.raises(ValueError, match="`class_shares` estimated takes rows that"):
        check_shares(a_run(ten_a_class, none, kind="inputs"))
