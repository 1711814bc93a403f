"""What a step's memory is made of is measured and drawn."""

import pytest

from benchmarks import step_memory
from keras_ebm import plots


@pytest.mark.parametrize("kind", ["library", "kept", "alone"])
def test_the_memory_of_steps_is_measured(kind):
    assert step_memory.growth("MLP 561-500-500-500-6", 2, 2, kind, steps=1) >= 0


def test_what_one_pass_of_the_generator_makes_is_counted():
    # A layer of 128 entries and one of 561, each with its activation.
    sizes = step_memory.outputs_of_one_pass("MLP 561-500-500-500-6", (1, 40))
    expected = 4 * step_memory.BATCH * 2 * (128 + 561) / 2**20
    assert sizes["1"] == pytest.approx(expected)
    assert sizes["40"] == pytest.approx(40 * expected)


def test_memory_is_drawn_and_its_table_shows_what_stays(tmp_path):
    by_samples = {
        "library": {"1": 40.0, "5": 60.0},
        "kept": {"1": 40.0, "5": 140.0},
        "alone": {"1": 5.0, "5": 25.0},
        "outputs": {"1": 4.0, "5": 20.0},
    }
    row = {
        "by_batch": {"16": 50.0, "32": 60.0},
        "by_samples": by_samples,
        "slopes": {k: step_memory.slope(values) for k, values in by_samples.items()},
        "resident_after": {"100": 900.0, "1000": 901.0},
    }
    results = {"networks": {"small": row}}
    text = step_memory.table(results)
    assert "| small | 5.00 | 25.00 | 5.00 | 4.00 | 900.0 MiB after 100, 901.0" in text
    assert "| small, kept | 40 | 140 |" in text
    plots.save(step_memory.figure(results), tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 1000
