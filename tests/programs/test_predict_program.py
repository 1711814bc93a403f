import csv
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_ebm import data
from keras_ebm.data import fit_images
from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.export.predict import check_rate, read_card
from keras_ebm.serving import export_ood_scorer
from keras_ebm.trainers.run.record import load_like, recall

SCORES = ["energy", "ood_score", "p_value", "accept", "reason"]


@pytest.fixture(scope="module")
def digits_export(digits_model, tmp_path_factory):
    """Folder of a scorer of digits, and its detector."""
    detector, rows = fit_detector(ExportSettings(digits_model, "digits"))
    folder = tmp_path_factory.mktemp("digits_export") / "model"
    export_ood_scorer(detector, folder, rows)
    return folder, detector


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_answers(lines, expected):
    assert len(lines) == len(expected["energy"])
    for name in SCORES[:3]:
        values = [float(line[name]) for line in lines]
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5)
    accepted = np.where(expected["accept"], "true", "false")
    assert [line["accept"] for line in lines] == accepted.tolist()


def test_rows_of_a_csv_are_answered(
    run, table_export, write_table, new_table_rows, tmp_path
):
    version, detector = table_export
    # More than one batch, without the labels, with a city that training never saw.
    rows = [[age, income, city] for age, income, _, city in new_table_rows(300, seed=7)]
    rows[3][2] = "Rom"
    spec = write_table(tmp_path / "new.csv", rows, ["age", "income (k)", "city"])
    output = tmp_path / "answers.csv"
    flags = [f"--model={version.parent}", f"--dataset={spec}", f"--output={output}"]
    code, out, err = run("export.predict", *flags)
    assert (code, err) == (0, "")
    schema = detector.model.preprocessor.schema
    x = data.read(spec, schema=data.TableSchema.from_config(schema)).x
    expected = detector.predict(x)
    refused = np.sum(~expected["accept"])
    assert f"300 rows, {refused} refused at a false-alarm rate of 0.1" in out
    lines = read(output)
    assert list(lines[0]) == ["label", "probability", *SCORES, "filled"]
    assert_answers(lines, expected)
    filled = [text.decode() for text in expected["filled"]]
    assert "income (k)" in filled and [line["filled"] for line in lines] == filled
    labels = [label.decode() for label in expected["label"]]
    assert [line["label"] for line in lines] == labels
    np.testing.assert_allclose(
        [float(line["probability"]) for line in lines],
        expected["probabilities"].max(axis=-1),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    "name, change, state",
    [
        ("saved_model.pb", lambda content: content[:-1], "has other content"),
        ("variables/variables.index", lambda content: None, "is absent"),
        ("fingerprint.pb", lambda content: content + b"\0", "has other content"),
    ],
)
def test_an_export_whose_files_are_others_is_refused_by_name(
    table_export, tmp_path, name, change, state
):
    version = tmp_path / "1"
    shutil.copytree(table_export[0], version)
    read_card(version)
    # What servers add is none of it.
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"")
    read_card(version)
    content = change((version / name).read_bytes())
    (version / name).unlink()
    if content is not None:
        (version / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"where {name} {state}; copy the whole"):
        read_card(version)


def test_the_rate_can_be_another(run, table_export, table, tmp_path):
    version, detector = table_export
    rows = recall(table[0] / "model.keras").dataset.x
    output = tmp_path / "new folder" / "answers.csv"
    code, out, err = run(
        "export.predict",
        *[f"--model={version}", f"--dataset={table[1]}", "--target_fpr=0.3"],
        f"--output={output}",
    )
    assert code == 0, err
    expected = detector.decide(tf.constant(rows), 0.3)["accept"].numpy()
    accepted = [line["accept"] == "true" for line in read(output)]
    np.testing.assert_array_equal(accepted, expected)
    assert 0.6 < np.mean(accepted) < np.mean(detector.predict(rows)["accept"])
    assert "at a false-alarm rate of 0.3" in out


def test_a_column_that_is_not_at_hand_may_be_missing(
    run, table_export, write_table, tmp_path
):
    version, detector = table_export
    spec = write_table(tmp_path / "new.csv", [["41", "Wien"]], ["age", "city"])
    output = tmp_path / "answers.csv"
    flags = [f"--model={version.parent}", f"--dataset={spec}", f"--output={output}"]
    code, _, err = run("export.predict", *flags)
    assert code == 2
    assert "Missing: income (k)." in err and "`optional_columns`" in err
    code, _, err = run("export.predict", *flags, "--optional_columns=income (k)")
    assert code == 0
    assert "taken as missing in all rows: income (k)" in err
    expected = detector.predict(np.array([[41.0, np.nan, 2.0]], np.float32))
    assert_answers(read(output), expected)
    code, _, err = run("export.predict", *flags, "--optional_columns=incom")
    assert code == 2 and "must be columns of the model. Received: incom" in err


def test_a_rate_that_a_small_class_cannot_give_is_refused():
    card = {"per_class": True, "calibration_rows": 208, "target_fpr": 0.2}
    with pytest.raises(ValueError, match="export does not say.*target_fpr=0.05"):
        check_rate(0.05, card)
    card["calibration_rows_by_class"] = [199, 9]
    check_rate(0.1, card)
    with pytest.raises(ValueError, match="n = 9 calibration rows of predicted class 1"):
        check_rate(0.05, card)
    check_rate(0.05, {**card, "per_class": False})


def test_images_and_the_latest_version_are_answered(run, digits_export, tmp_path):
    folder, detector = digits_export
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "rows.npz", x=x)
    output = tmp_path / "answers.csv"
    code, _, err = run(
        "export.predict",
        *[f"--model={folder}", f"--dataset=npz:{tmp_path}/rows.npz"],
        f"--output={output}",
    )
    assert code == 0, err
    lines = read(output)
    assert list(lines[0]) == SCORES
    assert_answers(lines, detector.predict(x))


def save_images(folder, x, names):
    for name, pixels in zip(names, x, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def test_images_of_a_folder_grey_or_not_are_answered_by_name(
    run, digits_export, tmp_path
):
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    grey = fit_images(x, (8, 8, 1))
    names = ["a/0.bmp", "a/1.png", "b/10.png", "b/2.png"]
    save_images(tmp_path / "images", [x[0], x[1], *grey[2:, ..., 0]], names)
    (tmp_path / "images" / "a" / "._1.png").write_bytes(b"")
    (tmp_path / "images" / "a" / "0b.png").write_bytes(b"no image")
    folder, detector = digits_export
    output = tmp_path / "answers.csv"
    flags = [f"--model={folder}", f"--dataset=images:{tmp_path}/images"]
    flags += [f"--output={output}"]
    code, _, err = run("export.predict", *flags)
    assert code == 2 and "a/0b.png is no image" in err
    code, _, err = run("export.predict", *flags, "--skip_broken_images")
    assert code == 0, err
    assert re.search("^predict: warning: .* 1 hidden .* 1 broken .*0b.png", err), err
    assert err.count("\n") == 1
    lines = read(output)
    assert [line["file"] for line in lines] == names
    assert_answers(lines, detector.predict(grey))


def test_images_of_another_size_are_told_how_to_name_it(run, digits_export, tmp_path):
    save_images(tmp_path / "images", np.zeros((1, 9, 9), np.uint8), ["0.png"])
    flags = [f"--model={digits_export[0]}", f"--output={tmp_path}/answers.csv"]
    spec = f"images:{tmp_path}/images"
    code, _, err = run("export.predict", *flags, f"--dataset={spec}")
    assert code == 2 and "as images:DIR@8." in err


def test_a_grey_model_is_measured_and_calibrated_on_a_folder(digits_model, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    save_images(tmp_path, x, ["0/0.png", "0/1.png", "7/0.png", "7/1.png"])
    rows = load_like(digits_model, f"images:{tmp_path}", "")
    np.testing.assert_array_equal(rows.x, fit_images(x, (8, 8, 1)))
    np.testing.assert_array_equal(rows.y, [0, 0, 7, 7])
    with pytest.raises(ValueError, match="as images:DIR@8"):
        load_like(digits_model, f"images:{tmp_path}@9", "")


def test_grey_stays_itself_through_colour():
    grey = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    colour = data.fit_channels(grey, 3)
    assert colour.shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(data.fit_channels(colour, 1), grey)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"model": "absent"}, "export-classifier or keras-ebm export-ood-scorer wrote"),
        ({"dataset": "toy:rings"}, r"rows of shape \(8, 8, 1\) and type uint8. Rec"),
        ({"dataset": "csv:absent.csv"}, "There is no file absent.csv"),
        ({"target_fpr": 0.001}, "needs 999 rows"),
        ({"output": "."}, "--output must be a file. Received: ., which is a folder"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    run, digits_export, tmp_path, flags, message
):
    flags = {
        "model": digits_export[0],
        "dataset": "digits",
        "output": tmp_path / "answers.csv",
        **flags,
    }
    code, _, err = run("export.predict", *(f"--{k}={v}" for k, v in flags.items()))
    assert code == 2 and err.startswith("predict: error: ")
    assert err.count("\n") == 1
    assert re.search(message, err), err


def test_a_table_is_answered_from_a_csv_alone(run, table_export, tmp_path):
    flags = ["--dataset=digits", f"--output={tmp_path}/answers.csv"]
    code, _, err = run("export.predict", f"--model={table_export[0]}", *flags)
    assert code == 2 and "must be csv:PATH" in err
