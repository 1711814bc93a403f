"""Batch normalisation that is trained, beside rows that are no data."""

import contextlib

import keras
import numpy as np
import pytest
import support

from keras_ebm import models
from keras_ebm.models.statistics import moving_statistics
from keras_ebm.negatives import Jitter, LangevinMoves, MarkovChains
from keras_ebm.objectives import (
    ConditionalNoiseContrastive,
    DenoisingScoreMatching,
    SemiSupervised,
    SlicedScoreMatching,
)

X, Y = support.rows(16)
FAR = Jitter(stddev=(5.0, 50.0))


def normalised(num_outputs=3, dropout=0.0, **settings):
    """A network with batch normalisation, one in a nested model; always the same."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((8,)), layers.BatchNormalization(momentum=0.5, **settings)]
    )
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.BatchNormalization(**settings),
            layers.Dense(8, "tanh"),
            inner,
            layers.Dropout(dropout),
            layers.Dense(num_outputs),
        ]
    )


def statistics(network):
    return [np.array(v) for v in network.variables if "moving_" in v.path]


def after_a_step(build, scope=None, network=normalised, **options):
    """Moving statistics before and after one step on the data."""
    with contextlib.nullcontext() if scope is None else scope:
        model = build(network())
        before = statistics(model.network)
        options.setdefault("run_eagerly", not options.get("jit_compile"))
        model.compile(keras.optimizers.SGD(0.01), **options)
    labels = Y if model.num_classes > 1 else None
    model.fit(X, labels, batch_size=16, shuffle=False, verbose=0)
    return before, statistics(model.network)


def plain(network):
    return models.EnergyModel(network)


def chains():
    moves = LangevinMoves(2, 1.0, noise_stddev=5.0)
    return MarkovChains(moves, start_stddev=20.0)


SOURCES = {
    "batch": lambda network: models.EnergyModel(network, negatives=FAR),
    "penalty": lambda network: models.EnergyModel(
        network,
        negatives=FAR,
        gradient_penalty=0.1,
        semi_supervised=SemiSupervised(virtual_adversarial_weight=1.0),
    ),
    "chains": lambda network: models.EnergyModel(network, negatives=chains()),
    "langevin": lambda network: models.LangevinModel(
        network, chains(), energy_l2=0.1, kl_weight=1.0
    ),
    "conditional": lambda network: models.LangevinModel(
        network, chains(), conditional=True
    ),
    "generator": lambda network: models.VERA(
        network, support.make_generator(), negatives=FAR, objective="logistic"
    ),
}


@pytest.fixture(scope="module")
def without_negatives():
    return after_a_step(plain)


@pytest.mark.parametrize("build", SOURCES.values(), ids=SOURCES)
def test_real_rows_alone_move_the_statistics(without_negatives, build):
    before, expected = without_negatives
    assert np.abs(expected[0] - before[0]).max() > 1e-3
    _, found = after_a_step(build)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_they_do_so_in_a_step_compiled_by_xla(without_negatives):
    _, found = after_a_step(SOURCES["batch"], jit_compile=True)
    for one, other in zip(found, without_negatives[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_two_replicas_whose_batches_are_synchronised_do_as_one(
    without_negatives, strategy
):
    _, found = after_a_step(
        SOURCES["batch"],
        strategy.scope(),
        network=lambda: normalised(synchronized=True),
        run_eagerly=False,
    )
    for one, other in zip(found, without_negatives[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_renormalised_statistics_are_kept_too():
    one, other = (
        after_a_step(build, network=lambda: normalised(renorm=True))[1]
        for build in (plain, SOURCES["batch"])
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_negatives_are_normalised_by_their_own_batch():
    network = normalised()
    model = models.EnergyModel(network)
    found = model.energy_loss(X, Y, [100.0 * X + 7.0], training=True)[1]
    # As the data's are, where a shift and a scale of a batch are normalised away.
    np.testing.assert_allclose(
        found["negative_energy"], found["data_energy"], rtol=1e-2, atol=1e-2
    )


def test_a_network_without_trained_statistics_has_none_to_keep():
    network = normalised()
    assert len(moving_statistics(network)) == 4
    network.layers[0].trainable = False
    assert len(moving_statistics(network)) == 2
    network.trainable = False
    assert moving_statistics(network) == []
    assert moving_statistics(support.make_network()) == []


@pytest.mark.parametrize(
    "criterion", [ConditionalNoiseContrastive(20.0), SlicedScoreMatching()]
)
def test_a_density_takes_its_statistics_from_the_data(without_negatives, criterion):
    def build(network):
        return models.DensityModel(network, criterion)

    _, found = after_a_step(build, network=lambda: normalised(1))
    for one, other in zip(found, without_negatives[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_noisy_rows_are_the_data_of_a_criterion_that_sees_no_others():
    def build(network):
        return models.DensityModel(network, DenoisingScoreMatching(0.1))

    before, found = after_a_step(build, network=lambda: normalised(1))
    expected = 0.01 * X.mean(axis=0)
    np.testing.assert_allclose(found[0] - before[0], expected, atol=2e-3)
