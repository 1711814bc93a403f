"""What `--pseudo_labels` and `--stop_without_labels` do with rows without labels."""

import csv as csv_reader
import dataclasses

import numpy as np
import pytest

from keras_ebm.trainers import vera
from keras_ebm.trainers.run import without_labels
from keras_ebm.trainers.run.backup import BEST
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.vera import ModelSettings

NETWORK = ModelSettings(negatives="none", hidden=("8",), ema_momentum=0.5)
SHORT = {
    "steps": 6,
    "validate_every": 2,
    "batch_size": 16,
    "tensorboard": False,
    "verbose": 0,
}


@pytest.fixture(scope="module")
def rows():
    return load(DataSettings(dataset="digits", labels_per_class=10))


def fit_settings(folder, **values):
    return vera.FitSettings(workdir=str(folder), **{**SHORT, **values})


def test_a_run_takes_spread_labels_and_ends_where_answers_agree(rows, tmp_path, capsys):
    fit = fit_settings(
        tmp_path, pseudo_labels="label_spreading", stop_without_labels="graph"
    )
    job = vera.prepare(rows, NETWORK, fit)
    told = capsys.readouterr().err
    count = len(rows.splits.train) - 100
    assert f"pseudo_labels: spread to {count} of {count} rows, alpha 0.97" in told
    (few, x), (few_y, y), (weights, _) = next(job.batches.as_numpy_iterator())
    assert len(few) == len(x) == 8 and (few_y >= 0).all() and (y < 0).any()
    assert weights.tolist() == [2.0] * 8
    job.perform()
    with open(tmp_path / "history.csv") as file:
        history = list(csv_reader.DictReader(file))
    agreements = [float(line["neighbour_agreement"]) for line in history]
    best = 2 * (1 + int(np.argmax(agreements)))
    assert int(job.model.optimizer.iterations) == best
    assert not (tmp_path / BEST).exists()


def test_labels_that_spread_are_mostly_right_on_digits(rows):
    model = vera.prepare(rows, NETWORK, fit_settings("unused")).model
    fit = fit_settings("unused", pseudo_labels="label_spreading")
    found = without_labels.guessed_labels(model, rows, fit)
    assert np.mean(found == rows.dataset.y[rows.splits.train]) > 0.9


def test_where_all_rows_have_labels_none_are_spread(rows, capsys):
    everything = dataclasses.replace(rows, settings=DataSettings(dataset="digits"))
    fit = fit_settings("unused", pseudo_labels="label_spreading")
    assert without_labels.guessed_labels(None, everything, fit) is None
    assert "none, as all training rows have labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    "values, message",
    [
        ({"stop_without_labels": "agreement"}, "Received: ema_momentum=0, which aver"),
        (
            {"stop_without_labels": "graph", "keep_best": True},
            "`stop_without_labels` and `keep_best` both choose the weights",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(rows, values, message):
    with pytest.raises(ValueError, match=message):
        without_labels.check(rows, fit_settings("unused", **values), False)


def test_points_without_classes_have_no_answers_to_agree():
    points = load(DataSettings(dataset="toy:rings", toy_rows=100))
    for name, value in {
        "pseudo_labels": "auto",
        "stop_without_labels": "graph",
    }.items():
        with pytest.raises(ValueError, match=f"`{name}` needs classes"):
            without_labels.check(points, fit_settings("unused", **{name: value}), True)
