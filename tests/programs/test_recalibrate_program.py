"""`export.recalibrate`: from an export and a csv to the next version."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_ebm.export.about import exact_interval
from keras_ebm.serving.export import CARD

KEPT = Path(__file__).parents[1] / "kept" / "export"


@pytest.fixture
def export(tmp_path):
    """A copy of an export that an earlier version wrote, and known rows for it."""
    shutil.copytree(KEPT, tmp_path / "served")
    rng = np.random.default_rng(0)
    lines = ["city,age,income"]
    for age, income in zip(rng.uniform(20, 70, 60), rng.uniform(1, 5, 60), strict=True):
        lines.append(f"{rng.choice(['Wien', 'Graz', ''])},{age:.1f},{income:.2f}")
    (tmp_path / "known.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "served", f"csv:{tmp_path / 'known.csv'}"


def test_the_next_version_has_the_rate_and_the_rows_that_were_given(run, export):
    folder, spec = export
    flags = [f"--model={folder}", f"--calibration={spec}", "--target_fpr=0.2"]
    code, out, err = run("export.recalibrate", *flags)
    assert (code, err) == (0, ""), err
    assert out.startswith(f"{folder / '2'}: false-alarm rate 0.2 on 60 calibration")
    card = json.loads((folder / "2" / CARD).read_text())
    assert card["target_fpr"] == 0.2 and card["calibration_rows"] == 60
    page = (folder / "2" / "assets.extra" / "card.html").read_text()
    assert "Earlier calibrations" in page and "sets of 60 calibration rows" in page


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--target_fpr=0.01"], "which needs 99 rows"),
        (["--calibration=csv:absent.csv"], "absent.csv"),
        (["--model=nowhere"], "`model` must be what keras-ebm export-classifier or"),
    ],
)
def test_what_cannot_be_had_is_refused_and_no_version_written(
    run, export, flags, message
):
    folder, spec = export
    given = [f"--model={folder}", f"--calibration={spec}", *flags]
    code, _, err = run("export.recalibrate", *given)
    assert code != 0 and message in err
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_an_interval_of_one_share_is_that_of_clopper_and_pearson():
    # For no row of n refused it ends at 1 - (alpha / 2)^(1 / n).
    low, high = exact_interval(0, 20)
    assert low == 0.0 and high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert exact_interval(20, 20) == pytest.approx((0.025 ** (1 / 20), 1.0))
    # By scipy.stats.binomtest(6, 361).proportion_ci().
    assert exact_interval(6, 361) == pytest.approx((0.0061232, 0.0358231), abs=1e-6)
