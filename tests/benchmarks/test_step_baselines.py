"""Steps are timed in turn, and their ratios held against what was aimed at."""

import importlib.util

import numpy as np
import pytest
from step_support import SMALL

from benchmarks import step_baselines

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch"
)


def small_setting(monkeypatch):
    monkeypatch.setitem(step_baselines.SETTINGS, "small", SMALL["vector"])


def test_the_ratios_of_steps_are_measured(monkeypatch):
    small_setting(monkeypatch)
    kinds = ("library", "two tapes", "chains", "derivatives alone")
    row = step_baselines.measure("small", blocks=2, steps=3, kinds=kinds)
    assert set(row["ratios"]) == {"library / two tapes", "chains / library"}
    assert all(values["median"] > 0 for values in row["ratios"].values())
    text = step_baselines.table({"settings": {"small": row}})
    assert "| small | library / two tapes |" in text and "| <= 0.9 |" in text
    assert text.count("| small |") == 6


@needs_torch
def test_pytorch_runs_its_steps_in_a_process_that_waits():
    worker = step_baselines.Torch("MLP 561-500-500-500-6", threads=1)
    try:
        times = [worker(1), worker(2)]
    finally:
        worker.close()
    assert all(seconds > 0 and used > 0 for seconds, used in times)
    assert worker.process.returncode == 0
    assert worker.version


def test_a_median_beyond_its_bound_is_a_miss():
    times = {
        "library": [95.0, 95.0],
        "two tapes": [100.0, 100.0],
        "chains": [400.0] * 2,
    }
    times = {kind: np.array(values) for kind, values in times.items()}
    ratios = step_baselines.compare(times, times)
    assert ratios["library / two tapes"]["median"] == pytest.approx(0.95)
    met = {name: values["met"] for name, values in ratios.items()}
    assert met == {"library / two tapes": False, "chains / library": True}
