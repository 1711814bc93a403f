"""What every estimator answers to, inside the model that uses it."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from entropy_support import draw_from, linear_generator
from support import (
    assert_same_weights,
    batches,
    change,
    compile_sgd,
    make_generator,
    make_network,
    rows,
)

from keras_ebm.entropy import (
    ESTIMATORS,
    HamiltonianChains,
    ImportanceSampling,
    LogVolume,
    MutualInformation,
)
from keras_ebm.generators import GaussianGenerator
from keras_ebm.models import VERA
from keras_ebm.random import StepRandom

X, Y = rows(16)
#: By the name of an estimator and, after a comma, a word that tells variants apart.
VARIANTS = {
    "importance": lambda: ImportanceSampling(4, widening=1.5),
    "log_volume, dense": lambda: LogVolume("dense"),
    "log_volume, iterative": lambda: LogVolume("iterative", 3, decay=0.9),
    "hmc": lambda: HamiltonianChains(1, 2, 3, 0.7, 0.1),
    "hmc, compat": lambda: HamiltonianChains(compat=True),
    "mutual_information, js": lambda: MutualInformation(hidden=(6,)),
    "mutual_information, dv": lambda: MutualInformation("donsker_varadhan", (6,)),
}
#: Each estimator of the table, those without variants as they are.
MAKE = VARIANTS | {
    name: estimator
    for name, estimator in ESTIMATORS.items()
    if name not in {variant.partition(",")[0] for variant in VARIANTS}
}


# One of each kind of state and noise: the others add nothing but time.
REPLICATED = [
    "importance",
    "log_volume, dense",
    "log_volume, iterative",
    "hmc",
    "mutual_information, js",
]


def generator_for(name):
    if name == "exact_linear":
        weights = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
        return linear_generator(weights)
    return make_generator()


def vera(name, **kwargs):
    return VERA(make_network(), generator_for(name), entropy=MAKE[name](), **kwargs)


def test_every_estimator_is_held_to_the_contract():
    named = {type(make()) for make in MAKE.values()}
    assert named == set(ESTIMATORS.values())


@pytest.mark.parametrize("name", MAKE)
def test_a_model_trains_saves_and_goes_on_as_if_it_had_not_been_saved(name, tmp_path):
    model = vera(name)
    model.compile(*[keras.optimizers.Adam(0.01) for _ in range(3)])
    data = batches(X, Y, 8)
    history = model.fit(data, verbose=0, shuffle=False).history
    assert set(model.entropy.log_names) <= set(history)
    assert ("posterior_loss" in history) == model.entropy.learns
    assert all(np.all(np.isfinite(values)) for values in history.values())
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.entropy.get_config() == model.entropy.get_config()
    assert_same_weights(copy, model)
    for which in (model, copy):
        which.fit(data, verbose=0, shuffle=False)
    assert_same_weights(copy, model)
    weights = model.entropy.weights
    assert len(weights) == len(copy.entropy.weights)
    # A state that is not saved would start anew.
    if weights:
        fresh = MAKE[name]()
        fresh.build_for(model.generator)
        pairs = zip(copy.entropy.get_weights(), fresh.get_weights(), strict=True)
        assert any(np.any(a != b) for a, b in pairs)


@pytest.mark.parametrize("name", REPLICATED)
def test_two_replicas_train(strategy, name):
    def one_step(scope):
        with scope:
            model = compile_sgd(vera(name), 0.01, 0.01, 0.01)
        model.fit(batches(X, Y, 16), verbose=0, shuffle=False)
        return model

    one, two = one_step(contextlib.nullcontext()), one_step(strategy.scope())
    assert two.distribute_strategy.num_replicas_in_sync == 2
    assert_same_weights(one.network, two.network, rtol=1e-4, atol=1e-5)
    # Chains draw their own noise on every replica; pairs form within one, as does
    # the preconditioner's mean at first.
    if name in ("importance", "log_volume, dense"):
        assert_same_weights(one, two, rtol=1e-4, atol=1e-5)
    assert change(two.generator, lambda: two.fit(X, batch_size=8, verbose=0)) > 0


@pytest.mark.parametrize("name", MAKE)
def test_the_estimate_has_the_parts_it_promises(name):
    generator, estimator = generator_for(name), MAKE[name]()
    estimator.build_for(generator)
    random = StepRandom(0, 0)
    draw = draw_from(generator, 6, random)
    prepared = estimator.prepare(generator, draw, random)
    with tf.GradientTape() as tape:
        draw = draw_from(generator, 6, random)
        estimate = estimator.estimate(generator, draw, prepared)
    assert estimate.surrogate.shape == ()
    assert (estimate.log_density is not None) == estimator.gives_log_density
    if estimator.gives_log_density:
        assert estimate.log_density.shape == (6,)
    sources = [v.value for v in generator.trainable_variables]
    gradients = tape.gradient(estimate.surrogate, sources, unconnected_gradients="zero")
    assert all(np.all(np.isfinite(g)) for g in gradients)
    assert any(np.any(g != 0) for g in gradients)
    assert tuple(estimator.logs(prepared)) == tuple(estimator.log_names)


@pytest.mark.parametrize("name", MAKE)
def test_the_config_round_trips(name):
    estimator = MAKE[name]()
    config = keras.saving.serialize_keras_object(estimator)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == estimator.get_config()


@pytest.mark.parametrize("name", ["importance", "hmc", "log_volume, dense"])
def test_a_density_of_one_sample_alone_is_asked_for(name):
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="own latent.*mutual_information"):
        MAKE[name]().build_for(GaussianGenerator(decoder))


def test_chains_need_a_derivative():
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Lambda(tf.round), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="differentiable decoder.*importance"):
        HamiltonianChains().build_for(GaussianGenerator(decoder))
