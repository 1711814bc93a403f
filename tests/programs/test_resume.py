import signal

import numpy as np
import pytest

from trainers import backup, common

COMMON = (
    "--dataset=digits",
    "--epochs=6",
    "--hidden=32",
    "--notensorboard",
    "--verbose=2",
)
PROGRAMS = {
    "trainers.vera": (
        "--generator_hidden=16",
        "--latent_dim=4",
        "--importance_samples=4",
    ),
    # A buffer that is filling up while the run is stopped.
    "trainers.langevin": ("--num_steps=4", "--buffer_size=5000", "--storage=uint8"),
}


def interrupt(process, beginning):
    """Sends Ctrl-C once the program prints a line that begins so."""
    for line in process.stdout:
        if line.startswith(beginning):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request):
    """A program's name and its flags."""
    return request.param, (*COMMON, *PROGRAMS[request.param])


@pytest.fixture(scope="module")
def folders(program, tmp_path_factory):
    names = ("whole", "late")
    return {name: tmp_path_factory.mktemp(name) for name in names}


@pytest.fixture(scope="module")
def runs(program, start, folders):
    """`(exit code, stderr)` of a whole run and of one that Ctrl-C stopped."""
    name, flags = program
    processes = {
        key: start(name, *flags, f"--workdir={folder}", interruptible=True)
        for key, folder in folders.items()
    }
    return {
        "late": interrupt(processes["late"], "Epoch 4/6"),
        "whole": interrupt(processes["whole"], "no such line"),
    }


@pytest.fixture(scope="module")
def resumed(program, run, runs, folders):
    """The late run, continued after a history row whose backup was not reached."""
    assert runs["late"][0] == 130
    history = folders["late"] / "history.csv"
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join([*lines, "3," + lines[-1].partition(",")[2]]))
    name, flags = program
    return run(name, *flags, f"--workdir={folders['late']}", "--resume")


def test_ctrl_c_leaves_a_model_that_predicts(runs, folders):
    code, err = runs["late"]
    assert code == 130
    assert len(err.strip().splitlines()) == 1
    assert str(folders["late"] / "model.keras") in err and "--resume" in err
    model = common.load_model(folders["late"] / "model.keras")
    logits = model.predict(np.zeros((2, 8, 8, 1), np.uint8), verbose=0)
    assert logits.shape == (2, 10) and np.isfinite(logits).all()


def test_a_resumed_run_ends_in_the_same_weights(runs, resumed, folders):
    assert runs["whole"][0] == 0 and resumed[0] == 0, resumed[2]
    models = [common.load_model(folders[n] / "model.keras") for n in ("whole", "late")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("history.csv", "metrics.json"):
        whole, late = ((folders[n] / name).read_text() for n in ("whole", "late"))
        assert late == whole


def test_a_resumed_run_starts_where_the_other_stopped(resumed):
    epochs = [line for line in resumed[1].splitlines() if line.startswith("Epoch ")]
    assert epochs[0] in ("Epoch 4/6", "Epoch 5/6")
    assert epochs[-1] == "Epoch 6/6"


def test_a_finished_run_has_nothing_to_resume(train, resumed, folders):
    assert resumed[0] == 0
    for name in ("whole", "late"):
        with pytest.raises(ValueError, match="leave --resume out"):
            train(folders[name], "digits", fit={"resume": True})


def test_other_data_or_networks_are_not_resumed(train, tmp_path):
    fit = {"epochs": 1}
    model, _ = train(tmp_path, "digits", fit=fit, train_size=64)
    saver = backup.EpochBackup(tmp_path / "backup")
    saver.set_model(model)
    saver.on_epoch_end(0)
    fit = {"epochs": 2, "resume": True}
    with pytest.raises(ValueError, match="the seed of the interrupted run"):
        train(tmp_path, "digits", fit=fit, train_size=64, seed=1)
    with pytest.raises(ValueError, match="networks and optimizers"):
        train(tmp_path, "digits", {"hidden": ("16",)}, fit=fit, train_size=64)
    train(tmp_path, "digits", fit=fit, train_size=64)
    assert (tmp_path / "history.csv").read_text().count("\n") == 3


def test_a_backup_that_was_not_finished_is_passed_over(tmp_path, held_out):
    model = common.load_model(held_out / "model.keras")
    saver = backup.EpochBackup(tmp_path / "backup")
    saver.set_model(model)
    assert backup.latest(tmp_path / "backup") == (None, 0)
    for epoch in (8, 9):
        saver.on_epoch_end(epoch)
    (tmp_path / "backup" / "unfinished.weights.h5").write_bytes(b"half")
    path, epochs = backup.latest(tmp_path / "backup")
    assert epochs == 10 and path.is_file()
    assert len(list((tmp_path / "backup").iterdir())) == 2
    model.load_weights(path)


def test_a_new_run_does_not_go_on_from_an_old_one(train, tmp_path):
    first, _ = train(tmp_path, "digits", train_size=64)
    saver = backup.EpochBackup(tmp_path / "backup")
    saver.set_model(first)
    saver.on_epoch_end(4)
    again, _ = train(tmp_path, "digits", train_size=64)
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not (tmp_path / "backup").exists()
