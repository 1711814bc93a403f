"""Labels that `fit` and `evaluate` take, and what is reported without any."""

import keras
import numpy as np
import pandas as pd
import pytest
import support
import tensorflow as tf

from keras_ebm.callbacks import StopOnDivergence
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import Jitter

X, Y = support.rows(32)


@pytest.fixture(scope="module")
def model():
    """A classifier of three classes that takes no steps to speak of."""
    model = EnergyModel(support.make_network())
    model.compile(keras.optimizers.SGD(0.0))
    return model


def history(model, y, **options):
    return model.fit(X, y, batch_size=32, verbose=0, **options).history


GAPS = {
    "float": np.where(Y < 0, np.nan, Y),
    "Int64": pd.Series(np.where(Y < 0, np.nan, Y)).astype("Int64"),
    "object": np.where(Y < 0, None, Y.astype(object)),
}


@pytest.mark.parametrize("y", GAPS.values(), ids=GAPS)
def test_a_missing_label_is_unlabelled(model, y):
    found, expected = history(model, y), history(model, Y)
    assert found["cross_entropy"] == pytest.approx(expected["cross_entropy"], rel=1e-5)


@pytest.mark.parametrize(
    "y, message",
    [
        (np.where(Y > 0, 0.95, 0.05), "Received: 0.05|Received: 0.95"),
        (np.full(32, -3), "Received: -3 in row 0"),
        (np.where(np.arange(32) == 5, 3, Y), "from 0 to 2.*Received: 3 in row 5"),
        (np.full(32, np.inf), "Received: inf"),
        (np.array(["a", "b"] * 16), "Received: 'a'.*return_inverse"),
    ],
    ids=["smoothed", "negative", "too large", "infinite", "words"],
)
def test_labels_in_arrays_are_looked_at_before_the_first_step(model, y, message):
    calls = {
        "fit": lambda: history(model, y),
        "validation": lambda: history(model, Y, validation_data=(X, y)),
        "evaluate": lambda: model.evaluate(X, y, verbose=0),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "y", [np.where(Y > 0, 0.95, 0.05), Y - 3, Y + 1], ids=["smoothed", "low", "high"]
)
def test_labels_in_batches_are_looked_at_in_their_step(model, y):
    batches = tf.data.Dataset.from_tensor_slices((X, y)).batch(32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="whole and from 0 to 2"):
        model.evaluate(batches, verbose=0)


@pytest.mark.parametrize(
    "y", [np.abs(Y), tf.constant(Y), np.where(Y < 0, 0.5, np.nan), np.array(["a"] * 32)]
)
def test_a_density_is_given_no_labels_that_it_would_not_learn(y):
    density = EnergyModel(support.make_network(1))
    density.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    calls = {
        "fit": lambda: density.fit(X, y, verbose=0),
        "validation": lambda: density.fit(X, validation_data=(X, y), verbose=0),
        "evaluate": lambda: density.evaluate(X, y, verbose=0),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match="one output has no classes.*from_classif"):
            call()


@pytest.mark.parametrize("y", [None, np.full(32, -1), np.full(32, np.nan)])
def test_rows_without_labels_are_what_a_density_learns(y):
    density = EnergyModel(support.make_network(1), negatives=Jitter())
    density.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    density.fit(X, y, validation_data=(X, y), verbose=0)
    assert "accuracy" not in density.evaluate(X, y, verbose=0, return_dict=True)


@pytest.mark.parametrize("y", [np.full(32, -1), np.full(32, np.nan), None])
def test_without_labels_there_is_no_accuracy(model, y):
    with pytest.warns(UserWarning, match="no row has a label"):
        found = model.evaluate(X, y, batch_size=16, verbose=0, return_dict=True)
    assert np.isnan(found["accuracy"]) and np.isnan(found["cross_entropy"])
    # The others are means over all rows, as ever.
    energy = np.mean(model.energy(X))
    assert found["data_energy"] == pytest.approx(energy, rel=1e-5)


def test_training_goes_on_without_labels(model):
    stop = StopOnDivergence()
    found = history(
        model, np.full(32, -1), validation_data=(X, np.full(32, -1)), callbacks=[stop]
    )
    assert stop.reason is None
    assert np.isnan(found["accuracy"]) and np.isnan(found["val_accuracy"])
