"""What the benchmarks of few labels say of runs that are saved."""

import pytest

from benchmarks import few_labels, few_labels_features, tabular
from keras_ebm.trainers.program.json_files import write_json


def step(accuracy, average, neighbour):
    return {
        "accuracy": accuracy,
        "average_agreement": average,
        "neighbour_agreement": neighbour,
    }


#: Four looks: the second is best, averages agree most at the third.
RUN = {
    "curves": [
        step(0.6, 0.1, 0.9),
        step(0.9, 0.2, 0.5),
        step(0.8, 0.8, 0.5),
        step(0.7, 0.3, 0.5),
    ]
}


def test_a_run_is_read_where_it_would_have_been_stopped():
    found = [few_labels.at(RUN, how) for how in few_labels.STOPS]
    assert found == [0.9, 0.7, 0.8, 0.8, 0.6, 0.9]


def test_a_table_has_the_methods_of_which_all_runs_are_saved(tmp_path):
    write_json(tabular.file_of(tmp_path, "vera", "one", 0), RUN)
    spread = {**RUN, "spread": {"accuracy": 0.5}}
    write_json(tabular.file_of(tmp_path, "vera+spread", "one", 0), spread)
    lines = few_labels.table(tmp_path, ["one"], [0]).splitlines()
    assert lines[2] == "| vera | 1,200 steps | 90.0 ± 0.0 | **90.0** ± 0.0 |"
    assert lines[-1].startswith("| vera+spread | spread alone | 50.0")
    assert len(lines) == 2 + 6 + 7


@pytest.mark.parametrize("method", ["head", "logistic regression"])
def test_the_table_of_features_has_means_over_seeds(method):
    runs = {f"{method}; 0": {"test": 0.7}, f"{method}; 1": {"test": 0.8}}
    lines = few_labels_features.table(runs).splitlines()
    assert lines[2:] == [f"| {method} | 2 | 75.0 ± 5.0 |  |"]
