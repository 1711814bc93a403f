import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_ebm import data

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
