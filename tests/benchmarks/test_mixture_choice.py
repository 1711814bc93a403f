import numpy as np

from benchmarks import mixture_choice


def test_no_row_is_in_two_parts_and_a_score_is_measured():
    x, normal = mixture_choice.load("load_wine", [0, 1], "")
    assert x.shape == (178, 13) and normal.sum() == 130
    parts = mixture_choice.split(x, normal, 0, 20_000)
    train, held_out, test, truth = parts
    # 65 rows, 6 of them kept aside and a tenth of the others.
    assert (len(train), len(held_out), len(test)) == (54, 5, 65 + 20)
    assert truth.sum() == 20
    rows = {tuple(row) for row in np.concatenate(parts[:3])}
    assert len(rows) == 54 + 5 + 85
    found = mixture_choice.measure(*parts)
    # Both densities tell another cultivar from two in most pairs.
    assert found["one fit"][0] > 90.0 and found["selected + nearest"][0] > 90.0
    table = mixture_choice.table({"wine | 0 | all": found, "wine | 0 | small": found})
    cell = f"{found['selected'][0]:.1f}"
    line = next(row for row in table.split("\n") if row.startswith("| selected |"))
    assert line.count(cell) == 2
