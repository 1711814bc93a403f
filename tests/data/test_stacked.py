from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_ebm import data
from keras_ebm.data import resize_images, stack_digits

TFDS = Path(__file__).parents[3] / "shared" / "data" / "tfds"
# Ten images, each of the grey level 20 times its digit.
LABELS = np.arange(10)
IMAGES = np.broadcast_to(20 * LABELS[:, None, None, None], (10, 6, 6, 1))
IMAGES = IMAGES.astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_label_spells_the_digits_of_the_channels_in_order(channels):
    x, y = stack_digits(IMAGES, LABELS, 500, seed=1, image_size=6, channels=channels)
    assert x.shape == (500, 6, 6, channels) and x.dtype == np.uint8
    assert y.dtype == np.int64 and 0 <= y.min() and y.max() < 10**channels
    digits = x[:, 0, 0] // 20
    spelt = ["".join(map(str, row)) for row in digits]
    np.testing.assert_array_equal(y, [int(word) for word in spelt])


def test_channels_are_drawn_independently_and_evenly():
    _, y = stack_digits(IMAGES, LABELS, 20_000, seed=2, image_size=6)
    counts = np.bincount(y, minlength=1000)
    chi_square = np.sum((counts - 20.0) ** 2 / 20.0)
    # 999 degrees of freedom: standard deviation 45.
    assert abs(chi_square - 999.0) < 5.0 * 45.0


def test_a_seed_repeats_its_stacks():
    first, again, other = (
        stack_digits(IMAGES, LABELS, 50, seed, image_size=6)[1] for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("size", [3, 6, 9, 16])
def test_resizing_is_bilinear_and_keeps_flat_images(size):
    flat = resize_images(IMAGES, size)
    assert flat.shape == (10, size, size, 1) and flat.dtype == np.uint8
    assert np.all(flat == IMAGES[:, :1, :1])
    # A ramp across six pixels, read at the centres of the new ones.
    ramp = np.broadcast_to(40 * np.arange(6), (1, 6, 6)).astype(np.uint8)[..., None]
    at = np.clip((np.arange(size) + 0.5) * 6 / size - 0.5, 0.0, 5.0)
    np.testing.assert_array_equal(
        resize_images(ramp, size)[0, 0, :, 0], np.rint(40 * at)
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": IMAGES[..., 0]}, "must be grey.*10, 6, 6"),
        ({"images": IMAGES / 255.0}, "uint8.*float64"),
        ({"labels": LABELS[:3]}, r"labels of shape \(3,\)"),
        ({"labels": LABELS + 1}, "from 1 to 10; leave other classes out"),
        ({"num_rows": 0}, "num_rows=0"),
        ({"channels": 0}, "channels=0"),
        ({"image_size": 0}, "image_size=0"),
    ],
)
def test_what_cannot_be_stacked_is_refused(change, message):
    arguments = {"images": IMAGES, "labels": LABELS, "num_rows": 5, "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        stack_digits(**arguments)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )

    def rows(images):
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": LABELS})

    def store(name, **splits):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=features,
            split_datasets=splits,
            data_dir=folder,
        )

    # Pixels of the test split are odd, those of the other even.
    store("tiny", train=rows(IMAGES), test=rows(IMAGES + 1))
    store("only_train", train=rows(IMAGES))
    store("only_test", test=rows(IMAGES + 1))
    store("wide", train=rows(IMAGES[:, :4]))
    return folder


def test_a_spec_stacks_each_split_by_itself(data_dir):
    stacked = data.load("stacked:tiny", data_dir=data_dir, num_rows=60, seed=5)
    assert stacked.x.shape == (60, 6, 6, 3) and stacked.kind == "image"
    assert stacked.num_test == 10 and stacked.name == "stacked:tiny"
    assert stacked.class_names == () and np.all(stacked.y == -1)
    assert np.all(stacked.x[:-10] % 2 == 0) and np.all(stacked.x[-10:] % 2 == 1)
    again = data.load("stacked:tiny", data_dir=data_dir, num_rows=60, seed=5)
    np.testing.assert_array_equal(again.x, stacked.x)


@pytest.mark.parametrize("name, num_test", [("only_train", 0), ("only_test", 12)])
def test_a_set_of_one_split_gives_rows_of_that_split_alone(data_dir, name, num_test):
    stacked = data.load(f"stacked:{name}", data_dir=data_dir, num_rows=12)
    assert len(stacked.x) == 12 and stacked.num_test == num_test


def test_a_size_may_follow_the_name(data_dir):
    stacked = data.load("stacked:wide@8", data_dir=data_dir, num_rows=5)
    assert stacked.input_shape == (8, 8, 3)


@pytest.mark.parametrize(
    "name, message",
    [
        ("tiny@", "named stacked:NAME or stacked:NAME@SIZE.*stacked:tiny@"),
        ("tiny@x", "such as stacked:mnist@64"),
        ("@8", "such as stacked:mnist@64"),
        ("tiny@0", "image_size=0"),
        ("wide", "4 x 6; write stacked:wide@4"),
    ],
)
def test_a_name_of_another_form_is_refused(data_dir, name, message):
    with pytest.raises(ValueError, match=message):
        data.load(f"stacked:{name}", data_dir=data_dir, num_rows=5)


@pytest.mark.skipif(not (TFDS / "mnist").is_dir(), reason="needs the MNIST images")
def test_mnist_is_stacked():
    stacked = data.load("stacked:mnist", data_dir=TFDS, num_rows=600)
    assert stacked.x.shape == (600, 28, 28, 3) and stacked.num_test == 100
    assert 20.0 < stacked.x.mean() < 50.0
