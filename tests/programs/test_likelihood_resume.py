"""A density's run that is killed or interrupted, and continued."""

import csv
import json

import numpy as np
import pytest
from processes import interrupt, kill_after, kill_at

from keras_ebm.files import UNFINISHED
from keras_ebm.trainers import likelihood
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.run import backup
from keras_ebm.trainers.run.density_rows import batches_of, split_rows
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.density import DensitySettings

# 8 parts of 6 steps, each two passes over the rows. Three optimizers, chains in a
# buffer and noise on the images are all part of the state; a rate this large takes
# the density to and fro, so that the best weights are not the last.
PARTS = 8
FLAGS = (
    *("--dataset=digits", "--train_size=60", "--batch_size=50"),
    *("--method=vera", "--hidden=64,64", "--num_couplings=2", "--generator_hidden=16"),
    *("--latent_dim=4", "--buffer_size=100", "--move_steps=1"),
    *("--learning_rate=0.02", "--schedule=constant", "--steps=48"),
    *("--validate_every=6", "--auto_resume"),
)


def best_part(folder):
    """Parts until the best validation, by the history."""
    with open(folder / "history.csv") as file:
        values = [float(row["val_data_energy"]) for row in csv.DictReader(file)]
    return int(np.argmin(values)) + 1


def backups(folder):
    return [parts for _, parts in backup.all_backups(folder / "backup")]


def bests(folder):
    return [parts for _, parts in backup.all_backups(folder / "best")]


def metrics_of(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics.pop("seconds", None)
    return metrics


def test_a_density_that_is_killed_again_and_again_ends_the_same(start, run, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    program, flags = "trainers.likelihood", (*FLAGS, f"--workdir={killed}")
    assert run(program, *FLAGS, f"--workdir={whole}")[0] == 0
    best = best_part(whole)
    assert 1 < best < PARTS  # Or the weights would be the last ones anyway.

    # Before the first backup.
    kill_after(start(program, *flags), 1)
    assert backups(killed) == []
    # After the best weights are saved, before the backup of their part.
    kill_at(
        run,
        "keras_ebm.trainers.run.backup:EpochBackup.on_epoch_end",
        best,
        program,
        *flags,
    )
    assert backups(killed)[0] == best - 1 and bests(killed)[0] == best
    # While the same weights are saved again.
    # After flags.txt, the record and the history, before the weights get their name.
    kill_at(run, "os:replace", 5, program, *flags)
    assert len(list((killed / "best").glob(f"{UNFINISHED}*"))) == 1
    assert backups(killed)[0] == best - 1 and best not in bests(killed)
    # Somewhere in the part after that.
    kill_after(start(program, *flags), 2)
    assert best in backups(killed) and bests(killed)[0] == best
    # When all is done but the model is not saved.
    kill_at(run, "keras:Model.save", 1, program, *flags)
    assert backups(killed)[0] == PARTS and not (killed / "model.keras").exists()

    code, _, err = run(program, *flags)
    assert (code, err) == (0, "")
    models = [
        keras_files.load_model(folder / "model.keras") for folder in (whole, killed)
    ]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert metrics_of(killed) == metrics_of(whole)
    assert metrics_of(killed)["best_step"] == 6 * best
    history = (whole / "history.csv").read_text()
    assert (killed / "history.csv").read_text() == history
    assert {p.name for p in killed.iterdir()} == {p.name for p in whole.iterdir()}


SMALL = {"hidden": ("16",), "num_couplings": 2, "learning_rate": 0.02}


def run_of(seed=0):
    return load(DataSettings(dataset="digits", train_size=60, seed=seed))


def steps(workdir, **settings):
    values = {"steps": 48, "validate_every": 6, "batch_size": 50, "verbose": 0}
    return likelihood.StepSettings(workdir=str(workdir), **{**values, **settings})


def test_ctrl_c_leaves_the_best_model_so_far_and_the_run_goes_on(start, run, tmp_path):
    late, whole = tmp_path / "late", tmp_path / "whole"
    settings = DensitySettings(**SMALL)
    flags = ["--dataset=digits", "--train_size=60", "--batch_size=50", "--steps=48"]
    flags += ["--validate_every=6", "--hidden=16", "--num_couplings=2"]
    flags += ["--learning_rate=0.02", f"--workdir={late}"]
    process = start("trainers.likelihood", *flags)
    code, err = interrupt(process, "Epoch 4/8")
    assert code == 130 and err.count("\n") == 2 and err.startswith("\ninterrupted: ")
    assert str(late / "model.keras") in err and "--resume" in err

    job = likelihood.prepare(run_of(), settings, steps(late, resume=True))
    assert job.first_part >= 3
    job.settle_stopped(job)
    saved = keras_files.load_model(late / "model.keras")
    for one, other in zip(saved.get_weights(), job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    with pytest.raises(ValueError, match="validate_every=3 for .* steps.*; use 6"):
        fit = steps(late, resume=True, validate_every=3)
        likelihood.prepare(run_of(), settings, fit)
    with pytest.raises(ValueError, match="the seed of the interrupted run"):
        likelihood.prepare(run_of(seed=1), settings, steps(late, resume=True))
    with pytest.raises(ValueError, match="networks and optimizers"):
        other = DensitySettings(**{**SMALL, "hidden": ("8",)})
        likelihood.prepare(run_of(), other, steps(late, resume=True))

    code, out, err = run("trainers.likelihood", *flags, "--resume")
    assert (code, err) == (0, "") and "Epoch 3/8" not in out
    model, _ = likelihood.train(run_of(), settings, steps(whole))
    resumed = keras_files.load_model(late / "model.keras")
    for one, other in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="leave --resume out"):
        likelihood.prepare(run_of(), settings, steps(late, resume=True))


def test_a_density_that_diverges_late_keeps_what_was_good(tmp_path):
    # From the second part on the rate is 1e28.
    settings = DensitySettings(
        **SMALL, schedule="steps", decay_epochs=("1",), decay_rate=1e30
    )
    fit = steps(tmp_path / "late")
    model, metrics = likelihood.train(run_of(), settings, fit)
    assert metrics["best_step"] == 6 and "training stopped" in metrics["diverged"]
    assert np.isfinite(metrics["test_log_likelihood"])
    short = steps(tmp_path / "short", steps=6)
    expected, _ = likelihood.train(run_of(), settings, short)
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_density_that_never_had_a_likelihood_is_an_error(tmp_path):
    settings = DensitySettings(**{**SMALL, "learning_rate": 1e30})
    with pytest.raises(RuntimeError, match="training stopped"):
        likelihood.train(run_of(), settings, steps(tmp_path))
    assert not (tmp_path / "model.keras").exists()


def test_resumed_batches_go_on_with_rows_and_noise():
    rows = split_rows(run_of())
    whole = list(batches_of(rows, "image", 50, seed=3).take(7).as_numpy_iterator())
    # A pass is of three steps: 5 falls inside the second.
    late = batches_of(rows, "image", 50, seed=3, first_step=5).take(2)
    for one, other in zip(whole[5:], late.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(one, other)
    # Half of all pixels are 0 in both: with one noise for all steps they were equal.
    assert np.mean(whole[0] == whole[3]) < 0.01
