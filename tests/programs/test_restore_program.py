"""`trainers.restore`, as a program and by its functions."""

import json

import numpy as np
import pytest

from keras_ebm.restore import Downsampled, EnergyWalk, GaussianNoise, LevelWalk, Masked
from keras_ebm.trainers.restore import RestoreSettings, dry_run, restore_rows
from keras_ebm.trainers.run.dry_run import KNOWN
from keras_ebm.trainers.settings.restore import (
    PRESETS,
    EnergySettings,
    build_energy,
    parse_corruption,
    walks,
)

SMALL = (
    "--test_rows=20",
    "--validation_rows=10",
    "--chains=2",
    "--walk_steps=5",
    "--weights=1",
)


@pytest.fixture(scope="module")
def restored(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("restore") / "new"
    flags = ["--dataset=digits", "--corruption=gaussian:0.3", "--filters=8,16"]
    flags += ["--train_steps=400", "--batch_size=32", "--learning_rate=0.01"]
    flags += [f"--output={folder}", *SMALL]
    return folder, run("trainers.restore", *flags)


def test_the_program_restores_test_rows_and_writes_how_well(restored):
    folder, (code, out, err) = restored
    assert (code, err) == (0, ""), err
    found = json.loads((folder / "results.json").read_text())
    assert found["psnr_mean"] > found["psnr_observed"] + 1.0
    assert found["rows"] == 20 and found["chains"] == 2 and "psnr_mean" in out
    assert (folder / "picture.png").read_bytes()[:4] == b"\x89PNG"


def test_a_model_restores_what_it_was_not_trained_for(restored, run):
    folder, _ = restored
    flags = [f"--model={folder}/model.keras", "--corruption=lower_half", *SMALL]
    code, _, err = run("trainers.restore", *flags, f"--output={folder}/half")
    assert (code, err) == (0, ""), err
    found = json.loads((folder / "half" / "results.json").read_text())
    assert found["psnr_mean"] > found["psnr_observed"]
    assert not (folder / "half" / "model.keras").exists()


def test_the_results_of_a_model_are_not_written_over_it(restored, run):
    folder, _ = restored
    flags = ["--dataset=digits", f"--model={folder}/model.keras"]
    code, _, err = run("trainers.restore", *flags, f"--output={folder}/model.keras")
    assert code == 2 and "must be a folder" in err


def test_corruptions_are_read_from_their_words():
    shape = (8, 6, 1)
    assert isinstance(parse_corruption("gaussian:0.3", shape), GaussianNoise)
    # 0.3 of white is 0.6 of the width from -1 to 1.
    assert parse_corruption("gaussian:0.3", shape).stddev == pytest.approx(0.6)
    half = parse_corruption("lower_half", shape)
    assert isinstance(half, Masked) and half.known.sum() == 24
    box = parse_corruption("box:1,2,3,2", shape).known
    assert not box[1:4, 2:4].any() and box.sum() == 42
    assert isinstance(parse_corruption("downsample:2", shape), Downsampled)
    for bad in ("blur:1", "box:0,0,8,6", "box:6,0,3,1", "downsample:5", "salt:2"):
        with pytest.raises(ValueError, match="Received"):
            parse_corruption(bad, shape)


def test_a_dry_run_takes_a_step_without_the_data():
    assert all(preset["dataset"] in KNOWN for preset in PRESETS.values())
    settings = RestoreSettings(dataset="tfds:mnist", data_dir="absent")
    energy = EnergySettings(energy="chains", filters=("4",), bottleneck=8)
    cost = dry_run(settings, energy)
    # A 4x4 convolution to 4 channels, 14 * 14 * 4 features to 8, and 8 to 1.
    assert cost["parameters"] == 17 * 4 + 785 * 8 + 9
    assert cost["seconds_update"] > 0 and cost["seconds_walk"] > 0


def test_an_energy_is_walked_as_it_was_trained():
    x = np.zeros((4, 8, 8, 1), np.uint8)
    settings = EnergySettings(filters=("4",), bottleneck=8)
    noise, half = (parse_corruption(n, (8, 8, 1)) for n in ("salt:0.1", "lower_half"))
    model = build_energy(settings, x)
    assert len(walks(model, noise, settings, (5, 10), (1.0, 2.0))) == 4
    (walk,) = walks(model, half, settings, (5,), (1.0, 2.0))
    assert isinstance(walk, LevelWalk) and walk.high == model.network.high
    chains = EnergySettings(energy="chains", filters=("4",), bottleneck=8)
    (walk,) = walks(build_energy(chains, x), half, chains, (5,), (1.0,))
    assert isinstance(walk, EnergyWalk) and walk.step_size == 40.0


def test_rows_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match="filled by keras_ebm.estimators"):
        restore_rows(
            RestoreSettings(dataset="toy:rings"), EnergySettings(train_steps=1)
        )
