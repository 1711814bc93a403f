"""Exports of several inputs are asked with an npz file of an array for each."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_ebm as ebm
from keras_ebm.export.predict import PredictSettings as Settings
from keras_ebm.export.predict import find_version, read_card, read_request
from keras_ebm.serving import inputs

RNG = np.random.default_rng(0)
#: As signatures cannot have them: one differs in case alone, one is the rate's.
X = {
    "Size": RNG.normal(size=(40, 2)),
    "size": RNG.choice(["small", "large"], 40),
    "target_fpr": RNG.integers(0, 9, (40, 3)),
    "look": RNG.integers(0, 256, (40, 4, 4, 3)).astype(np.uint8),
}
SERVED = {
    "Size": "Size",
    "size": "size_2",
    "target_fpr": "target_fpr_2",
    "look": "look",
}


def make_model():
    keras.utils.set_random_seed(0)
    size = keras.Input((2,), name="Size")
    word = keras.Input((1,), dtype="string", name="size")
    codes = keras.Input((3,), dtype="int32", name="target_fpr")
    look = keras.Input((4, 4, 3), dtype="uint8", name="look")
    lookup = layers.StringLookup(vocabulary=["small", "large"], output_mode="one_hot")
    parts = [
        size,
        lookup(word),
        layers.Flatten()(layers.Embedding(9, 2)(codes)),
        layers.Flatten()(layers.Rescaling(1 / 255)(look)),
    ]
    outputs = layers.Dense(3, "softmax")(layers.Concatenate()(parts))
    model = keras.Model([size, word, codes, look], outputs)
    return ebm.EnergyModel(ebm.networks.from_classifier(model))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`(folder, detector, card, specs of the signature)`."""
    detector = ebm.ood.Detector.calibrate(make_model(), X, target_fpr=0.1)
    folder = tmp_path_factory.mktemp("several") / "net"
    version = ebm.serving.export_classifier(detector, folder, X)
    loaded = tf.saved_model.load(str(version))
    _, specs = loaded.signatures["serving_default"].structured_input_signature
    return folder, detector, read_card(find_version(folder)), specs


def saved(path, **changes):
    np.savez(path, **{**X, **changes})
    return f"npz:{path}"


def test_inputs_are_served_by_names_that_a_signature_can_have(exported):
    _, detector, card, specs = exported
    model = detector.model
    assert inputs.input_kind(model) == "several" and not inputs.takes_bytes(model)
    assert set(specs) == set(SERVED.values())
    assert card["inputs"] == SERVED
    request = inputs.request_of(model, X)
    assert list(request) == list(SERVED.values())
    raw = inputs.raw_inputs(model, request)
    for own, name in SERVED.items():
        assert request[name].dtype == specs[name].dtype
        assert specs[name].shape.is_compatible_with(request[name].shape)
        given = raw[own].numpy().reshape(X[own].shape)
        given = given.astype(str) if own == "size" else given
        np.testing.assert_array_equal(given, X[own].astype(given.dtype))


def test_an_array_for_each_input_is_answered(exported, run, tmp_path):
    folder, detector, *_ = exported
    output = tmp_path / "answers.csv"
    # Strings as bytes and codes as floats, as other programs write them.
    changes = {"size": X["size"].astype("S"), "target_fpr": X["target_fpr"] * 1.0}
    spec = saved(tmp_path / "rows.npz", more=np.zeros(3), **changes)
    flags = [f"--model={folder}", f"--dataset={spec}", f"--output={output}"]
    code, out, err = run("export.predict", *flags, "--target_fpr=0.3")
    assert (code, err) == (0, "")
    assert "40 rows" in out and "false-alarm rate of 0.3" in out
    with open(output, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    expected = detector.predict(X)
    energies = [float(line["energy"]) for line in lines]
    np.testing.assert_allclose(energies, expected["energy"], rtol=1e-5)
    assert [int(line["label"]) for line in lines] == expected["class_id"].tolist()


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"size": X["size"][:3]}, r"`dataset` .*as many rows.*'size': 3"),
        ({"size": np.zeros(40)}, r"`dataset\['size'\]` must hold strings"),
        ({"Size": X["size"]}, r"`dataset\['Size'\]` must hold numbers"),
        ({"Size": np.zeros((40, 5))}, r"`dataset\['Size'\]` must be of shape"),
        ({"target_fpr": X["target_fpr"] + 0.5}, "whole numbers.*int32"),
        ({"target_fpr": X["target_fpr"] * np.nan}, r"whole numbers.*nan at \(0, 0\)"),
        (
            {"look": X["look"] + np.int64(300)},
            "must hold numbers of uint8. Received: 3",
        ),
        ({"look": X["look"] * np.nan}, "must hold numbers of uint8. Received: nan"),
        ({"look": X["look"] / 255}, "must hold numbers of uint8. Received: 0"),
        ({"size": X["size"].astype(object)}, "rows.npz: it must be a file of np.savez"),
        ({name: part[:0] for name, part in X.items()}, "one row at least"),
    ],
)
def test_arrays_of_another_kind_are_refused_by_name(exported, tmp_path, changes, match):
    *_, card, specs = exported
    spec = saved(tmp_path / "rows.npz", **changes)
    with pytest.raises(ValueError, match=match):
        read_request(Settings(dataset=spec), card, specs)


def test_a_file_without_an_input_and_other_sources_are_refused(exported, tmp_path):
    *_, card, specs = exported
    np.savez(tmp_path / "rows.npz", Size=X["Size"], look=X["look"])
    for spec, match in (
        (
            f"npz:{tmp_path / 'rows.npz'}",
            "an array for each input.*Received: Size, loo",
        ),
        ("csv:rows.csv", "npz:PATH with an array for each input of the model, Size, s"),
    ):
        with pytest.raises(ValueError, match=match):
            read_request(Settings(dataset=spec), card, specs)


def test_texts_of_one_input_come_as_rows_or_as_a_column(tmp_path):
    texts = np.array(["a b", "b c", "c d e"])
    spec = tf.TensorSpec((None,), tf.string)
    card = {"inputs": {"inputs": "inputs"}}
    for given in (texts, texts[:, None], texts.astype("S")):
        np.savez(tmp_path / "rows.npz", inputs=given)
        settings = Settings(dataset=f"npz:{tmp_path / 'rows.npz'}")
        request, files = read_request(settings, card, {"inputs": spec})
        assert files is None and request["inputs"].shape == (3,)
        assert tf.constant(request["inputs"]).dtype == tf.string
