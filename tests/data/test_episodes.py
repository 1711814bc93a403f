"""Episodes from files and of the simulated hand."""

import importlib
import sys

import numpy as np
import pytest

from keras_ebm.data import load_episodes
from keras_ebm.data.hand import _one_sign


def written(tmp_path, **arrays):
    np.savez(tmp_path / "e.npz", **arrays)
    return f"npz:{tmp_path / 'e.npz'}"


def test_episodes_and_actions_of_a_file_come_as_float32(tmp_path):
    states = np.arange(24).reshape(2, 4, 3)
    spec = written(tmp_path, episodes=states, actions=np.ones((2, 3, 1)))
    found = load_episodes(spec)
    assert len(found) == 2 and found.name == spec
    np.testing.assert_array_equal(found.states, states.astype(np.float32))
    assert found.states.dtype == found.actions.dtype == np.float32


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"x": np.zeros((2, 3, 1))}, "must hold an array 'episodes'.*Received: x"),
        ({"episodes": np.zeros((2, 3))}, r"shape \(n, states, state\).*\(2, 3\)"),
        ({"episodes": np.zeros((2, 3, 0))}, r"\(2, 3, 0\)"),
        ({"episodes": np.full((2, 3, 1), "a")}, "must be numbers"),
        ({"episodes": np.zeros((1, 3, 1))}, "at least 2 episodes.*1 episode"),
        ({"episodes": np.zeros((2, 1, 1))}, "at least 2 states"),
        ({"episodes": [[[0.0], [np.nan]], [[0], [0]]]}, "finite.*first.*episode 0"),
        ({"episodes": [[[0.0], [0]], [[0], [1e300]]]}, "within float32.*episode 1"),
        (
            {"episodes": np.zeros((2, 3, 1)), "actions": np.zeros((2, 3, 1))},
            "one action between any two states.*2, 'action'",
        ),
        (
            {"episodes": np.zeros((2, 3, 1)), "actions": np.full((2, 2, 1), np.inf)},
            "'actions' must be finite",
        ),
    ],
)
def test_what_is_no_episodes_is_refused_with_the_cause(tmp_path, arrays, words):
    with pytest.raises(ValueError, match=words):
        load_episodes(written(tmp_path, **arrays))


@pytest.mark.parametrize("spec", ["hand:foot", "hand", "npz", "csv:a.csv", "digits"])
def test_a_spec_of_no_episodes_is_refused_with_the_forms(spec):
    with pytest.raises(ValueError, match="hand:reach, hand:block, npz:PATH"):
        load_episodes(spec)


@pytest.mark.parametrize(
    "arguments", [{"num_episodes": 0}, {"num_steps": 0}, {"seed": -1}]
)
def test_a_number_of_the_hand_out_of_its_range_is_refused_by_name(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` must be"):
        load_episodes("hand:block", **arguments)


def test_without_its_package_the_hand_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r'pip install "keras_ebm\[robots\]"'):
        load_episodes("hand:reach", data_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cached_simulation_is_read_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    states = np.ones((4, 3, 24), np.float32)
    np.savez(tmp_path / "hand-reach-4x2-seed7.npz", episodes=states)
    arguments = {"num_episodes": 4, "num_steps": 2, "data_dir": tmp_path}
    found = load_episodes("hand:reach", seed=7, **arguments)
    assert found.name == "hand:reach" and found.states.shape == (4, 3, 24)


def test_an_orientation_starts_with_one_sign_and_moves_without_a_jump():
    states = np.zeros((2, 2, 31), np.float32)
    states[0, :, 27:] = [[-0.1, 1, 0, 0], [0.1, 1, 0, 0]]
    states[1, :, 27:] = [[0.1, 1, 0, 0], [-0.1, 1, 0, 0]]
    turned = _one_sign(states.copy())
    np.testing.assert_allclose(turned[0, :, 27:29], [[0.1, -1], [-0.1, -1]])
    np.testing.assert_array_equal(turned[1], states[1])


def test_the_hand_is_simulated_once_by_its_seed(tmp_path):
    for package in ("gymnasium", "gymnasium_robotics", "mujoco"):
        pytest.importorskip(package, exc_type=ImportError)
    assert importlib.import_module("mujoco").__version__.startswith("3.")
    arguments = {"num_episodes": 2, "num_steps": 3, "seed": 1}
    one = load_episodes("hand:block", data_dir=tmp_path / "a", **arguments)
    two = load_episodes("hand:block", data_dir=tmp_path / "b", **arguments)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["hand-block-2x3-seed1.npz"]
    assert one.states.shape == (2, 4, 31) and one.actions.shape == (2, 3, 20)
    np.testing.assert_array_equal(one.states, two.states)
    assert np.abs(np.diff(one.states, axis=1)).max() > 0.01
