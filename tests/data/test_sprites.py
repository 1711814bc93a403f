"""Sprites: what they show is what their attributes say."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_ebm import data
from keras_ebm.data import sprites


@pytest.fixture(scope="module")
def drawn():
    return data.draw_sprites(600, seed=1)


def test_pixels_sum_to_the_area_of_the_size_whatever_the_shape(drawn):
    area = drawn.images.sum((1, 2, 3)) / 255.0 / 32**2
    # A side along the pixels may lose one of the 18 subpixels that it is across.
    low = (17 / 18) ** 2
    ratio = area / np.take(sprites.SIZES, drawn.size) ** 2
    assert low < ratio.min() and ratio.max() < 1.0 / low


def test_moments_tell_size_and_position_of_every_sprite(drawn):
    size, position = data.measure_sprites(drawn.images)
    np.testing.assert_array_equal(size, drawn.size)
    np.testing.assert_array_equal(position, drawn.position)
    inside = drawn.images / 127.5 - 1.0
    np.testing.assert_array_equal(data.measure_sprites(inside), (size, position))


def test_what_is_no_sprite_has_no_size():
    scattered = np.zeros((3, 32, 32, 1))
    scattered[1, ::6, ::6] = 1.0
    scattered[2] = 1.0
    assert (data.measure_sprites(scattered)[0] == -1).all()
    black = np.zeros((1, 32, 32, 1))
    assert data.measure_sprites(black)[0] == -1


def test_held_out_combinations_are_a_third_and_never_drawn_for_training():
    pairs = []
    for held_out in (True, False):
        part = data.draw_sprites(700, seed=2, side=8, held_out=held_out)
        pairs.append(set(zip(part.size, part.position, strict=True)))
    assert len(pairs[0]) == 9 and len(pairs[1]) == 18 and not pairs[0] & pairs[1]


def test_a_quarter_turn_of_a_figure_is_that_of_its_picture():
    at = {"scale": np.full(3, 0.3), "x": np.full(3, 0.5), "y": np.full(3, 0.5)}
    shape = np.arange(3)
    upright = sprites.render(shape, orientation=np.zeros(3), side=32, **at)
    turned = sprites.render(shape, orientation=np.full(3, np.pi / 2), side=32, **at)
    np.testing.assert_allclose(
        np.rot90(upright, axes=(1, 2)).astype(int), turned, atol=16
    )
    assert upright[2, :16].sum() != upright[2, 16:].sum()


def test_sprites_are_a_data_set_by_name():
    dataset = data.load("sprites:shape@16", num_rows=60, seed=3)
    assert dataset.class_names == sprites.SHAPES and dataset.x.shape == (60, 16, 16, 1)
    assert data.load("sprites:position", num_rows=90).num_classes == 9
    for name in ("sprites:colour", "sprites:shape@big"):
        with pytest.raises(ValueError, match="sprites:ATTRIBUTE|`attribute` must be"):
            data.load(name)
    with pytest.raises(ValueError, match="at least 8 pixels"):
        data.load("sprites:shape@4")


@pytest.fixture(scope="module")
def dsprites(tmp_path_factory):
    """`(folder, sprites)`: some of our sprites, stored as dSprites are."""
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    made = data.draw_sprites(40, side=64, seed=3)
    classes = {"shape": 3, "scale": 6, "orientation": 40}
    classes |= {"x_position": 32, "y_position": 32}
    number = tfds.features.Tensor(shape=[], dtype=np.float32)
    features = {"image": tfds.features.Image(shape=(64, 64, 1))}
    for name, count in classes.items():
        features[f"label_{name}"] = tfds.features.ClassLabel(num_classes=count)
        features[f"value_{name}"] = number
    none = np.zeros(40)
    values = {"shape": none, "scale": none, "orientation": made.orientation}
    values |= {"x_position": made.x, "y_position": made.y}
    labels = dict.fromkeys(classes, none.astype(int))
    labels |= {"shape": made.shape, "scale": 2 * made.size + np.arange(40) % 2}
    rows = {"image": (made.images > 127).astype(np.uint8)}
    for name in classes:
        rows[f"label_{name}"] = labels[name]
        rows[f"value_{name}"] = np.asarray(values[name], np.float32)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="dsprites",
        version="2.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": tf.data.Dataset.from_tensor_slices(rows)},
        data_dir=folder,
    )
    return folder, made


def test_dsprites_are_read_by_the_names_of_sprites(dsprites):
    folder, made = dsprites
    found = data.read_dsprites(folder)
    assert found.images.shape == (40, 64, 64, 1) and found.images.max() == 255
    # Storing shuffles the rows; no two are the same.
    ours, theirs = (
        np.lexsort(np.asarray([s.x, s.y, s.orientation], np.float32))
        for s in (made, found)
    )
    order = theirs[np.argsort(ours)]
    for name in ("shape", "size", "position"):
        np.testing.assert_array_equal(getattr(found, name)[order], getattr(made, name))
    for name in ("orientation", "x", "y"):
        expected = np.asarray(getattr(made, name), np.float32)
        np.testing.assert_array_equal(getattr(found, name)[order], expected)
    shown = (made.images > 127) * np.uint8(255)
    np.testing.assert_array_equal(found.images[order], shown)


def test_some_dsprites_are_a_random_choice_of_all(dsprites):
    folder, made = dsprites
    some = data.read_dsprites(folder, 7)
    assert len(some.x) == 7
    assert set(some.x) <= set(np.asarray(made.x, np.float32))
    np.testing.assert_array_equal(some.x, data.read_dsprites(folder, 7).x)
