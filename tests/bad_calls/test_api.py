"""What no function or constructor may be given is refused in one line by name."""

import keras
import numpy as np
import pytest
import support
import tensorflow as tf

from keras_ebm import EnergyModel
from keras_ebm.arguments import listed
from keras_ebm.data.labels import class_codes
from keras_ebm.data.npz import read_npz
from keras_ebm.data.tables import read_csv
from keras_ebm.estimators import EnergyClassifier
from keras_ebm.explain import Explainer
from keras_ebm.export.predict import spreadsheet_text
from keras_ebm.layers import TableEncoder
from keras_ebm.negatives import (
    Bank,
    Jitter,
    LangevinMoves,
    MALAMoves,
    MarkovChains,
    Mixed,
    PatchShuffle,
    PhaseScramble,
    ReplayBuffer,
)
from keras_ebm.ood import ConformalDetector, Detector, Energy, make_score
from keras_ebm.ood.training_rows import read_matrix
from keras_ebm.precision import warn_of_merged_integers
from keras_ebm.trainers.program.options import integers

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
    "plain_steps": (-1, "many", 1.5),
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


NAN_ROW = np.array([[1.0, 2.0], [np.nan, 0.0]])
TWO = [Jitter(), Jitter()]
SOURCES = [
    (PhaseScramble, "value_range", (1.0, 1.0)),
    (PhaseScramble, "value_range", (float("nan"), 1.0)),
    (PhaseScramble, "value_range", "ab"),
    (PhaseScramble, "value_range", 3.0),
    (PatchShuffle, "patches", 1),
    (PatchShuffle, "patches", 0),
    (PatchShuffle, "patches", 2.0),
    (PatchShuffle, "patches", (1, 1)),
    (PatchShuffle, "patches", (2, 2, 2)),
    (Bank, "rows", []),
    (Bank, "rows", np.zeros(3)),
    (Bank, "rows", np.zeros((0, 3))),
    (Bank, "rows", [["a", "b"]]),
    (Bank, "rows", NAN_ROW),
    (Bank, "rows", None),
    (Mixed, "sources", None),
    (Mixed, "sources", Jitter()),
    (Mixed, "sources", [Jitter()]),
    (Mixed, "sources", ["jitter", "batch"]),
    (Mixed, "sources", [Jitter(), None]),
    (Mixed, "sources", [MarkovChains(LangevinMoves(1))] * 2),
]


@pytest.mark.parametrize("source, name, value", SOURCES)
def test_an_argument_that_a_source_cannot_use_is_refused(source, name, value):
    with pytest.raises(ValueError) as error:
        source(**{name: value})
    assert_refused(error, name)


@pytest.mark.parametrize("value", [(1,), (1, -1), (1, 0), (1, float("nan")), "ab", 3])
@pytest.mark.parametrize("name", ["shares", "term_weights"])
def test_ratios_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError) as error:
        Mixed(TWO, **{name: value})
    assert_refused(error, name)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), 2.5, "all"])
def test_a_size_of_a_mix_that_is_none_is_refused(value):
    with pytest.raises(ValueError) as error:
        Mixed(TWO, size=value)
    assert_refused(error, "size")


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
    assert listed(["a" * 9999, "b"]) == "a" * 200 + "..., b"


def wide_outputs():
    return {f"output_{i:04d}": np.zeros((3, 2)) for i in range(1000)}


def wide_integers():
    # Each column has two numbers that float64 takes for one.
    return np.array([[2**53], [2**53 + 1]]) + np.zeros((1, 1000), int)


@pytest.mark.parametrize(
    "call",
    [
        lambda: make_score("max_softmax").predict(wide_outputs()),
        lambda: read_matrix(wide_outputs()),
        lambda: integers("Layer widths", ["many"] * 1000),
        lambda: warn_of_merged_integers(wide_integers()),
    ],
)
def test_no_error_or_warning_lists_a_thousand_names(call):
    with pytest.raises((ValueError, UserWarning), match="and 980 more") as error:
        call()
    assert len(str(error.value)) < 1200


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@sum", "\tx", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_begins_with_an_apostrophe(text):
    assert spreadsheet_text(text) == spreadsheet_text(text.encode()) == "'" + text


@pytest.mark.parametrize("text", ["1", "-1", "+1.5", "-1e-3", "cat", "a=b", ""])
def test_numbers_and_other_texts_stay_as_they_are(text):
    assert spreadsheet_text(text) == text


CLASSES = 3
LABELS = {
    "y": (
        [-7, 0, 1],
        [-1, 0, 1],
        [0, 1, CLASSES],
        np.array([0, 1, 2**63], np.uint64),
        [0, 1, 2**32],
        [0.5, 1.0, 2.0],
        [0.0, float("nan"), 1.0],
        [0.0, float("inf"), 1.0],
        ["a", "b", "c"],
        [0, 1],
        [0, 1, 2, 0],
        [[0], [1], [2]],
        [],
        1,
        tf.constant([0, 1, CLASSES]),
        tf.constant([0, 1]),
    )
}


@pytest.fixture(scope="module")
def classifier():
    inputs = keras.Input((2,))
    return EnergyModel(keras.Model(inputs, keras.layers.Dense(CLASSES)(inputs)))


@pytest.mark.parametrize("name, value", each(LABELS))
def test_labels_that_are_no_classes_have_no_energy(classifier, name, value):
    with pytest.raises(ValueError) as error:
        classifier.energy(np.zeros((3, 2), np.float32), **{name: value})
    assert_refused(error, name)


def test_labels_of_any_whole_numbers_have_their_energy(classifier):
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    expected = -np.diag(classifier.logits(x))
    labels = [[0, 1, 2], (0, 1, 2), np.array([0.0, 1.0, 2.0]), tf.constant([0, 1, 2])]
    for y in labels:
        np.testing.assert_array_equal(classifier.energy(x, y=y), expected)
    in_graph = tf.function(lambda x, y: classifier.energy(x, y))
    np.testing.assert_allclose(in_graph(x, tf.constant([0, 1, 2])), expected, rtol=1e-6)


@pytest.mark.parametrize("y", [[0, 1], [[0], [1], [2]], [0, 1, 3], 1])
def test_labels_that_no_temperature_can_be_fitted_to_are_refused(classifier, y):
    with pytest.raises(ValueError) as error:
        classifier.fit_temperature(np.zeros((3, 2), np.float32), y)
    assert_refused(error, "y")


@pytest.fixture(scope="module")
def detector():
    encoder = TableEncoder()
    encoder.adapt(X[:, :2])
    inputs = keras.Input((2,))
    network = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model = EnergyModel(network, preprocessor=encoder)
    return Detector(model, Energy(), ConformalDetector(np.zeros(9)), target_fpr=0.1)


EXPLAINED = {
    "train_rows": (
        X[:, :1],
        X[0, :2],
        "rows",
        [["a", "b"]],
        [[1.0], [1.0, 2.0]],
        None,
    ),
    "baseline": ([0.0], "mean", [["a", "b"]], [[0.0, 0.0]], [0.0, float("inf")]),
    "bounds": (
        [("0", (0, 1))],
        "0",
        3,
        {"9": (0, 1)},
        {0: (0, 1)},
        {"0": (1, 0)},
        {"0": 3},
        {"0": (0, float("nan"))},
        {"0": ("a", "b")},
        {"0": (0, 1, 2)},
    ),
    "fixed": (3, "9", ["9"], [0]),
}


@pytest.mark.parametrize("name, value", each(EXPLAINED))
def test_what_an_explainer_cannot_be_fitted_by_is_refused(detector, name, value):
    arguments = {"train_rows": X[:, :2], name: value}
    with pytest.raises(ValueError) as error:
        Explainer.for_detector(detector, **arguments)
    assert_refused(error, name)


def test_an_explainer_of_no_detector_is_refused(detector):
    for value in ("detector", None, detector.model):
        with pytest.raises(ValueError) as error:
            Explainer.for_detector(value, X[:, :2])
        assert_refused(error, "detector")


def test_rows_that_are_none_are_not_explained(detector):
    explainer = Explainer.for_detector(detector, X[:, :2])
    rows = ([["a", "b"]], X, X[0, :2], None, tf.constant(X), tf.constant([["a", "b"]]))
    for x in rows:
        for explained in (explainer.contributions, explainer.acceptable):
            with pytest.raises(ValueError) as error:
                explained(x)
            assert_refused(error, "x")
    whole = tf.constant(np.rint(X[:3, :2]), tf.int32)
    assert explainer.contributions(whole).energy.shape == (3,)
