"""An export that no exporter wrote, or not all of it, is refused by name."""

import json
import shutil

import pytest
import tensorflow as tf

from keras_ebm.export.loading import load_signature
from keras_ebm.export.predict import find_version, read_card
from keras_ebm.serving.export import CARD

GOOD = {"target_fpr": 0.1, "per_class": False, "calibration_rows": 9}
SPEC = tf.TensorSpec((None,), tf.float32, "a_")


class Served(tf.Module):
    """Answers a column by itself, as the four numbers of a scorer."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.ones(1000))

    @tf.function(input_signature=[SPEC])
    def answer(self, a_):
        value = a_ * self.weights[0]
        names = ("energy", "ood_score", "p_value")
        return {**dict.fromkeys(names, value), "accept": value > 0.0}

    @tf.function(input_signature=[SPEC])
    def other(self, a_):
        return {"score": a_ * self.weights[0]}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder of a whole export of one column, `a (k)`, with a foreign signature."""
    folder = tmp_path_factory.mktemp("exported") / "1"
    served = Served()
    signatures = {"serving_default": served.answer, "other": served.other}
    tf.saved_model.save(served, str(folder), signatures=signatures)
    (folder / CARD).parent.mkdir(exist_ok=True)
    write_card(folder, {**GOOD, "columns": {"a (k)": "a_"}})
    return folder


def write_card(folder, card):
    (folder / CARD).write_text(json.dumps(card))


def load(folder, name="serving_default"):
    version = find_version(folder)
    return load_signature(version, name, read_card(version))


def test_a_whole_export_is_loaded(exported):
    _, signature = load(exported.parent)
    assert signature(a_=tf.constant([2.0]))["accept"].numpy().tolist() == [True]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"columns": {"a (k)": "b_"}}, "card has b_ that.*SavedModel has a_ that"),
        ({"columns": {"a (k)": "a_", "b": "b"}}, "card has b that the SavedModel"),
        ({"columns": {}}, "'columns' as an object from columns.*{}"),
        ({"columns": ["a (k)"]}, "'columns', of type dict.*a list"),
        ({"columns": {"a (k)": 3}}, "'columns' as an object from columns"),
        ({"columns": {"a": "a_", "b": "a_"}}, "different names of inputs"),
        ({"columns": None}, "'columns', of type dict.*a NoneType"),
        ({"missing": "NA"}, "'missing', of type list"),
        ({"missing": [3]}, "'missing' as a list of texts.*3"),
        ({"target_fpr": float("nan")}, "'target_fpr' as a number above 0.*nan"),
        ({"target_fpr": 10**400}, "'target_fpr' as a number above 0"),
        ({"target_fpr": 1}, "'target_fpr' as a number above 0 and below 1.*1"),
        ({"target_fpr": True}, "'target_fpr', of type int or float.*a bool"),
        ({"per_class": 1}, "'per_class', of type bool.*an? int"),
        ({"calibration_rows": -1}, "'calibration_rows' as an integer from 1"),
        ({"calibration_rows": 10**12}, "'calibration_rows' as an integer from 1"),
        ({"calibration_rows": 2.5}, "'calibration_rows', of type int"),
        ({"calibration_rows_by_class": [5, "4"]}, "'calibration_rows_by_class' as a"),
        ({"calibration_rows_by_class": {"a": 4}}, "of type list or NoneType"),
    ],
)
def test_a_card_of_another_shape_is_refused_by_its_key(
    exported, tmp_path, change, words
):
    shutil.copytree(exported, tmp_path / "1")
    write_card(tmp_path / "1", {**GOOD, "columns": {"a (k)": "a_"}, **change})
    with pytest.raises(ValueError, match=words) as error:
        load(tmp_path)
    assert str(tmp_path / "1") in str(error.value)
    assert "again" in str(error.value)


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ],
)
def test_a_file_that_is_cut_off_is_refused(exported, tmp_path, name, share):
    shutil.copytree(exported, tmp_path / "1")
    cut(tmp_path / "1" / name, share)
    with pytest.raises(ValueError, match="a whole SavedModel.*cannot be loaded.*copy"):
        load(tmp_path)


def test_what_is_not_there_is_told(exported, tmp_path):
    version = tmp_path / "1"
    shutil.copytree(exported, version)
    shutil.rmtree(version / "variables")
    with pytest.raises(ValueError, match="cannot be loaded.*variables"):
        load(tmp_path)
    (version / "saved_model.pb").unlink()
    with pytest.raises(ValueError, match="cannot be loaded.*saved_model.pb"):
        load(tmp_path)
    (version / CARD).unlink()
    with pytest.raises(ValueError, match="no export: .*/1 lacks assets.extra"):
        load(tmp_path)


def test_a_saved_model_of_another_program_is_refused(exported, tmp_path):
    with pytest.raises(ValueError, match="signature at_rate. .*other, serving_default"):
        load(exported, "at_rate")
    with pytest.raises(ValueError, match="answers lack accept, energy"):
        load(exported, "other")
    version = tmp_path / "2"
    shutil.copytree(exported, version)
    write_card(version, GOOD)
    with pytest.raises(ValueError, match="card has inputs that the SavedModel lacks"):
        load(tmp_path)


def test_no_earlier_version_answers_for_one_without_a_card(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "1")
    shutil.copytree(exported, tmp_path / "2")
    assert find_version(tmp_path) == tmp_path / "2"
    (tmp_path / "2" / CARD).unlink()
    with pytest.raises(ValueError, match="/2 lacks assets.extra/keras_ebm.json"):
        find_version(tmp_path)
