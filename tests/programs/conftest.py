"""Runs of the real programs that the tests of this folder share."""

import csv
import gzip

import numpy as np
import pytest

from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.serving import export_classifier
from keras_ebm.trainers import vera
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.vera import ModelSettings


@pytest.fixture(scope="session")
def train():
    """Trains in this process, without pictures: `(model, metrics)`."""

    def train_here(workdir, dataset, model=None, strategy=None, fit=None, **settings):
        rows = load(DataSettings(dataset=str(dataset), **settings))
        model = {"hidden": ("32",), "generator_hidden": ("16",), **(model or {})}
        fit = {"epochs": 1, "tensorboard": False, "verbose": 0, **(fit or {})}
        return vera.train(
            rows,
            ModelSettings(**{"latent_dim": 4, "importance_samples": 4, **model}),
            vera.FitSettings(workdir=str(workdir), **fit),
            strategy,
        )

    return train_here


@pytest.fixture(scope="session")
def digits(run, tmp_path_factory):
    """Two epochs on the digits by the program, with its exit code and output."""
    workdir = tmp_path_factory.mktemp("digits")
    flags = ["--dataset=digits", "--epochs=2", "--verbose=0", "--picture_epochs=1"]
    result = run("trainers.vera", *flags, f"--workdir={workdir}")
    assert result[0] == 0, result[2]
    return workdir, result


@pytest.fixture(scope="session")
def digits_model(digits):
    return str(digits[0] / "model.keras")


@pytest.fixture(scope="session")
def held_out(train, tmp_path_factory):
    """Run folder of two epochs on the digits 0 to 7."""
    workdir = tmp_path_factory.mktemp("held_out")
    train(workdir, "digits", fit={"epochs": 2}, holdout_classes=("8", "9"))
    return workdir


def table_rows(count, seed=0):
    """Rows `[age, income, label, city]` as text; the label follows all three.

    A tenth of the incomes and of the cities are missing.
    """
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    age = rng.normal(40 + 10 * label, 5).round(2)
    income = rng.normal(3 - label, 1).round(3)
    city = np.where(rng.random(count) < 0.3, "Graz", np.where(label, "Wien", "Linz"))
    income = np.where(rng.random(count) < 0.1, "", income.astype(str))
    city = np.where(rng.random(count) < 0.1, "", city)
    name = np.where(label, "yes", "no")
    return np.stack([age.astype(str), income, name, city], axis=1).tolist()


@pytest.fixture(scope="session")
def write_table():
    header = ["age", "income (k)", "bought", "city"]

    def write(path, rows, names=header):
        opener = gzip.open if str(path).endswith(".gz") else open
        with opener(path, "wt", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *rows])
        return f"csv:{path}"

    return write


@pytest.fixture(scope="session")
def table(train, write_table, tmp_path_factory):
    """`(run folder, spec)` of a table of numbers, categories and gaps."""
    folder = tmp_path_factory.mktemp("table")
    spec = write_table(folder / "rows.csv.gz", table_rows(600))
    model = {"learning_rate": 0.01}
    train(folder / "run", spec, model, fit={"epochs": 15}, target="bought")
    return folder / "run", spec


@pytest.fixture(scope="session")
def table_export(table, tmp_path_factory):
    """`(folder of a version, detector)` of the table's classifier."""
    workdir, spec = table
    settings = ExportSettings(str(workdir / "model.keras"), spec, target_fpr=0.1)
    detector, rows = fit_detector(settings)
    output = tmp_path_factory.mktemp("table_export") / "model"
    return export_classifier(detector, output, rows), detector


@pytest.fixture
def new_table_rows():
    return table_rows
