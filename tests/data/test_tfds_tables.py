import numpy as np
import pytest
import tensorflow_datasets as tfds
from downloads import manual_folder, write_crop, write_hepmass, write_human

from keras_ebm import data
from keras_ebm.data.builders import SOURCES, builder_class
from keras_ebm.data.schema import Column, TableSchema


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder of prepared sets, whose files have gone."""
    folder = tmp_path_factory.mktemp("tfds")
    manual = manual_folder(folder)
    for write in (write_hepmass, write_human, write_crop):
        write(manual)
    for name in SOURCES:
        data.load(f"tfds:{name}", data_dir=folder)
    manual.rename(folder / "elsewhere")
    return folder


@pytest.mark.parametrize(
    "name, rows, num_test",
    [
        ("hepmass", 52, 12),
        ("human", 40, 10),
        ("crop", 60, 6),
    ],
)
def test_a_prepared_set_is_read_as_it_was_made(data_dir, name, rows, num_test):
    dataset = data.load(f"tfds:{name}", data_dir=data_dir)
    table = SOURCES[name].read(data_dir / "elsewhere")
    assert (len(dataset.x), dataset.num_test) == (rows, num_test)
    parts = [table.splits[split] for split in ("train", "validation", "test")]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    np.testing.assert_array_equal(dataset.x, x)
    np.testing.assert_array_equal(dataset.y, y)
    assert dataset.x.dtype == np.float32 and dataset.kind == "table"
    assert tuple(column.name for column in dataset.schema.columns) == table.columns
    assert (
        dataset.class_names == dataset.schema.class_names == SOURCES[name].class_names
    )


def test_the_official_test_stays_the_test(data_dir):
    dataset = data.load("tfds:human", data_dir=data_dir)
    for seed in (0, 1):
        splits = data.make_splits(dataset, seed=seed)
        np.testing.assert_array_equal(splits.test, np.arange(30, 40))
        sizes = [len(splits.train), len(splits.validation), len(splits.calibration)]
        assert sizes == [24, 3, 3]


def test_tfds_knows_the_builder_and_its_splits(data_dir):
    builder_class("crop")
    rows, info = tfds.load(
        "crop", data_dir=data_dir, split="validation", with_info=True
    )
    dataset = data.load("tfds:crop", data_dir=data_dir)
    features = np.stack([row["features"] for row in tfds.as_numpy(rows)])
    np.testing.assert_array_equal(features, dataset.x[49:54])
    assert info.features["features"].shape == (174,)
    assert info.features["label"].names == list(dataset.class_names)
    assert "khosravi" in info.citation.lower() and "archive.ics" in info.homepage
    # What is dropped depends on the file, so no number is declared.
    human = builder_class("human")(data_dir=data_dir)
    assert human.info.features["features"].shape == (None,)
    assert str(human.version) == "1.0.0"
    assert "archive.ics.uci.edu/dataset/240" in human.MANUAL_DOWNLOAD_INSTRUCTIONS


@pytest.mark.parametrize("name", SOURCES)
def test_missing_files_are_asked_for_in_one_line(tmp_path, name):
    with pytest.raises(ValueError, match="no file") as error:
        data.load(f"tfds:{name}", data_dir=tmp_path)
    message = str(error.value)
    assert str(tmp_path / "downloads" / "manual") in message and "\n" not in message
    assert SOURCES[name].files[0][0] in message and "archive.ics.uci.edu" in message
    assert not any(tmp_path.iterdir())


def test_one_missing_file_of_several_is_named(tmp_path):
    manual = manual_folder(tmp_path)
    write_hepmass(manual)
    (manual / "1000_test.csv.gz").unlink()
    with pytest.raises(ValueError, match="no file 1000_test.csv. Download"):
        data.load("tfds:hepmass", data_dir=tmp_path)


def test_a_bad_file_leaves_nothing_prepared(tmp_path):
    path = manual_folder(tmp_path) / "WinnipegDataset.txt"
    write_crop(path.parent)
    good = path.read_text()
    path.write_text(good.replace("\n3,", "\n9,"))
    with pytest.raises(ValueError, match="WinnipegDataset.txt.*Received: 9 in row 2"):
        data.load("tfds:crop", data_dir=tmp_path)
    path.write_text(good)
    assert len(data.load("tfds:crop", data_dir=tmp_path).x) == 60


def test_a_schema_chooses_columns_by_name(data_dir):
    chosen = TableSchema((Column("f5", "numeric"), Column("f0", "numeric")))
    dataset = data.load("tfds:hepmass", data_dir=data_dir, schema=chosen)
    whole = data.load("tfds:hepmass", data_dir=data_dir)
    names = [column.name for column in whole.schema.columns]
    columns = [names.index("f5"), names.index("f0")]
    np.testing.assert_array_equal(dataset.x, whole.x[:, columns])
    assert dataset.schema.columns == chosen.columns


@pytest.mark.parametrize(
    "column",
    [
        Column("f3", "numeric"),
        Column("f5", "categorical", ("a",)),
    ],
    ids=["dropped", "categorical"],
)
def test_a_schema_of_other_columns_is_refused(data_dir, column):
    with pytest.raises(
        ValueError, match=f"one of its numeric .* {column.name}. It has"
    ):
        data.load("tfds:hepmass", data_dir=data_dir, schema=TableSchema((column,)))
