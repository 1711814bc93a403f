import numpy as np
import pytest

from keras_ebm import data
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.foreign import fit_images, foreign
from keras_ebm.data.schema import Column, TableSchema

RNG = np.random.default_rng(0)
NUM_ROWS = 4000


def unlabelled(x, kind, schema=None):
    return Dataset(x, np.full(len(x), -1), kind, (), schema)


IMAGES = unlabelled(RNG.integers(0, 9, (NUM_ROWS, 4, 4, 3), dtype=np.uint8), "image")
SCHEMA = TableSchema(
    (
        Column("age", "numeric"),
        Column("colour", "categorical", ("blue", "green", "red")),
        Column("height", "numeric"),
    ),
    target="class",
    class_names=("a", "b"),
)
CELLS = np.stack(
    [
        np.tile([2.0, 6.0], NUM_ROWS // 2),
        np.full(NUM_ROWS, -1.0),
        np.tile([1.0, np.nan, 1.0, np.nan], NUM_ROWS // 4),
    ],
    axis=1,
).astype(np.float32)
TABLE = unlabelled(CELLS, "table", SCHEMA)


def test_uniform_noise_takes_every_grey_level_alike():
    x = foreign("noise:uniform", IMAGES, seed=1)
    assert x.shape == IMAGES.x.shape and x.dtype == np.uint8
    counts = np.bincount(x.ravel(), minlength=256)
    # 750 of each level, standard error 27.
    assert np.abs(counts - x.size / 256).max() < 5 * 27
    np.testing.assert_array_equal(x, foreign("noise:uniform", IMAGES, seed=1))
    assert not np.array_equal(x, foreign("noise:uniform", IMAGES, seed=2))


def test_gaussian_noise_has_its_moments_and_is_clipped():
    x = foreign("noise:gaussian", IMAGES).astype(float)
    assert (x.min(), x.max()) == (0, 255)
    assert abs(x.mean() - 127.5) < 0.8  # Standard error 0.14.
    # Clipping 2 standard deviations away leaves 0.96 of the spread.
    assert abs(x.std() - 0.96 * 64.0) < 0.8


def test_noise_has_at_most_ten_thousand_rows():
    many = unlabelled(np.zeros((10_001, 1, 1, 1), np.uint8), "image")
    assert len(foreign("noise:uniform", many)) == 10_000


def test_uniform_cells_stay_in_the_observed_range():
    age, colour, height = foreign("noise:uniform", TABLE).T
    assert age.min() >= 2.0 and age.max() <= 6.0
    assert abs(age.mean() - 4.0) < 0.1  # Standard error 0.018.
    np.testing.assert_allclose(np.bincount(colour.astype(int)) / NUM_ROWS, 1 / 3, 0.12)
    assert np.all(height == 1.0)


def test_gaussian_cells_spread_three_times_as_far():
    age, colour, _ = foreign("noise:gaussian", TABLE).T
    # The column has mean 4 and standard deviation 2; standard errors 0.1.
    assert abs(age.mean() - 4.0) < 0.5 and abs(age.std() - 6.0) < 0.4
    assert set(colour) == {0.0, 1.0, 2.0}


def test_vectors_get_noise_without_a_schema():
    vectors = unlabelled(CELLS[:, :2], "vector")
    x = foreign("noise:uniform", vectors)
    assert x.dtype == np.float32 and np.all(x[:, 1] == -1.0)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_images_are_rotated(degrees):
    x = foreign(f"rotate:{degrees}", IMAGES)
    for row in (0, NUM_ROWS - 1):
        np.testing.assert_array_equal(x[row], np.rot90(IMAGES.x[row], degrees // 90))
    assert len(x) == NUM_ROWS


def test_held_out_rows_are_passed_through():
    rows = foreign("holdout", IMAGES, holdout=IMAGES.x[:3])
    np.testing.assert_array_equal(rows, IMAGES.x[:3])


def test_images_are_cut_about_the_centre():
    x = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_images(x, (28, 28, 3)), x[:, 2:30, 2:30])


def test_images_are_padded_about_the_centre():
    x = np.ones((1, 3, 2, 1), np.uint8)
    fitted = fit_images(x, (6, 6, 1))
    assert fitted.sum() == 6
    np.testing.assert_array_equal(fitted[0, 1:4, 2:4, 0], x[0, ..., 0])


def test_colours_become_grey_by_their_luma_and_back():
    x = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
    x = x.reshape(1, 2, 2, 3)
    grey = fit_images(x, (2, 2, 1))
    np.testing.assert_array_equal(grey.ravel(), [76, 150, 29, 9])
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(fit_images(grey, (2, 2, 3)), np.repeat(grey, 3, -1))


def test_a_foreign_table_is_read_with_the_schema(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("colour,height,age,class\nred,2,1,zebra\npink,,3,zebra\n")
    x = foreign(f"csv:{path}", TABLE)
    expected = [[1, 2, 2], [3, -1, np.nan]]
    np.testing.assert_array_equal(x, np.array(expected, np.float32))


def test_a_foreign_file_may_hold_one_class(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, x=IMAGES.x[:5], y=np.zeros(5, int))
    np.testing.assert_array_equal(foreign(f"npz:{path}", IMAGES), IMAGES.x[:5])


@pytest.mark.parametrize(
    "spec, reference, message",
    [
        ("noise:pink", IMAGES, "noise:uniform, noise:gaussian, rotate:90"),
        ("rotate:45", IMAGES, "Received: spec='rotate:45'"),
        ("rotate:90", TABLE, "Only square images"),
        ("rotate:90", unlabelled(IMAGES.x[:, :3], "image"), "Only square images"),
        ("holdout", IMAGES, "--holdout_classes"),
        ("toy:moons", IMAGES, "vector rows of shape .2,. for a model of image"),
        ("digits", TABLE, "image rows"),
        ("toy:moons", unlabelled(CELLS, "vector"), "vector rows of shape .2,."),
    ],
)
def test_what_cannot_be_made_is_refused(spec, reference, message):
    with pytest.raises(ValueError, match=message):
        foreign(spec, reference)


def test_interpolations_are_means_of_two_different_images():
    reference = data.load("digits")
    x = data.foreign("interpolate", reference, seed=1)
    assert x.shape == reference.x.shape and x.dtype == np.uint8
    images = reference.x.reshape(len(x), -1).astype(int)
    for i in range(20):
        missing = 2 * x[i].reshape(-1).astype(int) - images[i]
        other = np.abs(images - missing).max(axis=1) <= 1
        assert other.sum() >= 1 and not (other.sum() == 1 and other[i])
    with pytest.raises(ValueError, match="Only images, two at least"):
        data.foreign("interpolate", data.load("toy:rings"))


def test_a_scramble_keeps_the_mean_and_the_spectrum_of_an_image():
    pixels = np.random.default_rng(0).integers(100, 156, (50, 8, 8, 3), np.uint8)
    images = unlabelled(pixels, "image")
    made = foreign("phase_scramble", images, seed=1)
    assert made.shape == images.x.shape and made.dtype == np.uint8
    spectra = [
        np.abs(np.fft.fft2(x.astype(float), axes=(1, 2))) for x in (images.x, made)
    ]
    # Rounding adds half a value to each pixel at most.
    side = np.prod(images.x.shape[1:3])
    np.testing.assert_allclose(*spectra, atol=0.6 * side)
    assert np.mean(made != images.x) > 0.9
    np.testing.assert_array_equal(made, foreign("phase_scramble", images, seed=1))
    with pytest.raises(ValueError, match="Only images have phases"):
        foreign("phase_scramble", TABLE)
