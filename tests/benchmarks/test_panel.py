"""The foreign sets of the panel, and the tables of its two halves."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine

from benchmarks import foreign_sets, panel
from keras_ebm.trainers.program.json_files import write_json

IMAGES = np.kron(load_digits().images[:40], np.ones((1, 4, 4)))[..., None]
IMAGES = (IMAGES * 15.9).astype(np.uint8)
ROWS = load_wine().data.astype(np.float32)
HALVES = [
    (IMAGES, foreign_sets.OPEN, foreign_sets.SEALED),
    (ROWS, foreign_sets.OPEN_ROWS, foreign_sets.SEALED_ROWS),
]
MAKERS = [
    pytest.param(x, make, id=name)
    for x, *halves in HALVES
    for half in halves
    for name, make in half.items()
]


@pytest.mark.parametrize("x, make", MAKERS)
def test_a_foreign_set_is_like_the_known_rows_and_other_rows(x, make):
    made = make(x, np.random.default_rng(0))
    assert made.shape == x.shape and made.dtype == x.dtype
    np.testing.assert_array_equal(made, make(x, np.random.default_rng(0)))
    same = np.all(made == x, axis=tuple(range(1, x.ndim)))
    # A random order or a square cut out may leave a row as it was.
    assert same.mean() < 0.1


def test_no_set_is_both_open_and_sealed():
    for _, opened, sealed in HALVES:
        assert not set(opened) & set(sealed)
        assert not {m for m in opened.values()} & {m for m in sealed.values()}
    images = HALVES[0]
    assert len(images[1]) + len(images[2]) >= 16


def test_quadrants_and_pixels_are_all_still_there():
    rng = np.random.default_rng(0)
    for make in (foreign_sets.quadrants, foreign_sets.shuffled_pixels):
        made = make(IMAGES, rng)
        pixels = [
            np.sort(one.reshape(len(IMAGES), -1), axis=1) for one in (IMAGES, made)
        ]
        np.testing.assert_array_equal(*pixels)


def test_tables_show_each_half_by_method_and_score(tmp_path):
    scores = dict.fromkeys((*panel.SCORES, panel.CHOSEN), {"inverted": 0.5})
    for seed, auroc in enumerate([0.9, 0.8]):
        run = {"accuracy": 0.5, "ece": 0.1, "train_seconds": 2.0}
        run["auroc"] = {**scores, "energy": {"inverted": auroc}}
        path = panel.file_of(tmp_path, "ten classes", "default", seed, sealed=False)
        path.parent.mkdir(exist_ok=True)
        write_json(path, run)
    text = panel.tables(tmp_path, False, panel.PanelSettings())
    assert "| ten classes | default | 2 | 50.00 ± 0.00 | 10.00 ± 0.00 | 2 |" in text
    row = next(line for line in text.splitlines() if "inverted" in line)
    assert row.startswith("| ten classes, inverted | 85.0 ± 5.0 | 50.0 ± 0.0 |")
    assert "inverted" not in panel.tables(tmp_path, True, panel.PanelSettings())
