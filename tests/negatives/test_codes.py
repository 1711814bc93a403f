"""Codes and tokens, with which no source of negatives computes."""

import keras
import numpy as np
import pytest
import support
import tensorflow as tf

from keras_ebm import models
from keras_ebm.mixtures import Mixture
from keras_ebm.negatives import (
    Blend,
    ColumnShuffle,
    CutAndBlend,
    CutJoin,
    Jitter,
    LangevinMoves,
    MarkovChains,
    MixtureSamples,
)
from keras_ebm.objectives import SemiSupervised
from keras_ebm.random import StepRandom

TOKENS = np.random.default_rng(0).integers(0, 9, (16, 4)).astype(np.int32)


def reader(dtype="int32", nested=False):
    """A network of three classes that looks its inputs up."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    embed = [layers.Embedding(9, 3), layers.Flatten()]
    if nested:
        inner = [keras.Input((4,), dtype=dtype), layers.Reshape((4,)), *embed]
        embed = [keras.Sequential(inner)]
    return keras.Sequential(
        [keras.Input((4,), dtype=dtype), *embed, layers.Dense(3, name="logits")]
    )


MIXTURE = Mixture.of_components(
    np.zeros(4), np.eye(4)[None], np.zeros((1, 4)), np.ones(1)
)
COMPUTING = {
    "blend": {"negatives": Blend()},
    "cut and blend": {"negatives": CutAndBlend()},
    "jitter": {"negatives": Jitter()},
    "mixture": {"negatives": MixtureSamples(MIXTURE)},
    "chains": {"negatives": MarkovChains(LangevinMoves(1))},
    "noise": {"data_stddev": 0.1},
    "penalty": {"gradient_penalty": 0.1},
    "adversarial": {"semi_supervised": SemiSupervised(virtual_adversarial_weight=1.0)},
}


@pytest.mark.parametrize("arguments", COMPUTING.values(), ids=COMPUTING)
def test_what_computes_is_refused_for_a_network_of_tokens(arguments):
    for network in (reader(), reader("float32"), reader("float32", nested=True)):
        with pytest.raises(ValueError, match="computes new inputs.*CutJoin"):
            models.EnergyModel(network, **arguments)


def test_a_generator_is_refused_for_a_network_of_tokens():
    with pytest.raises(ValueError, match="`generator` computes new inputs"):
        models.VERA(reader(), support.make_generator())


@pytest.mark.parametrize("negatives", [CutJoin(), ColumnShuffle(), None])
def test_what_takes_tokens_as_they_are_trains(negatives):
    model = models.EnergyModel(reader(), negatives=negatives, objective="logistic")
    model.compile("sgd", run_eagerly=True)
    y = np.arange(16, dtype=np.int32) % 3
    history = model.fit(TOKENS, y, batch_size=16, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    "source", [Blend(), CutAndBlend(), Jitter(), MixtureSamples(MIXTURE)]
)
def test_integers_are_refused_whatever_the_network(source):
    for x, found in ((tf.constant(TOKENS), "inputs of int32"), ({"a": 1.0}, "a dict")):
        with pytest.raises(ValueError, match=f"Received: {found}"):
            source(x, StepRandom(0, 0))


def test_an_embedding_of_places_is_no_sign_of_tokens():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3)(inputs)
    places = keras.layers.Embedding(9, 3)(keras.ops.argmax(hidden, axis=-1))
    network = keras.Model(inputs, keras.layers.Dense(3)(places + hidden))
    models.EnergyModel(network, negatives=Jitter())
