"""Small models and data that many tests share."""

import re

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.entropy import ImportanceSampling
from keras_ebm.generators import GaussianGenerator
from keras_ebm.models import VERA
from keras_ebm.networks import mlp_decoder, mlp_energy

FEATURES, CLASSES, LATENTS = 4, 3, 2


def rows(count, features=FEATURES, classes=CLASSES, seed=0):
    """Normal rows, shifted by their class; about a third are unlabelled."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    x = rng.normal(size=(count, features)) + y[:, None]
    y[rng.random(count) < 1 / 3] = -1
    return x.astype(np.float32), y.astype(np.int32)


def make_network(num_outputs=CLASSES, seed=1):
    keras.utils.set_random_seed(seed)
    return mlp_energy((FEATURES,), num_outputs, hidden=(8,))


def make_generator(seed=2, **kwargs):
    keras.utils.set_random_seed(seed)
    return GaussianGenerator(mlp_decoder(LATENTS, (FEATURES,), hidden=(8,)), **kwargs)


def make_vera(num_outputs=CLASSES, **kwargs):
    """A VERA of a few dozen weights, the same at every call."""
    kwargs.setdefault("entropy", ImportanceSampling(num_samples=4))
    return VERA(make_network(num_outputs), make_generator(), **kwargs)


def compile_sgd(model, rate=0.1, generator_rate=0.1, posterior_rate=0.1, **kwargs):
    """SGD for all three: Adam would turn rounding errors into whole steps."""
    rates = (rate, generator_rate, posterior_rate)
    model.compile(*[keras.optimizers.SGD(rate) for rate in rates], **kwargs)
    return model


def batches(x, y, size):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size, drop_remainder=True)


def optimizers(model):
    return (
        model.optimizer,
        model.generator_optimizer,
        model.posterior_optimizer,
    )


def assert_same_weights(one, other, **tolerance):
    """Equal to the bit, or within `rtol` and `atol` where they are given."""
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 0, "atol": 0, **tolerance})


def change(network, step):
    """Largest change that calling `step` makes to a weight of `network`."""
    before = network.get_weights()
    step()
    pairs = zip(before, network.get_weights(), strict=True)
    return max(np.abs(old - new).max() for old, new in pairs)


def commands_of(text):
    """`(program, flags)` of each command `keras-ebm NAME --flag ...` of a text."""
    # What stands in quotes is for others, such as the options of a runner.
    lines = re.sub(r'"[^"\n]*"', "", text.replace("\\\n", " "))
    found = re.findall(r"keras-ebm ([a-z][\w-]*)([^\n`#]*)", lines)
    return [(name, set(re.findall(r"--(\w+)", rest))) for name, rest in found]
