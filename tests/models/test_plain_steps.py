"""A training that begins with the cross-entropy alone."""

import keras
import numpy as np
import pytest
from support import (
    CLASSES,
    FEATURES,
    assert_same_weights,
    compile_sgd,
    make_network,
    make_vera,
    rows,
)

from keras_ebm.models import EnergyModel, LangevinModel
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer

X, Y = rows(16)
OPTIONS = {"energy_weight": 0.3, "data_stddev": 0.1}


def plain():
    model = EnergyModel(make_network(), **{**OPTIONS, "energy_weight": 0.0})
    model.compile(keras.optimizers.SGD(0.1))
    return model


def vera(**options):
    return compile_sgd(make_vera(objective="logistic", **OPTIONS, **options))


def chains(**options):
    moves = LangevinMoves(2, 0.1, 0.01)
    buffer = ReplayBuffer((FEATURES,), 32)
    terms = {"energy_l2": 0.1, "kl_weight": 0.1, "gradient_penalty": 0.1}
    model = LangevinModel(
        make_network(), MarkovChains(moves, buffer), **terms, **OPTIONS, **options
    )
    model.compile(keras.optimizers.SGD(0.1))
    return model


def fit(model, epochs, first=0):
    """Two steps an epoch, with the logs of each."""
    return model.fit(
        X,
        Y,
        batch_size=8,
        initial_epoch=first,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    ).history


@pytest.mark.parametrize("make, ramp_steps", [(vera, 4), (chains, 0)])
def test_plain_steps_are_those_of_a_plain_classifier(make, ramp_steps):
    model, classifier = make(plain_steps=2, ramp_steps=ramp_steps), plain()
    before = model.get_weights()
    logs = [fit(model, 1), fit(classifier, 1)]
    assert all(np.isfinite(values).all() for values in logs[0].values())
    for one, other in zip(
        model.network.get_weights(), classifier.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(logs[0]["loss"], logs[1]["loss"], rtol=1e-6)
    # What makes negatives has moved on all the same.
    others = len(model.network.weights)
    moved = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert any(moved[others:])
    logs = [fit(model, 2, 1), fit(classifier, 2, 1)]
    assert all(np.isfinite(values).all() for values in logs[0].values())
    assert logs[0]["loss"] != pytest.approx(logs[1]["loss"], rel=1e-4)
    assert np.any(model.network.get_weights()[0] != classifier.network.get_weights()[0])


def test_a_generator_learns_from_the_energy_in_plain_steps():
    model, counted = vera(plain_steps=9), vera()
    for one in (model, counted):
        one.train_step((X, Y))
    for a, b in zip(
        model.generator.get_weights(), counted.generator.get_weights(), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_model_goes_on_within_its_plain_steps(tmp_path):
    whole, half = vera(plain_steps=3), vera(plain_steps=3)
    for _ in range(4):
        whole.train_step((X, Y))
    for _ in range(2):
        half.train_step((X, Y))
    half.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert copy.plain_steps == 3
    for _ in range(2):
        copy.train_step((X, Y))
    assert_same_weights(copy, whole)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: EnergyModel(make_network(1), plain_steps=1), "for 1 output"),
        (
            lambda: EnergyModel(
                make_network(), plain_steps=1, classification_weight=0.0
            ),
            "classification_weight=0",
        ),
        (lambda: chains(conditional=True, plain_steps=1), "conditional"),
        (lambda: chains(conditional=True).set_plain_steps(1), "conditional"),
    ],
)
def test_plain_steps_need_something_to_learn(make, told):
    with pytest.raises(ValueError, match=f"`plain_steps`.*{told}"):
        make()


def test_plain_steps_are_counted_from_none():
    model = vera(plain_steps=2, ramp_steps=4)
    shares = []
    for step in range(8):
        model.optimizer.iterations.assign(step)
        shares.append(float(model.ramp()))
    assert shares == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert model.ramp(training=False) == 1.0
    assert CLASSES > 1
