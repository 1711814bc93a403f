import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.serving import export_classifier
from keras_ebm.trainers import vera
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.vera import ModelSettings

X = np.arange(120, dtype=np.float32).reshape(40, 3)
Y = np.arange(40) % 2


def prepare(tmp_path, dataset="digits", model=None, fit=None, **settings):
    """Everything `trainers.vera` does before it trains and writes."""
    rows = load(DataSettings(dataset=dataset, **settings))
    fit = vera.FitSettings(workdir=str(tmp_path / "run"), **(fit or {}))
    return vera.prepare(rows, ModelSettings(**(model or {})), fit)


def assert_one_line(err, program, *fragments):
    assert err.startswith(f"{program}: error: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    for fragment in fragments:
        assert fragment in err


@pytest.mark.parametrize(
    "dataset, message",
    [
        ("mnist", "digits, toy:NAME, tfds:NAME, csv:PATH, npz:PATH"),
        ("", "`dataset` is required"),
        ("toy:blobs", "8gaussians"),
        ("csv:absent.csv", "There is no file absent.csv"),
        ("npz:absent.npz", "No such file"),
    ],
)
def test_an_unknown_dataset_is_refused(tmp_path, dataset, message):
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, dataset)


ROWS = [[1, 2, "a"], [2, 3, "b"]] * 20


@pytest.mark.parametrize(
    "rows, settings, message",
    [
        (ROWS, {"target": "price"}, "target='price'. The columns are: x, y, c"),
        ([], {}, "no rows"),
        ([[1, 2, "a"]] * 40, {}, "class 'a' alone"),
        ([*ROWS, [1, "inf", "a"]], {}, "'y' must be finite.*'inf' in row 40"),
        (ROWS, {"holdout_classes": ("d",)}, "'d'. The classes are: a, b"),
        (ROWS, {"holdout_classes": ("a",)}, "must leave two classes"),
        (ROWS, {"labels_per_class": -1}, "labels_per_class=-1"),
        (ROWS, {"train_size": 100}, "train_size=100"),
        (ROWS[:3], {}, "Give at least 4 rows"),
    ],
)
def test_a_table_that_cannot_be_learned_is_refused(
    write_table, tmp_path, rows, settings, message
):
    spec = write_table(tmp_path / "rows.csv", rows, ["x", "y", "c"])
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, spec, **settings)


def spoiled(row, column):
    x = X.copy()
    x[row, column] = np.nan
    return x


@pytest.mark.parametrize(
    "x, y, message",
    [
        (X, Y - 2, "from -2 to -1"),
        (X, Y + 10**6, "must count the classes from 0"),
        (X, 0 * Y, "class '0' alone"),
        (X, Y[:-1], "one integer for each of the 40 rows"),
        (X, Y.astype(str), "Save np.unique.y, return_inverse=True."),
        (spoiled(17, 2), Y, "nan in column 2, first in row 17"),
        (X[None], Y, "rank 3 or 4"),
        (np.zeros((40, 8, 8, 2), np.uint8), Y, r"1 or 3 channels.*\(40, 8, 8, 2\)"),
        (np.zeros((40, 8, 8, 1, 1), np.uint8), Y, "rank 3 or 4"),
        (np.zeros((40, 8, 8), np.float32), Y, "Images in .0, 1. become uint8"),
    ],
)
def test_arrays_that_cannot_be_learned_are_refused(tmp_path, x, y, message):
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, f"npz:{tmp_path / 'rows.npz'}")


@pytest.mark.parametrize(
    "model, fit, message",
    [
        ({"latent_dim": -1}, {}, "`latent_dim`.*latent_dim=-1"),
        ({"min_stddev": 0.3, "max_stddev": 0.1}, {}, r"stddev_bounds=\(0.3, 0.1\)"),
        ({"initial_stddev": 0.5}, {}, "initial_stddev=0.5"),
        ({"hidden": ("64", "wide")}, {}, "Received: 64, wide"),
        ({"hidden": ("0",)}, {}, "0"),
        ({"generator_hidden": ("x",)}, {}, "Received: x"),
        ({"activation": "wavy"}, {}, "wavy"),
        ({"importance_samples": 0}, {}, "importance_samples=0"),
        ({"energy_weight": 0.0}, {}, "`energy_weight` must be above 0"),
        ({"gradient_penalty": -1.0}, {}, "`gradient_penalty`"),
        ({"learning_rate": -0.1}, {}, "learning_rate=-0.1"),
        (
            {"schedule": "steps", "decay_epochs": ("two",)},
            {},
            "`decay_epochs` must be integers.*two",
        ),
        ({"warmup_steps": -5}, {}, "warmup_steps=-5"),
        ({"ema_momentum": 1.5}, {}, "ema_momentum"),
        ({}, {"batch_size": 1133}, "batch_size=1133 for 1132 rows"),
        ({}, {"batch_size": 0}, "batch_size=0"),
        ({}, {"epochs": 0}, "epochs=0"),
        ({}, {"resume": True}, "leave --resume out"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path, model, fit, message
):
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, model=model, fit=fit)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"no model", "folder"])
def test_a_keras_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "model.keras"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="`model` must be a .keras file") as caught:
        keras_files.load_model(path)
    assert "\n" not in str(caught.value)


def test_another_keras_model_is_refused(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="holds a Sequential"):
        keras_files.load_model(tmp_path / "model.keras")


def test_a_model_without_its_run_cannot_be_calibrated(digits_model, tmp_path):
    lonely = tmp_path / "model.keras"
    lonely.write_bytes(open_bytes(digits_model))
    with pytest.raises(ValueError, match="must lie in the folder of its run"):
        fit_detector(ExportSettings(str(lonely), "digits"))


def open_bytes(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"calibration": "cifar"}, "tfds:NAME"),
        ({"target_fpr": 0.0}, "above 0 and below 1"),
        ({"target_fpr": 1.0}, "above 0 and below 1"),
        ({"target_fpr": 0.005}, "which needs 199 rows"),
        ({"score": "entropie"}, "spec='entropie'"),
        ({"per_class": True, "target_fpr": 0.01}, "of predicted class"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(digits_model, settings, message):
    settings = {"calibration": "digits", "target_fpr": 0.05, **settings}
    with pytest.raises(ValueError, match=message):
        fit_detector(ExportSettings(model=digits_model, **settings))


def test_a_default_rate_is_what_the_rarest_predicted_class_can_keep(digits_model):
    settings = ExportSettings(digits_model, "digits", per_class=True)
    with pytest.warns(UserWarning, match="of the rarest predicted class can keep"):
        detector, _ = fit_detector(settings)
    assert detector.target_fpr == 1 / (detector.conformal.sizes.min() + 1)


def test_calibration_rows_of_another_shape_are_refused(digits_model, tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.zeros((200, 9, 9), np.uint8))
    settings = ExportSettings(digits_model, f"npz:{tmp_path / 'rows.npz'}")
    with pytest.raises(ValueError, match=r"\(9, 9, 1\).*\(8, 8, 1\)"):
        fit_detector(settings)


def test_an_export_folder_that_is_none_is_refused(digits_model, tmp_path):
    settings = ExportSettings(digits_model, "digits", target_fpr=0.05)
    detector, rows = fit_detector(settings)
    file = tmp_path / "file"
    file.write_text("")
    (tmp_path / "other" / "1").mkdir(parents=True)
    (tmp_path / "other" / "notes").mkdir()
    for output, message in (
        (file, "numbered versions alone.*is a file"),
        (file / "model", f"where {file} is a file"),
        (tmp_path / "other", "which holds 'notes'"),
    ):
        with pytest.raises(ValueError, match=message):
            export_classifier(detector, output, rows)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "other"}


def started(name, *flags):
    """A program that Python itself starts, so that all it says at its start is seen."""
    return subprocess.Popen(
        [sys.executable, "-m", name, *flags],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """`(exit code, stdout, stderr)` of programs with bad input, by a name."""
    folder = tmp_path_factory.mktemp("refusals")
    file = folder / "file"
    file.write_text("")
    programs = {
        "workdir": started("trainers.vera", "--dataset=digits", f"--workdir={file}"),
        "flag": started("trainers.evaluate", "--resamples=many"),
    }
    outputs = {name: program.communicate() for name, program in programs.items()}
    return {
        name: (programs[name].returncode, *output) for name, output in outputs.items()
    }


@pytest.mark.parametrize(
    "name, program, fragment",
    [
        ("workdir", "vera", "--workdir must be a folder"),
        ("flag", "evaluate", "--resamples=many"),
    ],
)
def test_a_program_says_in_one_line_what_is_wrong(refusals, name, program, fragment):
    code, out, err = refusals[name]
    assert (code, out) == (2, "")
    assert_one_line(err, program, fragment)
