import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import assert_same_weights, batches, compile_sgd, make_vera, rows

from keras_ebm.callbacks import StopOnDivergence
from keras_ebm.data.batches import training_batches
from keras_ebm.models import EnergyModel
from keras_ebm.negatives import CutAndBlend
from keras_ebm.objectives import SemiSupervised

X, Y = rows(16)
# Replicas get rows 0 to 7 and 8 to 15: one label against seven.
Y = np.array([-1, -1, 2, -1, -1, -1, -1, -1, 0, 1, 2, 0, -1, 1, 2, 0], np.int32)


def one_step(scope, **arguments):
    with scope:
        model = compile_sgd(make_vera(**arguments))
    history = model.fit(batches(X, Y, len(X)), shuffle=False, verbose=0).history
    return model, history


@pytest.mark.parametrize(
    "arguments",
    [
        {"gradient_penalty": 0.5, "conditional_entropy_weight": 0.3},
        {
            "objective": "logistic",
            "negatives": CutAndBlend(),
            "data_stddev": 0.1,
            "energy_weight": 0.2,
        },
    ],
    ids=["contrastive", "logistic"],
)
def test_a_step_of_two_replicas_is_the_step_of_one(strategy, arguments):
    one, history = one_step(contextlib.nullcontext(), **arguments)
    two, histories = one_step(strategy.scope(), **arguments)
    assert two.distribute_strategy.num_replicas_in_sync == 2
    assert_same_weights(one, two, rtol=1e-5, atol=1e-6)
    assert history.keys() == histories.keys()
    for name, value in history.items():
        np.testing.assert_allclose(histories[name], value, rtol=1e-5, atol=1e-6)


def test_a_step_on_two_halves_is_the_same_on_two_replicas(strategy):
    terms = SemiSupervised(
        pseudo_label_weight=0.7,
        pseudo_label_threshold=0.4,
        virtual_adversarial_weight=0.5,
        radius=0.3,
    )
    labels = np.where(Y < 0, 1, Y)[::-1].copy()
    data = tf.data.Dataset.from_tensors(((X[::-1].copy(), X), (labels, Y)))

    def step(scope):
        with scope:
            model = make_vera(semi_supervised=terms, ramp_steps=2, gradient_penalty=0.5)
            compile_sgd(model)
        history = model.fit(data, shuffle=False, verbose=0).history
        return model, history

    (one, history), (two, histories) = (
        step(scope) for scope in (contextlib.nullcontext(), strategy.scope())
    )
    assert_same_weights(one, two, rtol=1e-5, atol=1e-6)
    assert {"pseudo_labelled", "virtual_adversarial"} <= history.keys()
    for name, value in history.items():
        np.testing.assert_allclose(histories[name], value, rtol=1e-5, atol=1e-6)


def test_the_step_is_not_a_trivial_one():
    start = compile_sgd(make_vera())
    model, _ = one_step(contextlib.nullcontext())
    for name in ("network", "generator", "entropy"):
        before = getattr(start, name).get_weights()
        after = getattr(model, name).get_weights()
        assert all(
            np.abs(a - b).max() > 1e-4 for a, b in zip(before, after, strict=True)
        )


def test_what_two_replicas_train_and_save_one_device_loads(strategy, tmp_path):
    data, steps = training_batches(X, Y, batch_size=8, seed=0)
    with strategy.scope():
        model = make_vera(gradient_penalty=0.1)
        adams = [keras.optimizers.Adam(1e-2) for _ in range(3)]
        model.compile(*adams)
    stop = StopOnDivergence()
    model.fit(
        data,
        steps_per_epoch=steps,
        epochs=2,
        verbose=0,
        shuffle=False,
        callbacks=[stop],
    )
    assert stop.reason is None
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")

    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.distribute_strategy.num_replicas_in_sync == 1
    assert_same_weights(copy, model)
    np.testing.assert_allclose(copy(X), model(X), rtol=1e-6)
    for name in ("optimizer", "generator_optimizer", "posterior_optimizer"):
        saved, loaded = getattr(model, name), getattr(copy, name)
        assert loaded.iterations.numpy() == saved.iterations.numpy() > 0
        for a, b in zip(saved.variables, loaded.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    plain = make_vera(gradient_penalty=0.1)
    plain.load_weights(tmp_path / "model.weights.h5")
    assert_same_weights(plain, model)


def test_evaluate_and_predict_agree_with_one_device(strategy):
    data = batches(X, Y, 8)
    one = compile_sgd(make_vera())
    with strategy.scope():
        two = compile_sgd(make_vera())
    results = [m.evaluate(data, return_dict=True, verbose=0) for m in (one, two)]
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, rtol=1e-5, atol=1e-6)
    # Labels are spread unevenly over the replicas and the two batches.
    labelled = Y >= 0
    right = one.predict(X, verbose=0).argmax(-1)[labelled] == Y[labelled]
    np.testing.assert_allclose(results[1]["accuracy"], right.mean(), rtol=1e-6)
    np.testing.assert_allclose(
        one.predict(X, verbose=0), two.predict(X, verbose=0), rtol=1e-5, atol=1e-6
    )


def test_a_classifier_without_negatives_trains_on_replicas(strategy):
    def train(scope):
        with scope:
            model = EnergyModel(make_vera().network, energy_weight=0.0)
            model.compile(keras.optimizers.SGD(0.1))
        return model, model.fit(batches(X, Y, 8), verbose=0, shuffle=False).history

    one, history = train(contextlib.nullcontext())
    two, histories = train(strategy.scope())
    assert_same_weights(one, two, rtol=1e-5, atol=1e-6)
    assert history.keys() == histories.keys()
    for name, value in history.items():
        np.testing.assert_allclose(histories[name], value, rtol=1e-5, atol=1e-6)
