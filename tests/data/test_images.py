import keras
import numpy as np
import pytest

from keras_ebm import data
from keras_ebm.data import read_images


def test_a_folder_is_read_in_the_order_of_names_and_resized(tmp_path):
    for i, side in enumerate((8, 16)):
        image = np.full((side, side, 3), 100 * i + 50, np.uint8)
        keras.utils.save_img(tmp_path / f"{i}.png", image, scale=False)
    (tmp_path / "notes.txt").write_text("no image")
    images = read_images(tmp_path, (8, 8, 3))
    assert images.shape == (2, 8, 8, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[:, 0, 0, 0], [50, 150])


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there must be a folder with image files"):
        read_images(tmp_path, (8, 8, 3))
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken.png is no image"):
        read_images(tmp_path, (8, 8, 3))


def save(folder, name, height, width, value):
    folder.mkdir(exist_ok=True)
    image = np.full((height, width, 3), value, np.uint8)
    keras.utils.save_img(folder / name, image, scale=False)


def test_folders_within_a_folder_are_classes(tmp_path):
    for name, value in (("dog", 10), ("cat", 20)):
        for i in range(3):
            save(tmp_path / name, f"{i}.png", 6, 6, value + i)
    dataset = data.load(f"images:{tmp_path}")
    assert dataset.class_names == ("cat", "dog") and dataset.kind == "image"
    np.testing.assert_array_equal(dataset.y, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(dataset.x[:, 0, 0, 0], [20, 21, 22, 10, 11, 12])


def test_a_folder_of_images_alone_is_unlabelled(tmp_path):
    for i in range(4):
        save(tmp_path, f"{i}.png", 4 + i, 8, 60 * i)
    with pytest.raises(ValueError, match="4x8, 5x8.*images:DIR@SIZE"):
        data.load(f"images:{tmp_path}")
    dataset = data.load(f"images:{tmp_path}@4")
    assert dataset.x.shape == (4, 4, 4, 3) and dataset.class_names == ()
    np.testing.assert_array_equal(dataset.y, -1)
    np.testing.assert_array_equal(dataset.x[:, 0, 0, 0], [0, 60, 120, 180])
