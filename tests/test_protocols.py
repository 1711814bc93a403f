"""What parts ask of each other: objects of a user's own serve as well."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ebm
from keras_ebm.protocols import DensityGenerator, Generator, RandomDraws
from keras_ebm.random import StepRandom


class Shifted:
    """A generator of a user's own, that is no Keras model: `z @ W + noise`."""

    def __init__(self):
        self.decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        self.latent_dim = 2
        self.sample_shape = (2,)
        self.stddev = tf.constant(0.1)

    @property
    def trainable_variables(self):
        return self.decoder.trainable_variables

    def __call__(self, inputs, training=False):
        return self.decoder(inputs, training=training)

    def sample(self, latents, noise, training=False):
        return self(latents, training) + self.stddev * noise


class Counted:
    """Draws of a user's own that note what they were asked for."""

    def __init__(self, asked):
        self.iteration, self.asked = tf.constant(0, tf.int64), asked

    def fold(self, index):
        return self

    def seed_pair(self, name):
        return tf.constant([0, 0])

    def normal(self, shape, name):
        self.asked.append(name)
        return tf.zeros(shape)

    def uniform(self, shape, name, minval=0.0, maxval=1.0):
        self.asked.append(name)
        return tf.fill(shape, 0.5 * (minval + maxval))

    def integers(self, shape, name, maxval):
        self.asked.append(name)
        return tf.zeros(shape, tf.int32)


def network():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


@pytest.fixture(scope="module")
def gaussian():
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    return keras_ebm.GaussianGenerator(decoder)


def test_the_packages_own_parts_are_what_is_asked(gaussian):
    assert isinstance(gaussian, DensityGenerator) and isinstance(gaussian, Generator)
    assert isinstance(StepRandom(0, 0), RandomDraws)
    assert not isinstance(network(), Generator)


def test_vera_trains_a_generator_of_a_users_own():
    generator = Shifted()
    assert isinstance(generator, Generator)
    before = [np.array(value) for value in generator.decoder.get_weights()]
    model = keras_ebm.VERA(network(), generator, entropy_weight=0.0)
    model.compile()
    model.fit(np.ones([8, 2], np.float32), batch_size=8, verbose=0)
    after = generator.decoder.get_weights()
    assert any((a != b).any() for a, b in zip(after, before, strict=True))
    assert model.sample(3).shape == (3, 2)


def test_sources_and_samplers_draw_from_a_users_own_draws():
    asked = []
    random = Counted(asked)
    assert isinstance(random, RandomDraws)
    x = tf.ones([4, 2])
    made = keras_ebm.negatives.Jitter().draw(lambda x: x[:, 0], x, random)
    assert made.x.shape == (4, 2)
    moves = keras_ebm.negatives.LangevinMoves(2, step_size=0.1)
    moves.move(lambda x: tf.reduce_sum(x, axis=-1), x, random)
    assert asked[:2] == ["jitter_width", "jitter"] and "langevin" in asked


def test_sources_of_the_batch_take_the_arguments_of_those_that_walk():
    source = keras_ebm.negatives.CutAndBlend()
    x, random = tf.ones([4, 2]), StepRandom(0, 0)
    made = source.draw(lambda x: x[:, 0], x, random, start=x, last_steps=1)
    np.testing.assert_array_equal(made.x, np.ones([4, 2]))
