"""Images taken apart: what stays of them, and what does not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.negatives import PatchShuffle, PhaseScramble
from keras_ebm.random import StepRandom

RANDOM = StepRandom(0, 0)
RNG = np.random.default_rng(0)
#: So wide that nothing is clipped.
WIDE = (-1000.0, 1000.0)


def images(height, width, channels=3, count=8):
    made = RNG.normal(1.0, 2.0, (count, height, width, channels))
    return tf.constant(made.astype(np.float32))


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (6, 5), (1, 4), (5, 1)])
def test_a_scramble_keeps_amplitudes_and_means_and_moves_the_rest(size):
    x = images(*size)
    made = PhaseScramble(WIDE)(x, RANDOM)
    amplitudes = [np.abs(np.fft.fft2(one, axes=(1, 2))) for one in (x, made)]
    np.testing.assert_allclose(amplitudes[1], amplitudes[0], atol=1e-4, rtol=1e-4)
    means = [np.mean(one, axis=(1, 2)) for one in (x, made)]
    np.testing.assert_allclose(means[1], means[0], atol=1e-5)
    # A line of few pixels has few phases, and may by chance keep one.
    moved = np.abs(made - x).max(axis=(1, 2, 3)) > 0.1
    assert moved.mean() > 0.6 and (min(size) == 1 or moved.all())


def test_channels_stay_in_step():
    x = images(8, 8, channels=1)
    x = tf.concat([x, -2.0 * x], axis=-1)
    made = PhaseScramble(WIDE)(x, RANDOM)
    np.testing.assert_allclose(made[..., 1], -2.0 * made[..., 0], atol=1e-4)


def test_phases_are_random_row_by_row_and_point_everywhere():
    x = tf.repeat(images(8, 8, 1, count=1), 2000, axis=0)
    made = np.fft.fft2(PhaseScramble(WIDE)(x, RANDOM)[..., 0])
    own = np.fft.fft2(x[..., 0])
    # Unit vectors of random directions: the mean of 2,000 has a standard error of
    # 0.016 in either part.
    turns = (made / own)[:, 1:4, 1:4].mean(axis=0)
    assert np.abs(turns).max() < 5 * 0.0224


def test_without_a_range_each_row_keeps_its_own():
    x = images(8, 8) * tf.reshape(tf.range(1.0, 9.0), [8, 1, 1, 1])
    made = PhaseScramble()(x, RANDOM)
    axes = (1, 2, 3)
    assert np.all(tf.reduce_min(made, axes) >= tf.reduce_min(x, axes))
    assert np.all(tf.reduce_max(made, axes) <= tf.reduce_max(x, axes))
    clipped = PhaseScramble((-0.5, 0.5))(x, RANDOM)
    wide = PhaseScramble(WIDE)(x, RANDOM)
    np.testing.assert_array_equal(clipped, np.clip(wide, -0.5, 0.5))


@pytest.mark.parametrize("value_range", [None, (-1.0, 3.0)])
def test_levels_are_uniform_in_the_range_and_keep_the_pattern(value_range):
    x = tf.repeat(images(6, 6, 1, count=2), 1000, axis=0)
    made = PhaseScramble(value_range, random_levels=True)(x, RANDOM).numpy()
    low, high = value_range or (float(np.min(x)), float(np.max(x)))
    assert low <= made.min() and made.max() <= high
    plain = PhaseScramble(WIDE)(x, RANDOM).numpy()
    flat = [one.reshape(len(x), -1) for one in (made, plain)]
    ties = [np.corrcoef(*pair)[0, 1] for pair in zip(*flat, strict=True)]
    np.testing.assert_allclose(np.abs(ties), 1.0, atol=1e-3)
    # Of two uniform levels the mean distance is a third; 2,000 have a standard error
    # of 0.5 %, and half of them are upside down.
    assert np.mean(np.ptp(flat[0], axis=1)) / (high - low) == pytest.approx(1 / 3, 0.08)
    assert 0.45 < np.mean(np.array(ties) > 0) < 0.55


def test_rows_of_one_value_become_ones_of_another():
    made = PhaseScramble((0.0, 1.0), random_levels=True)(tf.ones([4, 5, 5, 1]), RANDOM)
    assert np.all(np.isfinite(made)) and np.ptp(made) > 0.0


def test_patches_change_places_and_stay_as_they_are():
    # Each pixel has a number of its own.
    x = np.arange(50 * 6 * 8 * 2, dtype=np.float32).reshape(50, 6, 8, 2)
    made = PatchShuffle((2, 4))(tf.constant(x), RANDOM).numpy()

    def patches(one):
        return [p for rows in np.split(one, 2, 0) for p in np.split(rows, 4, 1)]

    for own, shuffled in zip(x, made, strict=True):
        before = sorted(patches(own), key=np.min)
        after = sorted(patches(shuffled), key=np.min)
        np.testing.assert_array_equal(after, before)


def test_no_row_is_its_own_negative_and_every_other_order_comes():
    x = np.tile(np.arange(4.0, dtype=np.float32).reshape(1, 2, 2, 1), [2000, 1, 1, 1])
    made = PatchShuffle(2)(tf.constant(x), RANDOM).numpy().reshape(2000, 4)
    orders, counts = np.unique(made, axis=0, return_counts=True)
    assert len(orders) == 23 and not np.any(np.all(orders == np.arange(4), axis=1))
    # One stands in for the image's own order: 1 / 12 and 1 / 24 of 2,000.
    assert 50 < counts.min() and 120 < counts.max() < 220


def test_codes_are_shuffled_as_they_are():
    x = tf.range(32, dtype=tf.int32)
    made = PatchShuffle()(tf.reshape(x, [2, 4, 4, 1]), RANDOM)
    assert made.dtype == tf.int32
    np.testing.assert_array_equal(np.sort(tf.reshape(made, [-1])), x)


@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
def test_images_that_the_grid_does_not_divide_are_refused(size):
    match = rf"`patches` must divide .* images of {size[0]} by {size[1]}"
    with pytest.raises(ValueError, match=match):
        PatchShuffle(2)(images(*size), RANDOM)


@pytest.mark.parametrize("source", [PhaseScramble(), PatchShuffle()])
def test_rows_that_are_no_images_are_refused(source):
    with pytest.raises(ValueError, match="takes images .*shape .8, 4.; use Column"):
        source(tf.zeros([8, 4]), RANDOM)
    with pytest.raises(ValueError, match="CutJoin"):
        source({"a": images(2, 2)}, RANDOM)


def test_a_scramble_computes_with_floats_alone():
    with pytest.raises(ValueError, match="PhaseScramble computes new inputs"):
        PhaseScramble()(tf.zeros([2, 4, 4, 1], tf.int32), RANDOM)


SOURCES = [
    PhaseScramble(),
    PhaseScramble((-1, 2)),
    PatchShuffle(),
    PatchShuffle((1, 4)),
]


@pytest.mark.parametrize("source", SOURCES)
def test_scrambles_are_a_function_of_the_step_in_a_graph_and_saved(source):
    x = images(8, 8)
    config = keras.saving.serialize_keras_object(source)
    copy = keras.saving.deserialize_keras_object(config)
    spec = [tf.TensorSpec([None, 8, 8, 3])]
    graph = tf.function(lambda x: copy(x, StepRandom(0, 0)), input_signature=spec)
    made = source(x, RANDOM)
    np.testing.assert_allclose(graph(x), made, atol=1e-5)
    assert not np.array_equal(made, source(x, StepRandom(0, 1)))
    assert not np.array_equal(made, source(x, StepRandom(1, 0)))
    # As sources do, it answers for half precision in half precision.
    assert source(tf.cast(x, tf.bfloat16), RANDOM).dtype == tf.bfloat16
