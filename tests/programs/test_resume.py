import numpy as np
import pytest
from processes import interrupt, kill_after

from keras_ebm.files import UNFINISHED
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.run import backup

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
        key: start(name, *flags, f"--workdir={folder}")
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
    model = keras_files.load_model(folders["late"] / "model.keras")
    logits = model.predict(np.zeros((2, 8, 8, 1), np.uint8), verbose=0)
    assert logits.shape == (2, 10) and np.isfinite(logits).all()


def test_a_resumed_run_ends_in_the_same_weights(runs, resumed, folders):
    assert runs["whole"][0] == 0 and resumed[0] == 0, resumed[2]
    models = [
        keras_files.load_model(folders[n] / "model.keras") for n in ("whole", "late")
    ]
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
    model = keras_files.load_model(held_out / "model.keras")
    saver = backup.EpochBackup(tmp_path / "backup")
    saver.set_model(model)
    assert backup.all_backups(tmp_path / "backup") == []
    for epoch in (7, 8, 9):
        saver.on_epoch_end(epoch)
    (tmp_path / "backup" / f"{UNFINISHED}1").write_bytes(b"half")
    kept = backup.all_backups(tmp_path / "backup")
    assert [epochs for _, epochs in kept] == [10, 9]
    path = kept[0][0]
    assert len(list((tmp_path / "backup").iterdir())) == 3
    model.load_weights(path)


def test_an_epoch_that_training_stopped_in_is_not_backed_up(train, tmp_path):
    # Stopped after one of 34 steps: going on from there would skip the others.
    fit = {"epochs": 3, "energy_limit": 1e-6}
    with pytest.raises(RuntimeError, match="after step 1 of epoch 1"):
        train(tmp_path, "digits", fit=fit)
    assert (tmp_path / "history.csv").read_text().count("\n") == 2
    assert backup.all_backups(tmp_path / "backup") == []


def test_a_new_run_does_not_go_on_from_an_old_one(train, tmp_path):
    first, _ = train(tmp_path, "digits", train_size=64)
    saver = backup.EpochBackup(tmp_path / "backup")
    saver.set_model(first)
    saver.on_epoch_end(4)
    again, _ = train(tmp_path, "digits", train_size=64)
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not (tmp_path / "backup").exists()


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_weights(
    start, run, tmp_path
):
    # 12 parts of 6 steps: kills fall inside passes over the data, and before the
    # first backup. Dropout's seeds and averaged weights are part of the state.
    flags = (
        *("--dataset=digits", "--train_size=288", "--epochs=8", "--verbose=2"),
        *("--network=wide_resnet", "--depth=10", "--width=1", "--dropout=0.3"),
        *("--num_steps=2", "--buffer_size=100", "--batch_size=32"),
        *("--validate_every=6", "--notensorboard", "--auto_resume"),
        *("--ema_momentum=0.9", "--augment=crop_flip"),
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run("trainers.langevin", *flags, f"--workdir={whole}")[0] == 0
    for count in (1, 4, 5):
        kill_after(start("trainers.langevin", *flags, f"--workdir={killed}"), count)
    newest = backup.all_backups(killed / "backup")[0][0]
    newest.write_bytes(newest.read_bytes()[:1000])
    code, _, err = run("trainers.langevin", *flags, f"--workdir={killed}")
    assert (
        code == 0 and err == f"{newest.name} is cut off: going on from the one before\n"
    )
    models = [
        keras_files.load_model(folder / "model.keras") for folder in (whole, killed)
    ]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    buffers = [model.negatives.buffer.whole() for model in models]
    for name, value in buffers[0].items():
        np.testing.assert_array_equal(buffers[1][name], value)
    for name in ("history.csv", "metrics.json"):
        assert (killed / name).read_text() == (whole / name).read_text()


def test_parts_must_divide_the_run(train, tmp_path):
    fit = {"epochs": 2, "validate_every": 5, "batch_size": 64}
    with pytest.raises(ValueError, match="must divide the run's 34 steps.*choose 2"):
        train(tmp_path, "digits", fit=fit)
