"""What no function or constructor may be given is refused in one line by name."""

import keras
import numpy as np
import pytest
import support
import tensorflow as tf

from export.predict import spreadsheet_text
from keras_ebm import EnergyModel
from keras_ebm.arguments import listed
from keras_ebm.data.labels import class_codes
from keras_ebm.data.npz import read_npz
from keras_ebm.data.tables import read_csv
from keras_ebm.estimators import EnergyClassifier
from keras_ebm.negatives import LangevinMoves, MALAMoves, MarkovChains, ReplayBuffer

X, Y = support.rows(24)


@pytest.fixture(scope="module")
def network():
    return support.make_network()


MODEL = {
    "seed": ("a", None, 1.5, True, 2**63),
    "negatives": ("batch", 3),
    "preprocessor": ("scale",),
    "semi_supervised": ("vat",),
    "class_names": ("abc", ["a", "a", "b"], ["a", "b"], [1, "1", 2]),
    "objective": ("maximum", None, 3),
    "energy_weight": (-1.0, float("nan"), float("inf"), "1"),
    "classification_weight": (-1.0, float("nan"), None),
    "conditional_entropy_weight": (-0.1, float("inf")),
    "gradient_penalty": (-0.1, float("nan")),
    "ramp_steps": (-1, "many"),
    "data_stddev": (-0.1, float("nan")),
    "temperature": (0.0, -1.0, float("nan")),
    "lapse_rate": (-0.1, 1.0, float("nan")),
}


def each(table):
    return [(name, value) for name, values in table.items() for value in values]


def assert_refused(error, name):
    message = str(error.value)
    assert f"`{name}`" in message and "Received" in message and "\n" not in message


@pytest.mark.parametrize("name, value", each(MODEL))
def test_an_argument_that_a_model_cannot_use_is_refused(network, name, value):
    with pytest.raises(ValueError) as error:
        EnergyModel(network, **{name: value})
    assert_refused(error, name)


def test_a_network_that_is_none_is_refused():
    with pytest.raises(ValueError, match="`network` must be a Keras model"):
        EnergyModel("mlp")


MOVES = {
    "num_steps": (0, -5, 1.5, "many"),
    "step_size": (0.0, -1.0, float("nan")),
    "noise_stddev": (-0.1, float("nan")),
    "max_gradient": (0.0, -1.0),
    "temperature": (0.0, float("inf")),
    "clip": ("all",),
}
MALA = {
    "num_leapfrog": (0, -1, 1.5),
    "initial_step_size": (0.0, float("nan")),
    "target_acceptance": (0.0, 1.0, -0.1),
    "adaptation_rate": (0.0, -1.0),
    "num_jumps": (-1,),
    "jump_stddev": (0.0,),
}


@pytest.mark.parametrize("name, value", each(MOVES))
def test_an_argument_that_langevin_moves_cannot_use_is_refused(name, value):
    with pytest.raises(ValueError) as error:
        LangevinMoves(**{name: value})
    assert_refused(error, name)


@pytest.mark.parametrize("name, value", each(MALA))
def test_an_argument_that_mala_moves_cannot_use_is_refused(name, value):
    with pytest.raises(ValueError) as error:
        MALAMoves(**{name: value})
    assert_refused(error, name)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_share_of_restarts_that_is_none_is_refused(value):
    buffer = ReplayBuffer((2,), 8)
    with pytest.raises(ValueError) as error:
        MarkovChains(LangevinMoves(2, 0.1), buffer, restart_share=value)
    assert_refused(error, "restart_share")


@pytest.mark.parametrize(
    "name, value",
    [
        ("steps", -5),
        ("steps", 0),
        ("batch_size", 0),
        ("dropout", 1.5),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
    ],
)
def test_a_setting_that_an_estimator_cannot_use_is_refused_by_fit(name, value):
    with pytest.raises(ValueError) as error:
        EnergyClassifier(**{name: value}).fit(X, np.arange(len(X)) % 2)
    assert_refused(error, name)


LARGEST = 2**64 - 1


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, LARGEST], np.uint64),
        np.array([0, 1, 2**63], np.uint64),
        np.array([0.0, 1.0, 2.0**70]),
        np.array([0, 1, LARGEST], object),
    ],
)
def test_a_label_too_large_for_an_integer_is_no_missing_label(
    network, labels, tmp_path
):
    model = EnergyModel(network)
    model.compile(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="`y` must hold.*Received: [19]"):
        model.fit(X[:3], labels)
    if labels.dtype != object:
        np.savez(tmp_path / "rows.npz", x=X[:3], y=labels)
        with pytest.raises(ValueError, match="'y' must hold.*Received: [19]"):
            read_npz(tmp_path / "rows.npz")


@pytest.mark.parametrize("dtype", ["uint64", "uint32", "int64"])
def test_a_batch_with_a_label_beyond_32_bits_is_no_batch_without_labels(network, dtype):
    model = EnergyModel(network)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    largest = LARGEST if dtype == "uint64" else 2**32 - 1
    labels = np.array([0, 1, largest], dtype)
    batches = tf.data.Dataset.from_tensor_slices((X[:3], labels)).batch(3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`y` must hold"):
        model.fit(batches, shuffle=False, verbose=0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,b\n,x\n,y\n", "must be a cell with a value.*2 rows.*'a'"),
        ("a,b\nNA,x\nnull,y\n", "cells are all missing"),
        ("a,b\n1,\0\n2,y\n", "line 2 holds a NUL"),
        (",\n1,x\n2,y\n", "header must name the columns.*2 empty names"),
        ("a,a\n1,x\n2,y\n", "Received twice: 'a'"),
    ],
)
def test_a_table_of_nothing_is_refused(tmp_path, text, message):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(tmp_path / "rows.csv")


def test_a_list_in_an_error_is_cut_after_twenty_names():
    names = [f"class_{i:04d}" for i in range(1000)]
    assert listed(names[:20]).endswith("class_0019")
    assert listed(names[:21]).endswith("class_0019 and 1 more")
    with pytest.raises(ValueError, match="and 980 more") as error:
        class_codes(names, ["another"])
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@sum", "\tx", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_begins_with_an_apostrophe(text):
    assert spreadsheet_text(text) == spreadsheet_text(text.encode()) == "'" + text


@pytest.mark.parametrize("text", ["1", "-1", "+1.5", "-1e-3", "cat", "a=b", ""])
def test_numbers_and_other_texts_stay_as_they_are(text):
    assert spreadsheet_text(text) == text
