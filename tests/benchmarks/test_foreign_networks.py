"""Classifiers as engineers have them answer as before where TensorFlow is alone."""

import keras
import pytest

from benchmarks import foreign_networks
from benchmarks.foreign_kinds import KINDS, REFUSED

#: Those that take a second or two.
LIGHT = (
    "softmax",
    "subclassed",
    "several_inputs",
    "strings",
    "tokens",
    "bfloat16",
    "body_and_head",
)


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """By kind, how its export's answers compare, all asked in one process."""
    exports = {}
    for name in LIGHT:
        keras.backend.clear_session()
        folder = tmp_path_factory.mktemp(name)
        exports[name] = folder, *foreign_networks.export(KINDS[name], folder)
    foreign_networks.ask([folder for folder, *_ in exports.values()])
    return {
        name: {
            **foreign_networks.compare(folder, expected),
            "inputs": told,
            "why": KINDS[name].why,
            "seconds": 0.0,
        }
        for name, (folder, expected, told) in exports.items()
    }


@pytest.mark.parametrize("name", LIGHT)
def test_an_export_answers_as_the_original_does(answered, name):
    row = answered[name]
    assert row["difference"] <= KINDS[name].tolerance
    assert row["class_agreement"] == 1.0
    # Of rows like those that the detector was calibrated on, at a rate of 5 %.
    assert row["accepted"] > 0.8


def test_a_signature_has_the_models_own_names_and_types(answered):
    assert answered["several_inputs"]["inputs"] == {
        "image": ["uint8", [None, 16, 16, 3]],
        "age": ["float32", [None, 1]],
        "job": ["string", [None, 1]],
    }
    assert answered["tokens"]["inputs"] == {"inputs": ["int32", [None, 8]]}
    assert answered["strings"]["inputs"] == {"inputs": ["string", [None, 1]]}


def test_what_is_no_classifier_of_one_label_is_refused_with_its_reason(answered):
    refused = {name: foreign_networks.refusal(name) for name in REFUSED}
    text = foreign_networks.table({"networks": answered, "refused": refused})
    assert "| several_outputs | refused: a model which has 2 outputs | | | |" in text
    assert "regression | refused: a model which was compiled with the loss mse" in text
    assert "| softmax: Dense(softmax) | inputs: float32 | 100 | " in text
    assert len(text.splitlines()) == 2 + len(LIGHT) + len(REFUSED)
