"""The benchmarks of densities, shortened: they run, and their tables are right."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import nice, plane
from keras_ebm.trainers.program.json_files import write_json

TFDS = Path(__file__).parents[3] / "shared" / "data" / "tfds"


def test_a_run_in_the_plane_is_measured(monkeypatch):
    preset, changes = plane.VERAS[plane.METHODS[0]]
    # Wide enough a factor for the first steps' density to fit the grid.
    short = {**preset, "toy_rows": 3000, "epochs": 1, "base_stddev": 1.5}
    monkeypatch.setitem(plane.VERAS, plane.METHODS[0], (short, changes))
    model, metrics = plane.run_one(plane.METHODS[0], "8gaussians", seed=11)
    assert metrics["nll_gap"] > 0 and metrics["num_test"] == 600
    assert model.energy(np.zeros((3, 2), np.float32)).shape == (3,)


def test_every_ablation_changes_flags_that_exist():
    for name, changes in plane.ABLATIONS.items():
        settings = plane.with_preset(plane.VERA_2D, plane.ModelSettings, **changes)
        assert all(getattr(settings, key) == v for key, v in changes.items()), name


def test_the_planes_table_shows_the_worst_seed_and_what_diverged(tmp_path):
    method = plane.METHODS[0]
    for seed, gap in enumerate([0.1, 0.3]):
        run = {"nll_gap": gap, "seconds": 2.0}
        write_json(plane.file_of(tmp_path, method, "rings", seed), run)
    lost = plane.file_of(tmp_path, method, "rings", 2)
    write_json(lost, {"diverged": "because"})
    text = plane.table(tmp_path, [method], ["rings", "moons"], seeds=3)
    cells = "0.200 ± 0.100, worst 0.300; no finite mass in 1 of 3 | not run"
    assert f"| {method} | {cells} |" in text


def test_nices_table_shows_the_worst_seed(tmp_path):
    for seed, value in enumerate([-1000.0, -1010.0]):
        run = {"test_log_likelihood": value, "best_step": 50, "seconds": 3.0}
        write_json(nice.file_of(tmp_path, "maximum likelihood", seed), run)
    text = nice.table(tmp_path, seeds=3)
    row = "| maximum likelihood | -1005.0 ± 5.0 | -1010.0 | 50, 50 | 3 |"
    assert row in text


@pytest.mark.skipif(not TFDS.is_dir(), reason="needs MNIST on disk")
def test_a_run_of_nice_is_measured():
    settings = nice.NiceSettings(data_dir=str(TFDS), hidden=("8",), steps=100)
    metrics = nice.run_one("maximum likelihood", 11, settings)
    assert metrics["num_test"] == 10_000 and len(metrics["validation_energies"]) == 2
    # The standard normal that NICE starts as has -1299 nats.
    assert -1299 < metrics["test_log_likelihood"] < 0
