"""The programs on a table that is made of files downloaded by hand."""

import json

import numpy as np
import pytest
import tensorflow as tf
from downloads import manual_folder, write_crop


@pytest.fixture(scope="module")
def crop(run, tmp_path_factory):
    """`(data folder, run folder)` of a few steps by the program."""
    folder = tmp_path_factory.mktemp("crop")
    write_crop(manual_folder(folder), rows=400)
    workdir = folder / "run"
    code, out, err = run(
        "trainers.vera",
        "--dataset=tfds:crop",
        f"--data_dir={folder}",
        "--labels_per_class=10",
        "--steps=6",
        "--batch_size=32",
        "--hidden=16",
        "--generator_hidden=16",
        "--latent_dim=4",
        "--importance_samples=4",
        "--notensorboard",
        "--verbose=0",
        f"--workdir={workdir}",
    )
    assert code == 0 and err == "", err
    assert "accuracy" in out
    return folder, workdir


def test_training_keeps_the_test_split_and_masks_labels(crop):
    record = json.loads((crop[1] / "run.json").read_text())
    # A tenth of 400 is the builder's test; validation and calibration are a tenth
    # each of the other 360.
    assert record["rows"] == {
        "train": 288,
        "validation": 36,
        "calibration": 36,
        "test": 40,
        "holdout": 0,
    }
    assert record["input_shape"] == [174] and record["kind"] == "table"
    assert record["class_names"][0] == "corn"
    metrics = json.loads((crop[1] / "metrics.json").read_text())
    assert metrics["num_test"] == 40 and np.isfinite(metrics["nll"])


def test_the_export_takes_the_columns_by_name(run, crop, tmp_path):
    folder, workdir = crop
    code, _, err = run(
        "export.classifier",
        f"--model={workdir / 'model.keras'}",
        "--calibration=tfds:crop",
        "--target_fpr=0.1",
        f"--output={tmp_path / 'served'}",
    )
    assert code == 0, err
    version = next(path for path in (tmp_path / "served").iterdir() if path.is_dir())
    served = tf.saved_model.load(version).signatures["serving_default"]
    names = served.structured_input_signature[1]
    assert set(names) == {f"f{number}" for number in range(1, 175)}
    answer = served(**{name: tf.zeros(2, names[name].dtype) for name in names})
    assert answer["class_id"].shape == (2,)


def test_missing_files_end_a_program_in_one_line(run, tmp_path):
    code, _, err = run(
        "trainers.vera",
        "--dataset=tfds:human",
        f"--data_dir={tmp_path}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert code == 2 and err.count("\n") == 1
    assert "UCI HAR Dataset/train/X_train.txt" in err
