"""Rows of a user's own among the negatives, by a flag."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_ebm.negatives import Bank, Mixed
from keras_ebm.networks import body_features
from keras_ebm.trainers import vera
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.negatives import bank_of
from keras_ebm.trainers.settings.vera import ModelSettings


@pytest.fixture(scope="module")
def digits():
    return load(DataSettings(dataset="digits", train_size=300))


def prepared(run, folder, **settings):
    fit = vera.FitSettings(workdir=str(folder), batch_size=32)
    return vera.prepare(run, ModelSettings(**settings), fit).model


def test_a_bank_is_all_of_the_negatives_or_a_half_of_them(digits, tmp_path):
    alone = prepared(
        digits, tmp_path, negatives="bank", bank="phase_scramble", bank_rows=50
    )
    assert isinstance(alone.negatives, Bank) and alone.objective == "logistic"
    assert alone.negatives.rows.shape == (50, 8, 8, 1)
    # Preprocessed as the data are.
    assert -1.0 <= np.min(alone.negatives.rows) < 0.0 < np.max(alone.negatives.rows)
    beside = prepared(digits, tmp_path, negatives="generator+batch", bank="digits")
    assert isinstance(beside.negatives, Mixed) and beside.generator is not None
    assert beside.negatives.counts(32) == [16, 16]


def test_a_bank_of_images_is_seen_through_a_body(digits, tmp_path):
    inputs = keras.Input((8, 8, 1))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    body = keras.Model(inputs, pooled)
    body.save(tmp_path / "body.keras")
    settings = {"backbone": str(tmp_path / "body.keras"), "bank": "noise:uniform"}
    settings |= {"negatives": "shuffle", "bank_rows": 40, "standardise": False}
    model = prepared(digits, tmp_path, hidden=("8",), **settings)
    images = bank_of(digits, ModelSettings(**settings))
    rows = model.preprocess(body_features(body, images).astype(np.float32))
    np.testing.assert_allclose(model.negatives.sources[1].rows, rows, atol=1e-4)
    # Kept beside those of the data, for a run that goes on.
    assert len([*(tmp_path / "features").iterdir()]) == 2


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"negatives": "none", "bank": "digits"}, "use negatives=bank"),
        ({"negatives": "bank"}, "takes the rows of `bank`. Received: none"),
        ({"negatives": "bank", "bank": "holdout"}, "measured by later"),
        ({"negatives": "bank", "bank": "toy:rings"}, "must be like those of the model"),
    ],
)
def test_a_bank_that_serves_nothing_is_refused(digits, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        prepared(digits, tmp_path, **settings)
