import shutil

import numpy as np
import pytest

from benchmarks import fault_disks, fault_jobs
from benchmarks.fault_trials import cut
from benchmarks.faults import faults_of, found_before, read_results, table
from keras_ebm.files import UNFINISHED
from keras_ebm.trainers.program import json_files


class Short(fault_jobs.Backup):
    settings = (*fault_jobs.Backup.settings, "--epochs=2")


@pytest.fixture(scope="module")
def job(forks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    fault_jobs.write_table(folder / "rows.csv")
    inputs = fault_jobs.Inputs(f"csv:{folder / 'rows.csv'}", folder, folder)
    return Short(forks.run, inputs, folder / "reference")


@pytest.mark.parametrize("in_mid_run", [False, True])
def test_a_power_cut_leaves_what_was_reported_as_written(
    job, forks, tmp_path, in_mid_run
):
    rng = np.random.default_rng(0)
    try:
        found = cut(job, forks, tmp_path / "cut", rng, in_mid_run)
    except fault_disks.CannotMount as error:
        pytest.skip(f"A disk cannot be mounted here: {error}")
    assert found["faults"] == []
    assert (found["epochs"] > 0) == in_mid_run
    # That there was a power cut: a file that nobody synced lost its text.
    assert found["unsynced_bytes"] == 0


@pytest.mark.parametrize("name", ["run.json", "split.npz", "model.keras"])
def test_a_file_that_is_cut_off_is_a_fault(job, tmp_path, name):
    whole = job.output(job.reference) / name
    (tmp_path / name).write_bytes(whole.read_bytes())
    fault_jobs.check_files(tmp_path)
    (tmp_path / name).write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(fault_jobs.Fault, match=f"{name} cannot be read"):
        fault_jobs.check_files(tmp_path)


def test_what_is_left_behind_or_lost_is_a_fault(job, tmp_path):
    folder = tmp_path / "job"
    shutil.copytree(job.reference, folder)
    job.check_done(folder)
    left = job.output(folder) / f"{UNFINISHED}1"
    left.touch()
    with pytest.raises(fault_jobs.Fault, match=f"left behind: {left.name}"):
        job.check_done(folder)
    left.unlink()
    history = job.output(folder) / "history.csv"
    history.write_text(history.read_text()[:-10])
    with pytest.raises(fault_jobs.Fault, match="another history"):
        job.check_done(folder)


def test_the_table_counts_by_job_and_has_none_of_a_part_that_was_skipped(tmp_path):
    killed = {"job": "export", "unfinished": 1, "faults": ["Fault: half"]}
    kills = [killed, {**killed, "unfinished": 0, "faults": []}]
    json_files.write_json(tmp_path / "kills.json", {"seed": 3, "found": kills})
    skipped = {"seed": 3, "found": [], "skipped": "a disk cannot be mounted"}
    json_files.write_json(tmp_path / "disks.json", skipped)
    together = {"seed": 3, "found": [{"count": 10, "faults": []}]}
    json_files.write_json(tmp_path / "exporters.json", together)
    results = read_results(tmp_path)
    assert faults_of(results) == ["Fault: half"]
    assert table(results).splitlines()[2:] == [
        "| killed | 0 | 0 | 2 | 0 | 1 |",
        "| of these with a file half written | 0 | 0 | 1 | 0 | 1 |",
        "| disk full | 0 | 0 | 0 | 0 | 0 |",
        "| power cut | 0 | 0 | 0 | 0 | 0 |",
        "| at once | 0 | 0 | 10 | 0 | 0 |",
    ]
    # A run of the same seed goes on there.
    assert found_before(tmp_path / "kills.json", 3) == kills
    assert found_before(tmp_path / "kills.json", 4) == []
    assert found_before(tmp_path / "cuts.json", 3) == []
