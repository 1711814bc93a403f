import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_ebm import data
from keras_ebm.data.specs import read
from keras_ebm.data.tfds_images import middle_square

TRAIN = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 1), dtype=np.uint8)
TEST = TRAIN[:3] // 2


def rows(images):
    labels = np.arange(len(images)) % 2
    return tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    label = tfds.features.ClassLabel(names=["cat", "dog"])
    image = tfds.features.Image(shape=(None, None, 1), encoding_format="png")

    def store(name, features, **splits):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets=splits,
            data_dir=folder,
        )

    both = {"image": image, "label": label}
    store("little", both, train=rows(TRAIN), test=rows(TEST))
    store("only_test", both, test=rows(TEST))
    store("ragged", both, train=rows(TRAIN[:1]).concatenate(rows(TRAIN[:1, :4])))
    store(
        "unnamed",
        {"image": image, "label": np.int64},
        train=rows(TRAIN),
    )
    pairs = {"image": image, "shape": tfds.features.ClassLabel(num_classes=2)}
    binary = tf.data.Dataset.from_tensor_slices(
        {"image": TRAIN % 2, "shape": np.arange(len(TRAIN)) % 2}
    )
    store("binary", pairs, train=binary)
    return folder


def test_splits_are_joined_in_stored_order(data_dir):
    dataset = data.load("tfds:little", data_dir=data_dir)
    train = dataset.x[: -dataset.num_test]
    assert dataset.num_test == 3 and dataset.kind == "image"
    # Storing shuffles the rows, so only the two sets can be compared.
    assert set(data.row_hashes(train)) == set(data.row_hashes(TRAIN))
    assert set(data.row_hashes(dataset.x[-3:])) == set(data.row_hashes(TEST))
    assert dataset.class_names == ("cat", "dog")
    numbers = [list(data.row_hashes(TRAIN)).index(h) for h in data.row_hashes(train)]
    np.testing.assert_array_equal(dataset.y[:7], np.array(numbers) % 2)
    again = data.load("tfds:little", data_dir=data_dir)
    np.testing.assert_array_equal(again.x, dataset.x)


def test_a_set_of_test_rows_alone_is_all_test(data_dir):
    dataset = data.load("tfds:only_test", data_dir=data_dir)
    assert dataset.num_test == len(dataset.x) == 3
    with pytest.raises(ValueError, match="only serve as a foreign set"):
        data.make_splits(dataset, seed=0)


def test_foreign_images_are_the_official_test_rows(data_dir):
    reference = data.load("digits")
    x = data.foreign("tfds:little", reference, data_dir=data_dir)
    assert x.shape == (3, 8, 8, 1)
    assert set(data.row_hashes(x[:, 1:7, 1:7])) == set(data.row_hashes(TEST))


@pytest.mark.parametrize(
    "name, message",
    [
        ("ragged", "one size"),
        ("unnamed", "class names"),
        ("no_such_set_anywhere", "Check the name and the network"),
    ],
)
def test_a_set_that_cannot_be_used_is_refused(data_dir, name, message):
    with pytest.raises(ValueError, match=message):
        data.load(f"tfds:{name}", data_dir=data_dir)


def test_a_size_makes_squares_of_images_of_any_size(data_dir):
    dataset = read("tfds:ragged@3", data_dir=data_dir)
    assert dataset.x.shape == (2, 3, 3, 1) and dataset.name == "tfds:ragged@3"


def test_the_middle_square_is_cut_out_of_the_longer_side():
    image = np.zeros((4, 8, 1), np.uint8)
    image[:, 2:6] = 200
    square = middle_square(tf.constant(image), 4).numpy()
    np.testing.assert_array_equal(square, np.full((4, 4, 1), 200))
    small = middle_square(tf.constant(image), 2).numpy()
    assert small.shape == (2, 2, 1) and small.min() > 150


def test_another_feature_may_hold_the_classes_and_binary_images_are_spread(data_dir):
    dataset = data.load("tfds:binary#shape", data_dir=data_dir)
    assert dataset.class_names == ("0", "1") and set(dataset.y) == {0, 1}
    assert set(np.unique(dataset.x)) == {0, 255}
    without = data.load("tfds:binary", data_dir=data_dir)
    assert without.class_names == () and set(without.y) == {-1}


@pytest.mark.parametrize("name", ["little@", "little@x", "@3", "little@0"])
def test_names_of_another_form_are_refused(data_dir, name):
    with pytest.raises(ValueError, match="is named tfds:NAME"):
        data.load(f"tfds:{name}", data_dir=data_dir)


def test_sets_that_do_not_fit_into_memory_are_refused(data_dir, monkeypatch):
    monkeypatch.setattr("keras_ebm.data.tfds_images.MAX_BYTES", 100)
    with pytest.raises(ValueError, match="must fit into memory"):
        data.load("tfds:little@6", data_dir=data_dir)
