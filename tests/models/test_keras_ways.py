"""Keras's own ways into a model: summary, evaluate, predict, export."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import CLASSES, make_network, make_vera, rows

from keras_ebm.layers import TableEncoder
from keras_ebm.models import EnergyModel
from keras_ebm.networks import convolutional_energy

X, Y = rows(20)
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)


def image_model():
    scale = keras.layers.Rescaling(1 / 127.5, offset=-1)
    network = convolutional_energy((8, 8, 1), CLASSES)
    return EnergyModel(network, preprocessor=scale, energy_weight=0.0), IMAGES


def table_model():
    encoder = TableEncoder()
    wide = np.append(X, 1.7e12 + np.arange(20.0)[:, None] ** 3, axis=1)
    encoder.adapt(wide[:, 1:])
    return EnergyModel(make_network(), preprocessor=encoder), wide[:, 1:]


def test_a_preprocessor_that_computes_as_it_is_built_serves_a_fit_and_after_it():
    scale = keras.layers.Normalization(mean=np.full(4, 3.0), variance=np.full(4, 4.0))
    model = EnergyModel(make_network(), preprocessor=scale, energy_weight=0.0)
    model.compile("adam")
    model.fit(X, Y, batch_size=10, epochs=1, verbose=0)
    expected = model.network.predict((X - 3.0) / 2.0, verbose=0)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-5)


@pytest.fixture(scope="module", params=["vera", "image", "table"])
def fitted(request):
    kinds = {"vera": lambda: (make_vera(), X), "image": image_model}
    model, x = kinds.get(request.param, table_model)()
    model.compile("adam")
    batches = tf.data.Dataset.from_tensor_slices((x, Y)).batch(10)
    model.fit(batches, epochs=1, shuffle=False, verbose=0)
    return model, x


def test_a_fitted_model_and_a_loaded_one_are_exported_by_keras(fitted, tmp_path):
    model, x = fitted
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for name, one in (("fitted", model), ("loaded", loaded)):
        one.export(tmp_path / name, verbose=False)
        served = tf.saved_model.load(tmp_path / name)
        for count in (1, 20):
            logits = served.serve(tf.constant(x[:count]))
            np.testing.assert_allclose(logits, model(x[:count]), rtol=1e-4, atol=1e-5)


def test_a_summary_and_rows_one_by_one_are_had(fitted):
    model, x = fitted
    lines = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    assert "Total params" in "".join(lines)
    batches = tf.data.Dataset.from_tensor_slices((x, Y))
    one, all_ = (
        model.evaluate(batches.batch(size), verbose=0, return_dict=True)
        for size in (1, 20)
    )
    # But for the samples of a generator, which a batch of another size draws anew.
    for name in ("accuracy", "cross_entropy", "data_energy"):
        assert one[name] == pytest.approx(all_[name], rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused_before_they_ruin_the_weights(bad):
    model = EnergyModel(make_network(), energy_weight=0.0)
    model.compile("sgd")
    x = X.copy()
    x[3, 1] = bad
    for inputs, validation in ((x, X), (X, x)):
        with pytest.raises(ValueError, match=rf"{bad} at \(3, 1\), of 1 such"):
            model.fit(inputs, Y, validation_data=(validation, Y), verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_a_setting_that_is_changed_counts_in_steps_that_were_compiled_before():
    model = EnergyModel(make_network(), energy_weight=0.0)
    model.compile("sgd")
    before = model.evaluate(X, Y, verbose=0, return_dict=True)
    model.classification_weight = 3.0
    after = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert after["loss"] == pytest.approx(3.0 * before["loss"], rel=1e-5)


def test_no_rows_and_rows_of_other_types_are_predicted(fitted):
    model, x = fitted
    if x.dtype == np.float64:
        # Keras would hand on float32.
        with pytest.raises(ValueError, match="must be float64"):
            model.predict(x, verbose=0)
        x = x.astype(np.int64)
    assert model.predict(x[:0], verbose=0).shape == (0, CLASSES)
    assert model.predict(tf.constant(x[:0]), verbose=0).shape == (0, CLASSES)
    types = [np.int64] if x.dtype == np.int64 else [np.float64, np.int32, x.dtype]
    for dtype in types:
        cells = x.astype(dtype)
        expected = model(tf.constant(cells))
        found = model.predict(cells, verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
