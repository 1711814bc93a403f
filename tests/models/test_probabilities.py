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
    assert found == (model.temperature, model.lapse_rate)
    assert found == pytest.approx(expected, rel=1e-3)
    temperature, rate = found
    p = model.probabilities(X).numpy()
    known_p = (1 - rate) * softmax(logits / temperature, axis=1) + rate / CLASSES
    np.testing.assert_allclose(p, known_p, rtol=1e-4)
    log_p = model.to_log_probabilities(logits).numpy()
    np.testing.assert_allclose(log_p, np.log(known_p), rtol=1e-4, atol=1e-5)
    before = negative_log_likelihood(logits, Y, from_logits=True)
    assert negative_log_likelihood(p, Y) < 0.5 * before
    np.testing.assert_array_equal(p.argmax(1), logits.argmax(1))
    np.testing.assert_array_equal(model.energy(X), energies)


def test_it_is_saved_and_served(model, tmp_path):
    model.fit_temperature(X, Y)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.temperature == model.temperature
    assert copy.lapse_rate == model.lapse_rate
    decision = Detector.calibrate(copy, X, target_fpr=0.1).predict(X)
    p = model.probabilities(X)
    np.testing.assert_allclose(decision["probabilities"], p, rtol=1e-5)


def test_what_was_traced_before_follows_a_new_temperature(model):
    detector = Detector.calibrate(model, X, target_fpr=0.1)
    traced = tf.function(model.probabilities)
    before = detector.predict(X)["probabilities"], traced(X)
    model.fit_temperature(X, Y)
    after = detector.predict(X)["probabilities"], traced(X)
    for old, new in zip(before, after, strict=True):
        assert np.abs(new - old).max() > 0.1
        np.testing.assert_allclose(new, model.probabilities(X), rtol=1e-5)


def test_a_detector_takes_rows_of_any_type_and_of_any_number(model):
    detector = Detector.calibrate(model, X, target_fpr=0.1)
    expected = detector.predict(X)
    for x in (X.astype(np.float64), X.tolist()):
        np.testing.assert_allclose(
            detector.predict(x)["energy"], expected["energy"], rtol=1e-5
        )
    none = detector.predict(X[:0])
    assert {name: len(value) for name, value in none.items()} == dict.fromkeys(none, 0)
    assert none["probabilities"].shape == (0, CLASSES)
    detector.target_fpr = 0.5
    assert detector.predict(X)["accept"].sum() < expected["accept"].sum()


def test_precision_is_kept_but_for_halves(model):
    model.temperature = 3.0
    for kind, expected in (("float64", "float64"), ("float16", "float32")):
        p = model.to_probabilities(tf.zeros([1, CLASSES], kind))
        assert p.dtype == expected


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="`temperature` must"):
        EnergyModel(make_network(), temperature=temperature)


@pytest.mark.parametrize("rate", [-0.1, 1.0, np.nan])
def test_a_lapse_rate_is_a_share(rate):
    with pytest.raises(ValueError, match="`lapse_rate` must"):
        EnergyModel(make_network(), lapse_rate=rate)


def test_logarithms_stay_finite_where_probabilities_round_to_0():
    logits = np.zeros((1, CLASSES), np.float32)
    logits[0, 0] = 1e4
    model = EnergyModel(make_network())
    assert model.to_probabilities(logits)[0, 1] == 0.0
    assert model.to_log_probabilities(logits)[0, 1] == -1e4
    model.lapse_rate = 0.2
    expected = np.log(0.2 / CLASSES)
    np.testing.assert_allclose(model.to_log_probabilities(logits)[0, 1], expected)


def test_a_density_has_no_temperature_to_fit():
    with pytest.raises(ValueError, match="needs a model with classes"):
        EnergyModel(make_network(1)).fit_temperature(X, Y)


def test_without_a_label_it_is_refused(model):
    with pytest.raises(ValueError, match="at least one row"):
        model.fit_temperature(X, np.full(len(X), -1))
