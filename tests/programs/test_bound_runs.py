"""A run's model, record and split belong together, and nothing else is measured."""

import shutil
import signal

import numpy as np
import pytest
from processes import DIE

from keras_ebm import data
from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.trainers.evaluate import EvaluateSettings, evaluate
from keras_ebm.trainers.program import json_files, keras_files
from keras_ebm.trainers.run import record

FILES = ("model.keras", "run.json", "split.npz")


@pytest.fixture(scope="module")
def table(write_table, new_rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bound")
    return write_table(folder / "rows.csv", new_rows), folder


@pytest.fixture(scope="module")
def new_rows():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    age = (40 + 10 * label + rng.normal(size=200)).round(3)
    income = rng.normal(size=200).round(3)
    city = np.where(rng.random(200) < 0.5, "Graz", "Linz")
    name = np.where(label, "yes", "no")
    return np.stack([age, income, name, city], axis=1).tolist()


@pytest.fixture(scope="module")
def finished(train, table):
    """Run folder of seed 0."""
    spec, folder = table
    train(folder / "run", spec, target="bought")
    return folder / "run"


def content(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("end", ["diverged", "killed"])
def test_a_run_that_does_not_finish_leaves_the_one_before_as_it_was(
    run, table, finished, tmp_path, end
):
    shutil.copytree(finished, tmp_path / "run")
    before = content(tmp_path / "run")
    flags = [
        f"--dataset={table[0]}",
        "--target=bought",
        f"--workdir={tmp_path / 'run'}",
    ]
    flags += ["--seed=1", "--epochs=2", "--tensorboard=false", "--verbose=0"]
    flags += ["--hidden=32", "--generator_hidden=16", "--importance_samples=4"]
    if end == "diverged":
        code, _, err = run("trainers.vera", *flags, "--energy_limit=1e-9")
        assert code == 1 and "training stopped" in err
    else:
        program = ["trainers.vera", "keras_ebm.trainers.run.backup:save_epoch", "1"]
        code, _, _ = run(DIE, *program, *flags)
        assert code == -signal.SIGKILL
    assert content(tmp_path / "run") == before
    detector, rows = fit_detector(
        ExportSettings(str(tmp_path / "run" / "model.keras"), table[0], target_fpr=0.1)
    )
    splits = data.load_splits(tmp_path / "run" / "split.npz")
    assert not np.isin(data.row_hashes(rows), splits.train_hashes).any()


def test_files_of_two_runs_are_refused_by_name(train, table, finished, tmp_path):
    spec, _ = table
    train(tmp_path / "other", spec, target="bought", seed=1)
    for name, match in (
        ("model.keras", r"model.keras, which is of another run"),
        ("run.json", r"run.json, which is of another run"),
        ("split.npz", r"model.keras, which is of another run"),
    ):
        mixed = tmp_path / name
        shutil.copytree(finished, mixed)
        shutil.copy(tmp_path / "other" / name, mixed / name)
        model = str(mixed / "model.keras")
        with pytest.raises(ValueError, match=match):
            fit_detector(ExportSettings(model, spec, target_fpr=0.1))
        with pytest.raises(ValueError, match=match):
            evaluate(EvaluateSettings(model, spec, output=str(mixed / "e.json")), [])


@pytest.mark.parametrize("name", FILES)
def test_files_that_change_while_they_are_read_are_refused_by_name(
    finished, tmp_path, name
):
    shutil.copytree(finished, tmp_path / "run")
    model = tmp_path / "run" / "model.keras"
    with record.held_still(model):
        pass
    with pytest.raises(ValueError, match=rf"{name}, which another process has"):
        with record.held_still(model):
            (tmp_path / "run" / name).write_bytes(b"of another run")


def test_a_run_that_ends_during_an_export_stops_it(
    run, train, table, finished, tmp_path
):
    spec, _ = table
    shutil.copytree(finished, tmp_path / "run")
    train(tmp_path / "other", spec, target="bought", seed=1)
    flags = [f"--model={tmp_path / 'run' / 'model.keras'}", f"--calibration={spec}"]
    flags += [f"--output={tmp_path / 'served'}", "--target_fpr=0.1"]
    # Both ways in: all files at once before the rows are read, as a run writes them.
    program = [
        "export.classifier",
        "keras_ebm.trainers.run.record:check_bound",
        str(tmp_path),
    ]
    code, _, err = run("tests.programs.replace", *program, *flags)
    assert code == 2 and "another process has written meanwhile" in err
    assert not (tmp_path / "served").exists()


def test_a_model_of_other_classes_is_refused_by_name(finished, digits, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    shutil.copy(digits[0] / "model.keras", tmp_path / "run" / "model.keras")
    model = str(tmp_path / "run" / "model.keras")
    with pytest.raises(ValueError, match="whose classes are no, yes. Received: .*0, 1"):
        fit_detector(ExportSettings(model, "digits", target_fpr=0.1))


def test_a_run_of_an_earlier_version_is_taken_as_it_is(finished, table, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    model = keras_files.load_model(tmp_path / "run" / "model.keras")
    model.trained_on = None
    model.save(tmp_path / "run" / "model.keras")
    kept = json_files.read_json(tmp_path / "run" / "run.json")
    path = str(tmp_path / "run" / "model.keras")
    with pytest.raises(ValueError, match="model.keras, which is of another run"):
        record.check_bound(model, path)
    del kept["split"]
    json_files.write_json(tmp_path / "run" / "run.json", kept)
    record.check_bound(model, path)
