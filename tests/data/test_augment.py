import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.data.augment import crop_and_flip
from keras_ebm.data.batches import training_batches

KEY = tf.constant([1, 2], tf.int64)


def numbered(count, side=8):
    """Images whose pixels are all different."""
    pixels = np.arange(side * side, dtype=np.uint8).reshape(1, side, side, 1)
    return np.repeat(pixels, count, axis=0)


def test_crops_are_windows_of_the_reflected_image():
    images = numbered(500)
    moved = crop_and_flip(images, KEY, padding=2, flip=False).numpy()
    padded = np.pad(images[0, :, :, 0], 2, "reflect")
    windows = {
        padded[i : i + 8, j : j + 8].tobytes(): (i, j)
        for i in range(5)
        for j in range(5)
    }
    seen = [windows[image[..., 0].tobytes()] for image in moved]
    assert len(set(seen)) == 25
    counts = np.bincount([5 * i + j for i, j in seen], minlength=25)
    assert np.abs(counts - 20).max() < 5 * np.sqrt(20)


def test_half_of_the_images_are_mirrored():
    images = numbered(1000)
    moved = crop_and_flip(images, KEY, padding=0).numpy()
    mirrored = np.all(moved == images[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(mirrored | np.all(moved == images, axis=(1, 2, 3)))
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(1000)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_crop_is_mirrored_whole_or_left_as_it_is(dtype):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 6, 9, 3)).astype(dtype)
    cropped = crop_and_flip(images, KEY, padding=3, flip=False).numpy()
    flipped = crop_and_flip(images, KEY, padding=3).numpy()
    mirrored = np.all(flipped == cropped[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(mirrored | np.all(flipped == cropped, axis=(1, 2, 3)))
    assert 0 < mirrored.sum() < 200 and flipped.dtype == dtype


def test_the_border_must_be_narrower_than_the_image():
    crop_and_flip(np.zeros((1, 4, 5, 1)), KEY, padding=3)
    with pytest.raises(ValueError, match="padding=4 for images of 4x5 pixels"):
        crop_and_flip(np.zeros((1, 4, 5, 1)), KEY, padding=4)


def test_a_resumed_run_sees_the_same_augmented_batches():
    x = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    settings = {"batch_size": 4, "seed": 3, "augment": "crop_flip"}
    whole, steps = training_batches(x, np.arange(12), **settings)
    later, _ = training_batches(x, np.arange(12), first_epoch=1, **settings)
    expected = list(whole.take(2 * steps))[steps:]
    for one, other in zip(expected, later.take(steps), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    plain, _ = training_batches(x, np.arange(12), batch_size=4, seed=3)
    first = next(iter(plain))
    assert np.any(first[0] != next(iter(whole))[0])


def test_rows_that_are_no_images_cannot_be_augmented():
    with pytest.raises(ValueError, match="`augment` crop needs images"):
        training_batches(
            np.zeros((4, 2)), np.zeros(4), batch_size=2, seed=0, augment="crop"
        )
