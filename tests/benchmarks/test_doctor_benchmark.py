"""The confusion matrix of the doctor, and one run of it."""

import dataclasses

from benchmarks import doctor
from keras_ebm.callbacks.doctor_rules import CODES


def test_a_broken_run_is_named_in_its_first_third_and_a_healthy_one_never_accused():
    broken = doctor.CASES["generator frozen"]
    third = broken.steps // 3
    late = [["drifting", third + 1]]
    assert doctor.verdict(broken, late) == "healthy"
    assert doctor.verdict(broken, [["drifting", third]]) == "drifting"
    assert doctor.verdict(broken, [["oscillating", third]]) == "wrong: oscillating"
    healthy = doctor.CASES["VERA"]
    assert doctor.verdict(healthy, []) == "healthy"
    assert doctor.verdict(healthy, late) == "wrong: drifting"


def test_states_that_are_right_for_a_fault_are_states():
    assert {state for case in doctor.CASES.values() for state in case.right} < set(
        CODES
    )


def test_the_matrix_counts_runs_and_stands_beside_the_aims():
    runs = {
        "VERA | moons | 0": [],
        "VERA | moons | 1": [["drifting", 200]],
        "generator frozen | moons | 0": [["generator_lagging", 60]],
    }
    lines = doctor.table(runs).split("\n")
    (row,) = (line for line in lines if line.startswith("| VERA |"))
    assert "| 1 of 2 | healthy 1, wrong: drifting 1 |" in row
    assert "named: 1 of 1, 100.0 % (aim: at least 90 %)" in lines[-1]
    assert "accused: 1 of 2, 50.0 % (aim: at most 2 %)" in lines[-1]


def test_frozen_chains_are_named_in_a_run_of_the_benchmark():
    case = dataclasses.replace(doctor.CASES["chain step ~ 0, data"], steps=120)
    bench = doctor.Bench(case, "moons")
    found = doctor.first_found(bench.run(3))
    assert doctor.verdict(case, found) == "chains_frozen"
    first = [variable.numpy() for variable in bench.model.trainable_variables]
    # A run of another seed begins anew, with other weights.
    assert doctor.first_found(bench.run(4)) == found
    last = [variable.numpy() for variable in bench.model.trainable_variables]
    assert any((one != other).any() for one, other in zip(first, last, strict=True))
