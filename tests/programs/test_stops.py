"""Programs that are stopped by signals, or by a disk that is full."""

import os
import shutil
import signal
import time

import pytest
from disks import disk, grow

from keras_ebm.files import UNFINISHED
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.run import backup

FLAGS = (
    *("--dataset=digits", "--train_size=200", "--epochs=4", "--hidden=128"),
    *("--negatives=none", "--notensorboard", "--verbose=2", "--auto_resume"),
)
LIMIT = 60


def signal_until_it_ends(process, number):
    """Sends a signal again and again until the program says why it ends."""
    err, deadline = "", time.monotonic() + LIMIT
    while not err.endswith("\n") or not err.strip():
        assert time.monotonic() < deadline, err
        process.send_signal(number)
        err += process.stderr.read()
    return process.communicate()[0], err, process.returncode


def run_files(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def stopped(start, tmp_path_factory):
    """`{signal: (run folder, stderr, exit code)}` of runs stopped in their third epoch.

    The signal comes over and over, until the model is saved.
    """
    results = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        folder = tmp_path_factory.mktemp(number.name)
        process = start("trainers.vera", *FLAGS, f"--workdir={folder}")
        next(line for line in process.stdout if line.startswith("Epoch 3/4"))
        results[number] = folder, *signal_until_it_ends(process, number)[1:]
    return results


@pytest.mark.parametrize(
    "number, expected", [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signals_without_end_leave_a_whole_model(stopped, number, expected):
    folder, err, code = stopped[number]
    model = folder / "model.keras"
    line = f"interrupted: {model} is saved; the same command with --resume continues"
    assert (code, err) == (expected, f"\n{line}\n")
    assert keras_files.load_model(model).num_classes == 10
    assert not list(folder.rglob(f"{UNFINISHED}*"))
    assert backup.all_backups(folder / "backup")[0][1] == 2


def test_a_stopped_run_goes_on_once_and_is_then_finished(stopped, run):
    folder = stopped[signal.SIGTERM][0]
    # As versions that wrote in place left it when they were killed.
    (folder / "run.json").write_text("")
    flags = (*FLAGS, f"--workdir={folder}")
    code, out, err = run("trainers.vera", *flags)
    assert (code, err) == (0, "") and "Epoch 1/4" not in out and "Epoch 4/4" in out
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    code, out, err = run("trainers.vera", *flags)
    assert (code, err) == (0, "") and "finished run" in out and "Epoch" not in out
    assert {path: path.read_bytes() for path in folder.iterdir()} == kept
    code, out, err = run("trainers.vera", *flags, "--seed=1")
    assert code == 2 and "the seed of the finished run" in err


def test_a_record_that_is_cut_off_does_not_let_other_labels_in(stopped, run):
    folder = stopped[signal.SIGINT][0]
    (folder / "run.json").write_text("")
    flags = (*FLAGS, f"--workdir={folder}", "--labels_per_class=5")
    code, out, err = run("trainers.vera", *flags)
    assert code == 2 and "the seed of the interrupted run" in err


def test_a_new_run_in_the_folder_of_a_finished_one_is_not_finished(train, tmp_path):
    fit = {"epochs": 1}
    train(tmp_path, "digits", fit=fit, train_size=64)
    assert backup.is_finished(tmp_path)
    # What a kill before the first backup leaves.
    backup.begin(tmp_path)
    assert not backup.is_finished(tmp_path)
    train(tmp_path, "digits", fit={**fit, "auto_resume": True}, train_size=64)
    assert backup.is_finished(tmp_path)


def test_a_full_disk_ends_a_run_in_one_line_and_with_room_it_goes_on(run, tmp_path):
    with disk(tmp_path / "disk", "400k") as folder:
        flags = (*FLAGS, f"--workdir={folder / 'run'}")
        code, _, err = run("trainers.vera", *flags)
        lost = folder / "run/backup/epoch-000003.weights.h5"
        reason = f"{lost}: No space left on device"
        line = f"vera: error: {reason}; the same command with --resume continues\n"
        assert (code, err) == (1, line)
        kept = backup.all_backups(folder / "run/backup")
        assert [epochs for _, epochs in kept] == [2, 1]
        grow(folder, "30m")
        code, out, err = run("trainers.vera", *flags)
        assert (code, err) == (0, "") and "Epoch 2/4" not in out
        assert backup.is_finished(folder / "run")


def test_a_finished_run_is_rid_of_what_a_kill_left_of_its_backups(
    digits, train, tmp_path
):
    shutil.copytree(digits[0], tmp_path / "run")
    whole = run_files(tmp_path / "run")
    # The backups are renamed before they are removed, and the best weights come after.
    for name in ("backup-removed", "best"):
        (tmp_path / "run" / name).mkdir()
    train(tmp_path / "run", "digits", fit={"auto_resume": True})
    assert run_files(tmp_path / "run") == whole


def wait_for_staging(folder):
    """Returns once an export in a folder has begun to write."""
    deadline = time.monotonic() + LIMIT
    while not any(files for _, _, files in os.walk(folder)):
        assert time.monotonic() < deadline


def test_an_export_that_is_stopped_or_killed_leaves_nothing_half(
    start, run, digits_model, tmp_path
):
    flags = (f"--model={digits_model}", "--calibration=digits", "--target_fpr=0.05")
    flags = (*flags, f"--output={tmp_path / 'served'}")
    killed = start("export.ood_scorer", *flags)
    wait_for_staging(tmp_path)
    killed.kill()
    killed.communicate()
    (left,) = run_files(tmp_path)
    assert left.startswith(UNFINISHED)
    # The next one tidies up, and is stopped as soon as it has.
    process = start("export.ood_scorer", *flags)
    deadline = time.monotonic() + LIMIT
    while left in run_files(tmp_path):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "\nood_scorer: interrupted\n")
    assert run_files(tmp_path) == set()


def test_an_export_on_a_full_disk_names_its_folder(run, digits_model, tmp_path):
    flags = (f"--model={digits_model}", "--calibration=digits", "--target_fpr=0.05")
    with disk(tmp_path / "disk", "60k") as folder:
        output = folder / "served" / "digits"
        code, _, err = run("export.ood_scorer", *flags, f"--output={output}")
        line = f"ood_scorer: error: {output}: No space left on device\n"
        assert (code, err) == (1, line)
        assert not list(folder.rglob("*.pb*")) and not list(folder.rglob("1"))


def test_predict_on_a_full_disk_leaves_the_former_answers(table_export, table, run):
    path, _ = table_export
    with disk(path.parents[1] / "disk", "100k") as folder:
        output = folder / "answers.csv"
        output.write_text("former")
        (folder / "fill").write_bytes(bytes(80_000))
        flags = (f"--model={path}", f"--dataset={table[1]}", f"--output={output}")
        code, _, err = run("export.predict", *flags)
        assert (code, err.count("\n")) == (2, 1)
        assert f"{output}'" in err and "No space left on device" in err
        assert output.read_text() == "former"
