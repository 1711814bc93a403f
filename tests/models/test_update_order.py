import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KINDS = (
    "importance",
    "log_volume, dense",
    "log_volume, iterative",
    "hmc",
    "mutual_information, js",
    "mutual_information, dv",
    "density",
    "density, corrected",
    "batch negatives",
    "chains",
    "chains, spectral",
    "score matching",
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    paths = [str(HERE.parent), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, HERE / "update_order.py", tmp_path_factory.mktemp("graphs")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_kind_of_step_is_measured(measured):
    assert set(measured) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_no_update_of_a_step_overtakes_a_read_of_what_it_changes(kind, measured):
    # Without any update the graphs were not those of training.
    assert measured[kind]["updates"] > 0
    assert measured[kind]["overtaken"] == []
