import pytest
from support import make_network, rows

from benchmarks.far_rows import KINDS, share_accepted, table
from keras_ebm.layers import TableEncoder
from keras_ebm.models import EnergyModel
from keras_ebm.ood import Detector
from keras_ebm.trainers.program import json_files


def test_rows_moved_far_in_a_column_are_refused_and_those_left_alone_are_not():
    x, _ = rows(60)
    encoder = TableEncoder(bounded=True)
    encoder.adapt(x)
    model = EnergyModel(make_network(), preprocessor=encoder)
    detector = Detector.calibrate(model, x, target_fpr=0.1)
    still = detector.predict(x[:20])["accept"].mean()
    assert share_accepted(detector, x[:20], 0.0) == pytest.approx(still)
    assert share_accepted(detector, x[:20], 1e6) == 0.0


def test_the_table_has_a_line_for_every_score(tmp_path):
    shares = {"0": 0.95, "2": 0.5, "10": 0.25, "100": 0.125, "1e+06": 0.0}
    run = {
        "false_alarms": dict.fromkeys(KINDS, 0.0625),
        "accepted": dict.fromkeys(KINDS, shares),
    }
    json_files.write_json(tmp_path / "letter-0.json", run)
    lines = table(tmp_path, ["letter"], 1).splitlines()
    assert len(lines) == 2 + len(KINDS)
    assert (
        lines[-1] == "| letter | nearest row | 6.2 | 95.0 | 50.0 | 25.0 | 12.5 | 0.0 |"
    )
