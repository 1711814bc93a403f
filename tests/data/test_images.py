import warnings

import keras
import numpy as np
import pytest

from keras_ebm import data
from keras_ebm.data import read_images
from keras_ebm.trainers.settings.data import DataSettings, load


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
    folder.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), value, np.uint8)
    keras.utils.save_img(folder / name, image, scale=False)


def save_classes(folder):
    for name, value in (("dog", 10), ("cat", 20)):
        for i in range(3):
            save(folder / name, f"{i}.png", 6, 6, value + i)


def test_folders_within_a_folder_are_classes(tmp_path):
    save_classes(tmp_path)
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


@pytest.mark.parametrize(
    "name, match",
    [
        (".ipynb_checkpoints/0-checkpoint.png", r"1 hidden \(such as .ipynb_check"),
        ("cat/._0.png", r"1 hidden \(such as cat/._0.png\)"),
        ("dog/.DS_Store", "1 hidden"),
        ("Thumbs.db", "1 hidden"),
        ("__MACOSX/cat/._0.png", "1 hidden"),
        ("bird/notes.txt", r"1 without images \(such as bird\)"),
        ("bird/eggs/0.png", "1 without images"),
        ("loose.png", r"1 beside the folders of classes \(such as loose.png\)"),
    ],
)
def test_what_is_no_image_of_a_class_is_skipped_with_one_notice(tmp_path, name, match):
    save_classes(tmp_path)
    expected = data.load(f"images:{tmp_path}")
    files = data.image_files(str(tmp_path))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"no image")
    with pytest.warns(UserWarning, match=match) as caught:
        dataset = data.load(f"images:{tmp_path}")
    assert len(caught) == 1
    assert dataset.class_names == ("cat", "dog")
    np.testing.assert_array_equal(dataset.x, expected.x)
    assert data.image_files(str(tmp_path)) == files


def test_hidden_files_beside_unlabelled_images_are_skipped_and_counted(tmp_path):
    save(tmp_path, "0.png", 4, 4, 10)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "._0.png").write_bytes(b"")
    (tmp_path / "to come").mkdir()
    with pytest.warns(UserWarning, match="2 hidden .*, 1 without images"):
        dataset = data.load(f"images:{tmp_path}")
    assert len(dataset.x) == 1 and dataset.class_names == ()
    with pytest.warns(UserWarning, match="2 hidden"):
        assert len(read_images(tmp_path, (4, 4, 1))) == 1


def test_a_folder_of_hidden_files_alone_says_so(tmp_path):
    (tmp_path / "._0.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none but 1 hidden"):
        data.load(f"images:{tmp_path}")


BROKEN = {"empty": b"", "text": b"no image", "cut": None}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("size", ["", "@4"])
def test_a_broken_image_is_named_and_can_be_skipped(tmp_path, content, size):
    save_classes(tmp_path)
    expected = data.load(f"images:{tmp_path}{size}")
    broken = tmp_path / "cat" / "1b.png"
    whole = (tmp_path / "cat" / "1.png").read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r": cat/1b.png is no image.*--skip_broken_im"):
        data.load(f"images:{tmp_path}{size}")
    with pytest.warns(UserWarning, match=r"skipped 1 broken \(such as cat/1b.png\)"):
        dataset = data.load(f"images:{tmp_path}{size}", skip_broken_images=True)
    np.testing.assert_array_equal(dataset.x, expected.x)
    np.testing.assert_array_equal(dataset.y, expected.y)
    files = data.image_files(f"{tmp_path}{size}", skip_broken=True)
    assert len(files) == 6 and "cat/1b.png" not in files


def test_a_class_of_broken_images_alone_is_none(tmp_path):
    save_classes(tmp_path)
    for name in ("cat", "dog"):
        for i in range(3, 6):
            save(tmp_path / name, f"{i}.png", 6, 6, 30 + i)
    save(tmp_path / "ant", "0.png", 6, 6, 0)
    (tmp_path / "ant" / "0.png").write_bytes(b"")
    settings = DataSettings(dataset=f"images:{tmp_path}", skip_broken_images=True)
    with pytest.warns(UserWarning, match="1 broken"):
        dataset = load(settings).dataset
    assert dataset.class_names == ("cat", "dog")
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none but 13 broken"):
        data.load(f"images:{tmp_path}", skip_broken_images=True)


def test_classes_of_different_sizes_are_refused_by_name(tmp_path):
    save(tmp_path / "cat", "0.png", 4, 4, 0)
    save(tmp_path / "dog", "0.png", 8, 8, 0)
    with pytest.raises(ValueError, match="4x4, 8x8; name one, as images:DIR@SIZE"):
        data.load(f"images:{tmp_path}")


def test_a_clean_folder_gives_no_notice(tmp_path):
    save_classes(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load(f"images:{tmp_path}")
