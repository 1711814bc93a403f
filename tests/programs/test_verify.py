import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.serving import export, export_classifier, verify
from keras_ebm.serving.comparing import compare_decisions
from keras_ebm.trainers.run.record import recall


@pytest.fixture
def detector(held_out):
    """A detector of its own for each test, which may spoil its network."""
    settings = ExportSettings(str(held_out / "model.keras"), "digits", target_fpr=0.1)
    return fit_detector(settings)[0]


@pytest.fixture(scope="module")
def x(held_out):
    return recall(held_out / "model.keras").rows("test")[0][:40]


@pytest.fixture(scope="module")
def exported(held_out, x, tmp_path_factory):
    settings = ExportSettings(str(held_out / "model.keras"), "digits", target_fpr=0.1)
    folder = tmp_path_factory.mktemp("exported") / "model"
    return export_classifier(fit_detector(settings)[0], folder, x)


def shift_logits(detector, amount):
    """Moves every logit, and so every energy, but no probability."""
    layer = detector.model.network.layers[-1]
    layer.bias.assign(layer.bias + amount)


def test_an_export_agrees_with_its_own_detector(exported, detector, x):
    differences = verify(exported, detector, x)
    assert set(differences) == {"energy", "ood_score", "p_value", "probabilities"}
    assert all(0.0 <= value < 1e-4 for value in differences.values())


def test_the_energy_of_another_model_is_noticed(exported, detector, x):
    shift_logits(detector, 0.01)
    with pytest.raises(RuntimeError, match="`energy` differs by 0.01"):
        verify(exported, detector, x)


def test_another_threshold_is_noticed(exported, held_out, x):
    settings = ExportSettings(str(held_out / "model.keras"), "digits", target_fpr=0.5)
    with pytest.raises(RuntimeError, match="`accept` differs on"):
        verify(exported, fit_detector(settings)[0], x)


def test_other_class_names_are_noticed(exported, detector, x):
    detector.model.class_names = list("abcdefgh")
    with pytest.raises(RuntimeError, match=r"`label` differs on (3\d|40) of \1 rows"):
        verify(exported, detector, x)


def test_no_rows_verify_nothing(exported, detector, x):
    with pytest.raises(ValueError, match="at least one row"):
        verify(exported, detector, x[:0])


@pytest.mark.parametrize("part", ["saved_model.pb", "variables"])
def test_a_folder_without_a_saved_model_is_named(exported, detector, x, tmp_path, part):
    shutil.copytree(exported, tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / part, ignore_errors=True)
    (tmp_path / "1" / part).unlink(missing_ok=True)
    with pytest.raises(RuntimeError, match=f"cannot be loaded from {tmp_path}"):
        verify(tmp_path / "1", detector, x)


def cut_short(detector, path):
    (data,) = (path / "variables").glob("variables.data*")
    data.write_bytes(data.read_bytes()[:100])


def train_on(detector, path):
    shift_logits(detector, 1.0)


@pytest.mark.parametrize("happens", [cut_short, train_on])
@pytest.mark.parametrize("versions", [0, 1])
def test_a_failed_export_leaves_nothing_behind(
    detector, x, tmp_path, monkeypatch, happens, versions
):
    output = tmp_path / "model"
    for _ in range(versions):
        export_classifier(detector, output, x)
    real = export.write_saved_model

    def write(detector, path, *rest):
        real(detector, path, *rest)
        happens(detector, path)

    monkeypatch.setattr(export, "write_saved_model", write)
    with pytest.raises(RuntimeError, match="The exported model"):
        export_classifier(detector, output, x)
    assert os.listdir(tmp_path) == ["model"] * versions
    assert not versions or os.listdir(output) == ["1"]


def test_a_writer_that_fails_leaves_nothing_behind(detector, x, tmp_path, monkeypatch):
    real = export.write_saved_model

    def write(detector, path, *rest):
        real(detector, path, *rest)
        raise OSError("No space left on device")

    monkeypatch.setattr(export, "write_saved_model", write)
    with pytest.raises(OSError, match="No space"):
        export_classifier(detector, tmp_path / "model", x)
    assert os.listdir(tmp_path) == []


def test_a_stated_difference_is_the_largest(exported, detector, x):
    before = detector.predict(x)["energy"]
    shift_logits(detector, 2e-5)
    change = np.abs(detector.predict(x)["energy"] - before).max()
    # Within the tolerance, so it is reported and not refused. The energies
    # are of a few nats: float32 resolves them to about 5e-7.
    assert verify(exported, detector, x)["energy"] == pytest.approx(change, abs=2e-6)


@pytest.fixture(scope="module")
def kept(held_out):
    """A detector for tests that leave it as it is."""
    settings = ExportSettings(str(held_out / "model.keras"), "digits", target_fpr=0.1)
    return fit_detector(settings)[0]


@pytest.fixture(scope="module")
def answers(kept, x):
    return kept.predict(x)


@pytest.mark.parametrize(
    "output, change, message",
    [
        ("energy", lambda v: v + 0.01, "`energy` differs by 0.01"),
        ("ood_score", lambda v: v - 0.01, "`ood_score` differs by 0.01"),
        ("probabilities", lambda v: v * 0.9, "`probabilities` differs by"),
        ("p_value", lambda v: v * 0.5, "`p_value` differs by"),
        ("class_id", lambda v: v + 1, r"`class_id` differs on (3\d|40) of"),
        ("label", lambda v: b"x" + v, r"`label` differs on (3\d|40) of"),
        ("accept", np.logical_not, r"`accept` differs on (3\d|40) of"),
        ("reason", lambda v: b"x" + v, r"`reason` differs on (3\d|40) of"),
        ("reason", lambda v: None, "no output `reason` in the signature `encoded`"),
        ("label", lambda v: None, "no output `label` in the signature `encoded`"),
        ("other", lambda v: 0, "an output `other` .*the detector does not give"),
        ("filled", lambda v: 0, "an output `filled` .*the detector does not give"),
    ],
)
def test_a_change_of_any_output_is_noticed(kept, answers, output, change, message):
    served = {**answers, output: change(answers.get(output))}
    served = {name: values for name, values in served.items() if values is not None}
    with pytest.raises(RuntimeError, match=message):
        compare_decisions("encoded", served, answers, kept)


def test_a_scorer_of_a_model_with_classes_need_not_give_them(kept, answers):
    classes = ("class_id", "label", "probabilities")
    served = {name: v for name, v in answers.items() if name not in classes}
    found = compare_decisions("serving_default", served, answers, kept)
    assert found == {"energy": 0.0, "ood_score": 0.0, "p_value": 0.0}


class Spoiled:
    """A SavedModel whose energies of one signature are shifted."""

    def __init__(self, loaded, signature):
        def shifted(**request):
            answers = dict(loaded.signatures[signature](**request))
            return {**answers, "energy": answers["energy"] + 0.01}

        self.signatures = {**loaded.signatures, signature: shifted}


@pytest.mark.parametrize(
    "signature", ["serving_default", "at_rate", "encoded", "examples"]
)
def test_every_signature_is_compared(exported, kept, x, monkeypatch, signature):
    spoiled = Spoiled(tf.saved_model.load(str(exported)), signature)
    monkeypatch.setattr(tf.saved_model, "load", lambda path: spoiled)
    with pytest.raises(RuntimeError, match="`energy` differs by 0.01"):
        verify(exported, kept, x)
    shifted = spoiled.signatures.pop(signature)
    with pytest.raises(RuntimeError, match=f"no signature `{signature}`"):
        verify(exported, kept, x)
    spoiled.signatures |= {signature: shifted, "another": shifted}
    with pytest.raises(RuntimeError, match="`another`, which the detector does not"):
        verify(exported, kept, x)
