"""The program that attacks a run's classifier."""

import json

import keras
import numpy as np
import pytest

from keras_ebm.trainers.attack import attack, dry_run, find, masking, measure, target_of
from keras_ebm.trainers.settings.attack import AttackSettings
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.vera import ModelSettings, build_model


@pytest.fixture(scope="module")
def attacked(run, digits_model, tmp_path_factory):
    """What the program did to the model of two epochs: code, output, folder."""
    folder = tmp_path_factory.mktemp("attacked") / "new"
    flags = ("--bounds=0,0.1,0.2", "--attack=pgd,square,transfer", "--rows=60")
    fewer = ("--num_steps=5", "--queries=20", "--evade_weights=1")
    result = run(
        "trainers.attack",
        f"--model={digits_model}",
        *flags,
        *fewer,
        f"--output={folder}",
    )
    return *result, folder


def test_the_program_writes_what_attacks_leave_and_a_picture(attacked):
    code, out, err, folder = attacked
    assert code == 0, err
    found = json.loads((folder / "results.json").read_text())
    strongest = found["accuracy"]["strongest"]
    assert set(strongest) == {"0.0", "0.1", "0.2"}
    assert strongest["0.0"] >= strongest["0.1"] >= strongest["0.2"]
    for name in ("pgd", "square", "transfer"):
        for bound, value in found["accuracy"][name].items():
            assert strongest[bound] <= value
    assert "right_at_0.1" in out and found["rows"] == 60
    assert (folder / "picture.png").stat().st_size > 1000


def test_refusals_are_counted_for_attacks_that_know_of_them_and_that_do_not(attacked):
    found = json.loads((attacked[-1] / "results.json").read_text())["refusals"]
    for entry in found.values():
        assert 0 <= entry["unaware"] <= entry["aware"] <= 1
        assert entry["unaware"] <= entry["wrong"]


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--attack=bpda"], "`attack` bpda needs a refinement"),
        (["--attack=fgsm"], "`attack` must be some of pgd, margin"),
        (["--bounds=-1"], "`bounds` must be numbers of at least 0"),
        (["--bounds=far"], "`bounds` must be finite numbers"),
    ],
)
def test_attacks_that_cannot_be_are_refused_in_a_sentence(digits_model, flags, words):
    names = dict(flag.removeprefix("--").split("=") for flag in flags)
    values = {name: (value,) for name, value in names.items()}
    with pytest.raises(ValueError, match=words):
        measure(AttackSettings(model=digits_model, **values))


def test_a_black_box_that_wins_is_told():
    alone = {"pgd": {0.1: 0.9}, "square": {0.1: 0.5}, "transfer": {0.1: 0.95}}
    (failure,) = masking(alone, {0.0: 0.97, 0.1: 0.5})
    assert failure.startswith("square is stronger: 0.500 right at 0.1")


def test_bounds_are_of_pixels_from_0_to_1_whatever_the_model_makes_of_them():
    run = load(DataSettings(dataset="digits"))
    x, y = run.rows("train")
    for pixel_range, width in (("symmetric", 2.0), ("unit", 255 / 256)):
        settings = ModelSettings(
            network="mlp",
            hidden=("8",),
            negatives="none",
            pixel_range=pixel_range,
            adversarial_bound=0.1,
        )
        model = build_model(run.dataset, x, settings, 0)
        attack_settings = AttackSettings(num_steps=2, bounds=("0.1",))
        target = target_of(model, attack_settings)
        rows = model.preprocess(x[:4])
        found = find("pgd", target, rows, y[:4], 0.1, attack_settings)
        change = np.abs(found.x - rows).max()
        np.testing.assert_allclose(change, 0.1 * width, rtol=1e-4)
        wide = 2.0 if pixel_range == "symmetric" else 1.0
        np.testing.assert_allclose(model.adversarial.bound, 0.1 * wide)


def test_chains_with_attacked_rows_are_refined_class_by_class():
    run = load(DataSettings(dataset="digits"))
    x, y = run.rows("train")
    chains = ChainSettings(
        network="mlp",
        hidden=("16",),
        num_steps=2,
        buffer_size=100,
        adversarial_bound=0.1,
        adversarial_steps=2,
    )
    model = build_langevin(run.dataset, x, chains, 0)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(x[:200], y[:200], verbose=0)
    settings = AttackSettings(
        bounds=("0", "0.1"),
        attack=("pgd", "bpda"),
        refine_steps=1,
        num_steps=2,
    )
    found = attack(target_of(model, settings), model.preprocess(x[:8]), y[:8], settings)
    strongest = found["accuracy"]["strongest"]
    assert 0 <= strongest[0.1] <= strongest[0.0] <= 1
    assert found["accuracy"].keys() == {"pgd", "bpda", "strongest"}


def test_a_dry_run_takes_one_step_and_tells_its_cost(digits_model):
    cost = dry_run(AttackSettings(model=digits_model, refine_steps=1))
    # A step of each of ten classes, and its answer.
    assert cost["network_passes"] == 20 and cost["parameters"] > 0
