"""Exports of a small classifier of a table, of digits, and of a scorer of vectors."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_ebm import EnergyModel, ood
from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.layers import TableEncoder
from keras_ebm.networks import mlp_energy
from keras_ebm.serving import export_classifier, export_ood_scorer

SCHEMA = TableSchema(
    (
        Column("age", "numeric"),
        Column("city", "categorical", ("Graz", "Linz", "Wien")),
        Column("when", "numeric", wide=True),
    ),
    missing=("", "NA"),
)


@dataclasses.dataclass(frozen=True)
class Export:
    """A version, what it is of, and the rows that calibrated it."""

    path: Path
    detector: ood.Detector
    rows: Any


def _table_rows(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    age, city = rng.normal(40, 10, count), rng.integers(0, 3, count)
    age[::9] = np.nan
    return np.stack([age, city, 1_700_000_000_000.0 + rng.integers(0, 999, count)], 1)


@pytest.fixture(scope="session")
def table_export(tmp_path_factory):
    keras.utils.set_random_seed(0)
    rows = _table_rows(300, 0)
    encoder = TableEncoder(SCHEMA)
    encoder.adapt(rows)
    model = EnergyModel(
        mlp_energy(encoder(rows[:1]).shape[1:], 2, hidden=(8,)),
        preprocessor=encoder,
        class_names=["no", "yes"],
    )
    known = _table_rows(99, 1)
    detector = ood.Detector.calibrate(model, known, target_fpr=0.1)
    path = export_classifier(detector, tmp_path_factory.mktemp("served") / "t", known)
    return Export(path, detector, known)


@pytest.fixture(scope="session")
def digits_export(tmp_path_factory):
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = digits.images[..., None].astype(np.uint8)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    # Least squares, which is training enough to predict every class.
    x, y = digits.data / 16.0, np.eye(10)[digits.target]
    network.layers[-1].set_weights([5.0 * np.linalg.lstsq(x, y)[0], np.zeros(10)])
    model = EnergyModel(
        network,
        preprocessor=keras.layers.Rescaling(1 / 16),
        class_names=[*"0123456789"],
    )
    detector = ood.Detector.calibrate(model, images[:199], target_fpr=0.05)
    folder = tmp_path_factory.mktemp("served") / "digits"
    path = export_classifier(detector, folder, images[:40])
    return Export(path, detector, images[:199])


@pytest.fixture(scope="session")
def vector_export(tmp_path_factory):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(99, 3)).astype(np.float32)
    model = EnergyModel(mlp_energy((3,), 1, hidden=(8,)))
    detector = ood.Detector.calibrate(model, x, target_fpr=0.1)
    path = export_ood_scorer(detector, tmp_path_factory.mktemp("served") / "v", x)
    return Export(path, detector, x)
