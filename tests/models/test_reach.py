"""Negatives that are bound to another range than the data."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import models
from keras_ebm.generators import GaussianGenerator
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer
from keras_ebm.networks.ranges import output_range

UNIT = np.random.default_rng(0).uniform(-1.0, 1.0, (64, 4)).astype(np.float32)
PIXELS = 127.5 * (UNIT + 1.0)
layers = keras.layers


def network(*first):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), *first, layers.Dense(2, name="logits")])


def decoder(*last):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((2,)), layers.Dense(4), *last])


def vera(*last, **arguments):
    generator = GaussianGenerator(decoder(*last))
    own = network(layers.Rescaling(1 / 127.5, -1))
    return models.VERA(own, generator, **arguments)


def chains(**arguments):
    moves = LangevinMoves(1, box=arguments.pop("box", None))
    return models.EnergyModel(network(), negatives=MarkovChains(moves, **arguments))


def fit(model, x):
    model.compile("sgd", run_eagerly=True)
    model.fit(x, batch_size=64, verbose=0)


TANH = layers.Activation("tanh")
OTHER_SCALE = {
    "tanh": lambda: vera(TANH),
    "sigmoid": lambda: vera(layers.Activation("sigmoid"), layers.Reshape((4,))),
    "box": lambda: chains(box=(-1.0, 1.0)),
    "buffer": lambda: chains(buffer=ReplayBuffer((4,), 64, storage="uint8")),
}


@pytest.mark.parametrize("build", OTHER_SCALE.values(), ids=OTHER_SCALE)
def test_negatives_that_cannot_reach_the_data_are_refused(build):
    with pytest.raises(ValueError, match=r"lie between .* 25\d.*Rescaling"):
        fit(build(), PIXELS)


def test_few_bright_pixels_are_enough():
    sparse = np.zeros((64, 40), np.float32)
    sparse[:, 7] = 255.0
    model = vera(TANH)
    model.compile("sgd")
    with pytest.raises(ValueError, match="from -1.3 to 1.3"):
        model.check_first_rows(sparse)


def test_the_remedies_are_let_pass():
    rescaled = models.VERA(
        network(),
        GaussianGenerator(decoder(TANH)),
        preprocessor=layers.Rescaling(1 / 127.5, -1),
    )
    for model in (rescaled, vera(TANH, layers.Rescaling(127.5, 127.5)), vera()):
        fit(model, PIXELS)
    fit(chains(box=(0.0, 255.0), start="uniform", start_range=(0.0, 255.0)), PIXELS)


@pytest.mark.parametrize(
    "build, x",
    [
        (lambda: vera(TANH), 2.0 * UNIT),
        (lambda: vera(layers.ReLU()), UNIT),
        (lambda: vera(TANH, layers.Rescaling(127.5, 127.5)), UNIT),
        (lambda: chains(start="uniform"), PIXELS),
        (lambda: chains(), PIXELS),
    ],
    ids=["wider", "negative", "narrow", "uniform start", "normal start"],
)
def test_other_ranges_are_told_once(build, x):
    model = build()
    with pytest.warns(UserWarning, match="negatives of another range"):
        fit(model, x)
    model.fit(x, batch_size=64, verbose=0)


def test_batches_are_not_read_ahead():
    model = vera(TANH)
    model.compile("sgd")
    model.check_first_rows(tf.data.Dataset.from_tensors(PIXELS))


def test_the_range_of_a_network_is_that_of_its_last_activation():
    nested = keras.Sequential(
        [keras.Input((2,)), decoder(TANH), layers.Reshape((2, 2))]
    )
    assert output_range(nested) == (-1.0, 1.0)
    assert output_range(decoder(layers.Dense(4, "sigmoid"))) == (0.0, 1.0)
    assert output_range(decoder(layers.ReLU()))[0] == 0.0
    assert output_range(decoder(TANH, layers.Rescaling(-2.0, 1.0))) == (-1.0, 3.0)
    assert output_range(decoder(TANH, layers.Dense(4))) == (-np.inf, np.inf)
