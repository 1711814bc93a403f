import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.data import load_splits
from keras_ebm.metrics import fit_temperature
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.run.record import recall


def history(workdir):
    with open(workdir / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def summaries(folder, plugin):
    """What a TensorBoard plugin gets to show, by tag."""
    values = {}
    for path in folder.rglob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == plugin:
                    values[value.tag] = value.tensor
    return values


def test_a_run_writes_the_files_it_promises(digits):
    workdir, _ = digits
    names = {path.name for path in workdir.iterdir()}
    assert names == {
        "model.keras",
        "history.csv",
        "doctor.json",
        "flags.txt",
        "metrics.json",
        "run.json",
        "split.npz",
        "logs",
    }
    rows = history(workdir)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(np.isfinite(float(value)) for value in rows[-1].values())


def test_tensorboard_gets_pictures_histograms_and_scalars(digits):
    logs = digits[0] / "logs"
    pictures = summaries(logs, "images")
    assert pictures.keys() == {"model"}
    width, height = pictures["model"].string_val[:2]
    assert int(width) > 100 and int(height) > 100
    histograms = summaries(logs, "histograms")
    assert {"energy_of_data", "energy_of_samples"} <= histograms.keys()
    buckets = tf.make_ndarray(histograms["energy_of_data"])
    assert buckets[:, 2].sum() == 500 and np.all(np.isfinite(buckets))
    scalars = {tag.removeprefix("epoch_") for tag in summaries(logs, "scalars")}
    watched = {"generator_stddev", "posterior_width", "effective_sample_size"}
    assert watched | {"loss", "data_energy"} <= scalars


def test_nothing_of_tensorflow_shows_on_stderr(digits):
    code, out, err = digits[1]
    assert code == 0 and err == ""
    assert "accuracy" in out


def test_metrics_are_flat_and_of_the_test_split(digits, digits_model):
    metrics = json.loads((digits[0] / "metrics.json").read_text())
    assert {"accuracy", "nll", "ece", "brier"} <= set(metrics)
    assert all(isinstance(value, int | float) for value in metrics.values())
    rows = recall(digits_model)
    x, y = rows.rows("test")
    assert metrics["num_test"] == len(x) == 361
    model = keras_files.load_model(digits_model)
    logits = model.predict(x, verbose=0).astype(np.float64)
    assert metrics["accuracy"] == np.mean(logits.argmax(-1) == y)
    held, labels = rows.rows("validation")
    fitted = fit_temperature(model.predict(held, verbose=0), labels)
    found = (metrics["temperature"], metrics["lapse_rate"])
    assert (model.temperature, model.lapse_rate) == found
    assert found == pytest.approx(fitted, rel=1e-3, abs=1e-4)
    log_p = model.to_log_probabilities(logits).numpy()
    # Ten classes at random have 0.1: two epochs are far beyond it.
    assert metrics["accuracy"] > 0.8
    nll = -log_p[np.arange(len(y)), y].mean()
    assert metrics["nll"] == pytest.approx(nll, rel=1e-5)


def test_the_record_of_the_split_is_complete(digits):
    splits = load_splits(digits[0] / "split.npz")
    rows = json.loads((digits[0] / "run.json").read_text())["rows"]
    parts = [splits.train, splits.validation, splits.calibration, splits.test]
    assert sorted(np.concatenate(parts)) == list(range(1797))
    assert rows["calibration"] == len(splits.calibration) == 179


def test_flags_txt_repeats_the_run_to_the_last_digit(digits, run, tmp_path):
    flagfile = f"--flagfile={digits[0] / 'flags.txt'}"
    # A workdir's name must not make its line look like that of a flag.
    again = tmp_path / "resumed"
    code, _, err = run("trainers.vera", flagfile, f"--workdir={again}")
    assert code == 0, err
    for name in ("history.csv", "metrics.json"):
        assert (again / name).read_text() == (digits[0] / name).read_text()
    flags = (again / "flags.txt").read_text().splitlines()
    assert f"--workdir={again}" in flags
    assert not any(line.lstrip("-").startswith(("resume", "nore")) for line in flags)


def test_two_replicas_take_the_same_first_step(run, train, tmp_path):
    # One step: from the second on, Adam would turn rounding into whole steps.
    flags = ["--epochs=1", "--train_size=64", "--verbose=0", "--notensorboard"]
    sizes = ["--hidden=32", "--generator_hidden=16", "--latent_dim=4"]
    code, _, err = run(
        "trainers.vera",
        *["--dataset=digits", "--strategy=mirrored", "--importance_samples=4"],
        # Those of the batch are made of each replica's own rows.
        *[*flags, *sizes, "--negatives=generator", f"--workdir={tmp_path / 'two'}"],
    )
    assert (code, err) == (0, "")
    train(tmp_path / "one", "digits", {"negatives": "generator"}, train_size=64)
    (two,), (one,) = history(tmp_path / "two"), history(tmp_path / "one")
    assert set(one) == set(two)
    for name in set(one) - {"epoch"}:
        value = float(two[name])
        if not name.startswith("val_"):
            assert value == pytest.approx(float(one[name]), rel=1e-5, abs=1e-6)
    # 125 validation rows cannot be shared by two: one is left out.
    difference = float(two["val_loss"]) - float(one["val_loss"])
    assert abs(difference) < 0.05 * float(one["val_loss"])


@pytest.mark.parametrize("negatives", ["batch", "both", "none"])
def test_negatives_of_every_kind_train(train, tmp_path, negatives):
    model, metrics = train(
        tmp_path, "digits", model={"negatives": negatives}, train_size=320
    )
    assert (model.negatives is None) == (negatives == "none")
    assert (model.generator is not None) == (negatives == "both")
    (row,) = history(tmp_path)
    assert ("negative_energy" in row) == (negatives != "none")
    assert metrics["accuracy"] > 0.1
    reloaded = keras_files.load_model(tmp_path / "model.keras")
    x = np.zeros((3, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(reloaded.logits(x), model.logits(x))


def test_few_labels_are_kept_and_the_rest_is_unlabelled(train, tmp_path):
    train(tmp_path, "digits", labels_per_class=3, train_size=300)
    _, y = recall(tmp_path / "model.keras").rows("train")
    assert np.bincount(y[y >= 0]).tolist() == [3] * 10
    assert len(y) == 300
    _, y = recall(tmp_path / "model.keras").rows("test")
    assert np.all(y >= 0)


def test_held_out_classes_are_renumbered_away(held_out):
    model = keras_files.load_model(held_out / "model.keras")
    assert model.num_classes == 8
    assert model.class_names == list("01234567")
    rows = recall(held_out / "model.keras")
    foreign, _ = rows.rows("holdout")
    assert len(foreign) == 354  # the 8s and 9s among the digits
    for part in ("train", "validation", "calibration", "test"):
        assert set(rows.rows(part)[1]) == set(range(8))


def test_a_density_in_the_plane_is_learned_without_classes(train, tmp_path):
    model, metrics = train(
        tmp_path,
        "toy:8gaussians",
        train_size=2000,
        fit={"tensorboard": True, "epochs": 2},
    )
    assert model.num_classes == 1
    assert set(metrics) == {"energy", "num_test"}
    assert summaries(tmp_path / "logs", "images").keys() == {"model"}


def test_a_table_with_gaps_is_learned(table):
    workdir, _ = table
    metrics = json.loads((workdir / "metrics.json").read_text())
    record = json.loads((workdir / "run.json").read_text())
    assert record["class_names"] == ["no", "yes"]
    kinds = [column["kind"] for column in record["schema"]["columns"]]
    assert kinds == ["numeric", "numeric", "categorical"]
    assert metrics["accuracy"] > 0.8  # the rows are easy to tell apart


def test_arrays_in_an_npz_file_train(train, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    x = rng.normal(120 + 60 * y[:, None], 20, (400, 3))
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    model, metrics = train(
        tmp_path / "run", f"npz:{tmp_path / 'rows.npz'}", fit={"epochs": 3}
    )
    assert metrics["accuracy"] > 0.9
    # With optimizer states, as a user would load it.
    reloaded = keras.saving.load_model(tmp_path / "run" / "model.keras")
    x = x[:5].astype(np.float32)
    np.testing.assert_array_equal(reloaded.logits(x), model.logits(x))


def test_averaged_weights_are_those_saved(train, tmp_path):
    model, _ = train(tmp_path, "digits", {"ema_momentum": 0.9}, train_size=320)
    kernel = model.network.get_weights()[0]
    saved = keras_files.load_model(tmp_path / "model.keras").network.get_weights()[0]
    np.testing.assert_array_equal(saved, kernel)
    # The average is among the optimizer's variables, the last weights are not.
    held = [value.numpy() for value in model.optimizer.variables]
    assert any(np.array_equal(value, kernel) for value in held)


@pytest.mark.parametrize(
    "steps, lines, each", [(5, 1, 5), (40, 2, 20), (31, 1, 31), (51, 3, 17)]
)
def test_a_run_may_be_as_many_steps_as_wanted(train, tmp_path, steps, lines, each):
    # A pass is 17 steps of 64 rows.
    model, _ = train(tmp_path, "digits", fit={"steps": steps, "batch_size": 64})
    assert int(model.optimizer.iterations.numpy()) == steps == lines * each
    assert len(history(tmp_path)) == lines
