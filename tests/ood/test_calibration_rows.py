"""What rows a detector is calibrated on: in what they come, and what they tell."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from support import make_network, rows

from keras_ebm.models import EnergyModel
from keras_ebm.ood import Detector

X, Y = rows(60)


@pytest.fixture(scope="module")
def model():
    return EnergyModel(make_network())


def dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if parts[1:] else parts[0])


@pytest.mark.parametrize(
    "given",
    [
        lambda: pd.DataFrame(X),
        lambda: X.tolist(),
        lambda: dataset(X).batch(7),
        lambda: dataset(X, Y).batch(7),
    ],
    ids=["frame", "list", "batches", "batches with labels"],
)
def test_rows_count_in_whatever_they_come(model, given):
    expected = Detector.calibrate(model, X, target_fpr=0.1)
    found = Detector.calibrate(model, given(), target_fpr=0.1)
    assert found.conformal.sizes.tolist() == [60]
    # A list is of float64, whose last digits float32 rounds.
    np.testing.assert_allclose(
        found.conformal.scores, expected.conformal.scores, rtol=1e-5
    )


@pytest.mark.parametrize(
    "given, match",
    [
        (lambda: {"a": X[:, 0], "b": X[:, 1]}, "one array of rows.*dict of 2 keys"),
        (lambda: dataset(X), r"batches of shape .*call .batch\(256\)"),
        (lambda: dataset(X).batch(7).repeat(), "endless dataset"),
    ],
)
def test_what_is_no_array_of_rows_is_refused(model, given, match):
    with pytest.raises(ValueError, match=f"`calibration` .*{match}"):
        Detector.calibrate(model, given(), target_fpr=0.1)


def test_a_score_that_is_the_same_on_all_rows_is_told():
    network = make_network()
    network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    with pytest.warns(UserWarning, match="score 'energy' is -1.0986.* on all 60"):
        detector = Detector.calibrate(EnergyModel(network), X, target_fpr=0.1)
    assert detector.predict(X)["accept"].all()


def test_a_sum_of_scores_of_a_density_needs_no_labels():
    density, none = EnergyModel(make_network(num_outputs=1)), np.full(60, -1)
    known = {"train": (X[:40], none[:40]), "validation": (X[40:], none[40:])}
    detector = Detector.calibrate(
        density, X, score="nearest+mixture", target_fpr=0.1, **known
    )
    assert detector.score.name == "nearest+mixture"
    assert not detector.predict(X + 10.0)["accept"].any()
