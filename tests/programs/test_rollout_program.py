"""`trainers.rollout`, as a program and by its functions."""

import json

import keras
import numpy as np
import pytest

from keras_ebm.trainers import rollout as program
from keras_ebm.trainers.rollout import (
    RolloutSettings,
    fit,
    measures,
    stick,
    stuck_auroc,
)
from keras_ebm.trajectories import GaussianStep, StateScale, rollout, step_network


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """A file of episodes of two entries that pull each other along."""
    rng = np.random.default_rng(0)
    states = np.zeros((30, 13, 2), np.float32)
    for step in range(12):
        pulled = 0.8 * states[:, step] + 0.15 * states[:, step, ::-1]
        states[:, step + 1] = pulled + rng.normal(size=(30, 2))
    path = tmp_path_factory.mktemp("walks") / "walks.npz"
    np.savez(path, episodes=states)
    return path


SMALL = {"hidden": ("8",), "step_epochs": 2, "epochs": 2, "candidates": 5}


def test_a_run_writes_its_figures_its_picture_and_its_model(run, walks, tmp_path):
    flags = ["--hidden=8", "--step_epochs=2", "--epochs=2", f"--output={tmp_path}/out"]
    code, out, err = run("trainers.rollout", f"--episodes=npz:{walks}", *flags)
    assert (code, err) == (0, "")
    figures = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (figures["train_episodes"], figures["test_episodes"]) == (21, 9)
    assert figures["frechet"] > 0 and f"{figures['frechet']:.4f}" in out
    assert (tmp_path / "out" / "picture.png").stat().st_size > 1000
    model = keras.saving.load_model(tmp_path / "out" / "model.keras")
    assert rollout(model, np.zeros((1, 2)), 4).shape == (1, 5, 2)


@pytest.mark.parametrize("method", ["chains", "nearest", "persistence", "mean"])
def test_every_method_is_fitted_rolled_out_and_measured(walks, method):
    settings = RolloutSettings(episodes=f"npz:{walks}", method=method, **SMALL)
    train, test = program.split(program.load(settings), settings)
    figures, predicted, curve = measures(fit(train, settings), train, test, 0)
    assert predicted.shape == test.shape and curve.shape == (12,)
    assert np.isclose(figures["frechet"], curve.mean())
    assert ("auroc_stuck_episode" in figures) == (method in ("chains", "mean"))


def test_a_dry_run_of_the_paper_counts_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = program.ROLLOUT_PRESETS["igebm_hand"]
    result = program.dry_run(RolloutSettings(**values))
    # 62 inputs, three layers of 128 and one output, with biases.
    assert result["parameters"] == 63 * 128 + 2 * 129 * 128 + 129
    assert result["transitions_of_run"] == 18_000_000
    assert np.isfinite(result["loss"]) and result["flops_step"] > 0
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_a_method_without_an_energy_is_refused():
    with pytest.raises(ValueError, match="`dry_run` needs a method with an energy"):
        program.dry_run(RolloutSettings(method="nearest"))


def test_too_few_episodes_for_a_test_are_refused(walks):
    settings = RolloutSettings(episodes=f"npz:{walks}", test_share=0.01)
    with pytest.raises(ValueError, match="at least 2 episodes to train on"):
        program.split(program.load(settings), settings)


def test_a_stuck_entry_stays_where_it_was_and_the_others_go_on():
    states = np.arange(80, dtype=np.float32).reshape(1, 20, 4)
    stuck, since = stick(states, seed=0)
    changed = (stuck != states).any(axis=1)[0]
    assert changed.sum() == 1
    entry, first = int(np.argmax(changed)), int(np.argmax(since[0]))
    assert (stuck[0, first:, entry] == states[0, first, entry]).all()
    np.testing.assert_array_equal(stuck[0, : first + 1], states[0, : first + 1])


def test_energies_that_know_of_a_coupling_find_an_entry_that_sticks():
    root = np.linalg.cholesky([[1.0, 0.99], [0.99, 1.0]])
    rng = np.random.default_rng(0)
    states = (rng.normal(size=(40, 30, 2)) @ root.T).cumsum(axis=1).astype(np.float32)
    network = step_network(1, 2, hidden=(1,))
    network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    scale = StateScale([0.0, 0], [1.0, 1], [-99.0, -99], [99.0, 99])
    step = GaussianStep(network, scale)
    step.root.assign(root)
    assert stuck_auroc(step, states, seed=0)["episode"] > 0.99
    step.root.assign(np.eye(2))
    assert stuck_auroc(step, states, seed=0)["episode"] < 0.5
