import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from support import CLASSES, make_network, make_vera, rows

from keras_ebm.metrics import fit_temperature, negative_log_likelihood
from keras_ebm.models import EnergyModel
from keras_ebm.ood import Detector

X, Y = rows(200)


@pytest.fixture
def model():
    model = make_vera()
    # Far too sure of itself.
    last = model.network.layers[-1]
    last.set_weights([20 * weight for weight in last.get_weights()])
    return model


def test_a_fitted_temperature_is_that_of_the_labelled_logits(model):
    logits = model.logits(X).numpy()
    energies = model.energy(X).numpy()
    found = model.fit_temperature(X, Y, batch_size=64)
    known = Y >= 0
    expected = fit_temperature(logits[known], Y[known])
    assert found == model.temperature == pytest.approx(expected, rel=1e-5)
    assert found > 2
    p = model.probabilities(X).numpy()
    np.testing.assert_allclose(p, softmax(logits / found, axis=1), rtol=1e-4)
    before = negative_log_likelihood(logits, Y, from_logits=True)
    assert negative_log_likelihood(p, Y) < 0.5 * before
    np.testing.assert_array_equal(p.argmax(1), logits.argmax(1))
    np.testing.assert_array_equal(model.energy(X), energies)


def test_it_is_saved_and_served(model, tmp_path):
    model.fit_temperature(X, Y)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.temperature == model.temperature
    decision = Detector.fit(copy, X, target_fpr=0.1).predict(X)
    p = model.probabilities(X)
    np.testing.assert_allclose(decision["probabilities"], p, rtol=1e-5)


def test_precision_is_kept_but_for_halves(model):
    model.temperature = 3.0
    for kind, expected in (("float64", "float64"), ("float16", "float32")):
        p = model.to_probabilities(tf.zeros([1, CLASSES], kind))
        assert p.dtype == expected


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="`temperature` must"):
        EnergyModel(make_network(), temperature=temperature)


def test_a_density_has_no_temperature_to_fit():
    with pytest.raises(ValueError, match="needs a model with classes"):
        EnergyModel(make_network(1)).fit_temperature(X, Y)


def test_without_a_label_it_is_refused(model):
    with pytest.raises(ValueError, match="at least one row"):
        model.fit_temperature(X, np.full(len(X), -1))
