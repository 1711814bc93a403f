import keras
import numpy as np
import pytest

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
