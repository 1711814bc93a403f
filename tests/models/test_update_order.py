import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from update_order import STEPS

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    paths = [str(HERE.parent), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    asked = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TF_CPP_MIN_LOG_LEVEL": "0",
        "TF_CPP_VMODULE": "meta_optimizer=1",
        "TF_DUMP_GRAPH_PREFIX": str(tmp_path_factory.mktemp("graphs")),
    }
    done = subprocess.run(
        [sys.executable, HERE / "update_order.py"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_kind_of_step_is_measured(measured):
    assert set(measured) == set(STEPS)


@pytest.mark.parametrize("kind", STEPS)
def test_no_update_of_a_step_overtakes_a_read_of_what_it_changes(kind, measured):
    # Without any update the graphs were not those of training.
    assert measured[kind]["updates"] > 0
    assert measured[kind]["overtaken"] == []
