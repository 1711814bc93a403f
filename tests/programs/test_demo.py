"""The demonstration, shortened."""

import json

import numpy as np

from examples.demo import photographs, run_demo


def test_the_demonstration_measures_what_it_exported(tmp_path):
    figures = run_demo(str(tmp_path), epochs=12)

    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved == figures
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert (tmp_path / "served" / "digits" / "1" / "saved_model.pb").is_file()
    assert figures["accuracy"] > 0.9
    # Uniform noise is the easiest foreign set: nothing like a digit.
    assert figures["auroc"]["VERA energy (exported)"]["uniform noise"] > 0.95
    assert set(figures["refused"]) == {
        "uniform noise",
        "digits turned by 90",
        "photographs",
    }


def test_photographs_are_small_grey_and_repeatable():
    patches = photographs(10, 8, seed=3)
    assert patches.shape == (10, 8, 8, 1) and patches.dtype == np.uint8
    assert patches.std() > 10  # pictures, not blanks
    np.testing.assert_array_equal(patches, photographs(10, 8, seed=3))
