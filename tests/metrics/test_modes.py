import keras
import numpy as np
import pytest

from keras_ebm.metrics import (
    count_modes,
    mode_count,
    perfect_sampler,
    stack_labels,
    to_pixels,
)


@pytest.fixture(scope="module")
def reader():
    """A classifier of flat images: the digit is a 20th of the grey level."""
    centres = 20.0 * np.arange(10.0)
    # -(g - c)^2 without its g^2: linear in the grey level.
    inputs = keras.Input((4, 4, 1))
    grey = keras.layers.GlobalAveragePooling2D()(inputs)
    logits = keras.layers.Dense(10, name="logits")
    model = keras.Model(inputs, logits(grey))
    logits.set_weights([2.0 * centres[None], -np.square(centres)])
    return model


def stacks(numbers, channels=3):
    """Flat images of 4 x 4 whose channels are the digits of each number."""
    digits = np.array([[int(c) for c in f"{n:0{channels}d}"] for n in numbers])
    pixels = 20 * digits[:, None, None].astype(np.uint8)
    return np.tile(pixels, (1, 4, 4, 1))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_an_image_is_read_as_the_number_it_spells(reader, channels):
    numbers = np.arange(0, 10**channels, 7)
    found = stack_labels(reader, stacks(numbers, channels), batch_size=11)
    np.testing.assert_array_equal(found, numbers)
    assert found.dtype == np.int64


def test_the_labels_agree_with_those_of_the_data(reader):
    from keras_ebm.data import stack_digits

    grey = stacks(range(10), channels=1)
    x, y = stack_digits(grey, np.arange(10), 60, seed=0, image_size=4)
    np.testing.assert_array_equal(stack_labels(reader, x), y)


def test_samples_in_the_generators_range_are_read_as_the_data_are(reader):
    x = stacks([123, 987, 40])
    np.testing.assert_array_equal(to_pixels(x / 127.5 - 1.0), x)
    np.testing.assert_array_equal(to_pixels([-1.7, -1.0, 0.0, 2.0]), [0, 0, 128, 255])
    with pytest.raises(ValueError, match="uint8.*float.*use `to_pixels`"):
        stack_labels(reader, x / 127.5 - 1.0)
    with pytest.raises(ValueError, match="1 of 2 values.*diverged"):
        to_pixels([np.nan, 0.0])


def test_modes_and_divergence_of_a_known_histogram(reader):
    # Half of the samples on one mode, the rest on two others.
    found = count_modes(reader, stacks([5, 5, 17, 99], channels=2))
    assert found.num_modes == 3
    entropy = 0.5 * np.log(2.0) + 0.5 * np.log(4.0)
    assert found.kl == pytest.approx(np.log(100.0) - entropy)
    reference = np.bincount([5, 5, 17, 99], minlength=100)
    same = count_modes(reader, stacks([5, 5, 17, 99], channels=2), reference=reference)
    assert same == (3, 0.0)


def test_a_missing_mode_is_finite_and_one_that_data_lack_is_not():
    assert mode_count([4, 0]).kl == pytest.approx(np.log(2.0))
    assert mode_count([3, 1], reference=[1.0, 0.0]).kl == np.inf
    assert mode_count([4, 4, 4]) == (3, 0.0)


def test_an_even_sampler_of_few_samples_has_a_known_expectation():
    # Two draws of two modes: the same with probability 1/2.
    found = perfect_sampler(2, num_modes=2)
    assert found.num_modes == pytest.approx(1.5)
    assert found.kl == pytest.approx(0.5 * np.log(2.0))
    assert perfect_sampler(7, num_modes=1) == (1.0, 0.0)


def test_the_expectations_are_those_of_simulated_draws():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(30))
    counts = rng.multinomial(50, shares, size=2000)
    runs = np.array([mode_count(row, shares) for row in counts])
    expected = perfect_sampler(50, 30, shares)
    standard_error = runs.std(axis=0) / np.sqrt(len(runs))
    assert np.all(np.abs(runs.mean(axis=0) - expected) < 4.0 * standard_error)


def test_ten_thousand_samples_of_a_thousand_modes_cannot_do_better():
    expected = perfect_sampler(10_000)
    assert expected.num_modes == pytest.approx(1000 * (1 - (1 - 1e-3) ** 10_000))
    # To first order (modes - 1) / (2 samples).
    assert expected.kl == pytest.approx(999 / 20_000, rel=0.05)


@pytest.mark.parametrize(
    "images, message",
    [
        (stacks([1])[:, :3], r"of shape \(n, 4, 4, channels\).*\(1, 3, 4, 3\)"),
        (stacks([1])[0], r"\(4, 4, 3\)"),
        (stacks([1])[:0], r"\(0, 4, 4, 3\)"),
        (stacks([1]).astype(np.float32), "uint8.*float32"),
    ],
)
def test_images_that_do_not_fit_are_refused(reader, images, message):
    with pytest.raises(ValueError, match=message):
        count_modes(reader, images)


@pytest.mark.parametrize(
    "reference", [np.ones(3), [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]]
)
def test_a_bad_reference_is_refused(reference):
    with pytest.raises(ValueError, match="each of the 2 modes"):
        mode_count([1, 1], reference)


def test_a_classifier_of_other_classes_is_refused():
    inputs = keras.Input((4, 4, 1))
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    with pytest.raises(ValueError, match="10 outputs.*3"):
        stack_labels(keras.Model(inputs, outputs), stacks([1]))
