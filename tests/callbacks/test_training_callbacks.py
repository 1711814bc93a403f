"""Keras's own callbacks on a model with three optimizers, and this library's."""

import csv
import io
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import (
    assert_same_weights,
    batches,
    compile_sgd,
    make_network,
    make_vera,
    rows,
)

import keras_ebm
from keras_ebm.callbacks import (
    ForOptimizer,
    KeepCheckpoints,
    Progress,
    ReadingGuide,
    StopOnDivergence,
)
from keras_ebm.models import EnergyModel
from keras_ebm.models.log_meanings import MEANINGS
from keras_ebm.objectives import SemiSupervised

X, Y = rows(12)
DATA = batches(X, Y, 6)


def make_classifier(rate=0.1):
    """Quicker to trace than a VERA, where one optimizer is enough."""
    model = EnergyModel(make_network(), energy_weight=0.0)
    model.compile(keras.optimizers.SGD(rate))
    return model


def fit(model, callbacks, epochs=3, **kwargs):
    return model.fit(
        DATA, epochs=epochs, callbacks=callbacks, verbose=0, shuffle=False, **kwargs
    ).history


class Record(keras.callbacks.Callback):
    """Keeps the weights as they are at the end of each epoch and batch."""

    def __init__(self):
        super().__init__()
        self.weights, self.batches = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        parts = ("network", "generator")
        self.batches.append({p: getattr(self.model, p).get_weights() for p in parts})


def test_checkpoints_logs_and_early_stopping_work_in_one_fit(tmp_path):
    model = compile_sgd(make_vera(gradient_penalty=0.1))
    record = Record()
    callbacks = [
        record,
        keras.callbacks.ModelCheckpoint(
            tmp_path / "best.keras",
            "val_cross_entropy",
            mode="max",
            save_best_only=True,
        ),
        keras.callbacks.ModelCheckpoint(
            tmp_path / "{epoch}.weights.h5", save_weights_only=True
        ),
        keras.callbacks.CSVLogger(tmp_path / "history.csv"),
        keras.callbacks.TensorBoard(tmp_path / "events", update_freq=1),
        # In no epoch does the cross-entropy reach 1000: the first is the best.
        keras.callbacks.EarlyStopping(
            "val_cross_entropy",
            mode="max",
            min_delta=1000.0,
            patience=2,
            restore_best_weights=True,
        ),
    ]
    history = fit(model, callbacks, epochs=8, validation_data=DATA)

    losses = history["val_cross_entropy"]
    assert len(losses) == 3
    for weights, best in zip(model.get_weights(), record.weights[0], strict=True):
        np.testing.assert_array_equal(weights, best)
    copy = keras.models.load_model(tmp_path / "best.keras")
    best = record.weights[int(np.argmax(losses))]
    for weights, expected in zip(copy.get_weights(), best, strict=True):
        np.testing.assert_array_equal(weights, expected)
    last = make_vera()
    last.load_weights(tmp_path / "3.weights.h5")
    for weights, expected in zip(last.get_weights(), record.weights[2], strict=True):
        np.testing.assert_array_equal(weights, expected)
    with open(tmp_path / "history.csv") as file:
        logged = list(csv.DictReader(file))
    expected = {"loss", "generator_loss", "posterior_loss", "generator_stddev"}
    assert expected <= set(logged[0])
    np.testing.assert_allclose([float(row["loss"]) for row in logged], history["loss"])
    assert list((tmp_path / "events" / "train").iterdir())


@pytest.mark.parametrize("attribute", ["optimizer", "generator_optimizer"])
def test_a_plateau_lowers_the_rate_of_the_optimizer_that_was_named(attribute):
    model = compile_sgd(make_vera(), 0.1, 0.1, 0.1)
    plateau = keras.callbacks.ReduceLROnPlateau(
        "loss", mode="min", factor=0.5, patience=1, min_delta=1e9
    )
    if attribute != "optimizer":
        plateau = ForOptimizer(plateau, attribute)
    fit(model, [plateau], epochs=3)
    for name in ("optimizer", "generator_optimizer", "posterior_optimizer"):
        # The first epoch is always an improvement; the two after it are not.
        expected = 0.025 if name == attribute else 0.1
        rate = getattr(model, name).learning_rate
        np.testing.assert_allclose(rate, expected, rtol=1e-6)


def test_for_optimizer_passes_on_every_hook():
    class Hooks(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen = set()

    def hook(name):
        def record(self, *args, **kwargs):
            self.seen.add((name, self.model.optimizer.name, self.params["epochs"]))

        return record

    names = ["on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end"]
    names += ["on_train_end"]
    for name in names:
        setattr(Hooks, name, hook(name))
    model = make_vera()
    model.compile("sgd", keras.optimizers.Adam(name="generators"))
    hooks = Hooks()
    fit(model, [ForOptimizer(hooks, "generator_optimizer")], epochs=1)
    assert hooks.seen == {(name, "generators", 1) for name in names}


def test_for_optimizer_sets_attributes_on_the_model_itself():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = compile_sgd(make_vera())
    history = fit(model, [ForOptimizer(Stop(), "generator_optimizer")])
    assert len(history["loss"]) == 1


def test_for_optimizer_names_an_attribute_that_is_missing():
    plateau = keras.callbacks.ReduceLROnPlateau()
    with pytest.raises(ValueError, match="attribute='critic' for VERA"):
        fit(compile_sgd(make_vera()), [ForOptimizer(plateau, "critic")])


@pytest.mark.parametrize(
    "attribute, averaged, other",
    [
        ("optimizer", "network", "generator"),
        ("generator_optimizer", "generator", "network"),
    ],
)
def test_averaged_weights_take_the_place_of_the_last_ones(attribute, averaged, other):
    plain, steps = compile_sgd(make_vera()), Record()
    fit(plain, [steps], epochs=1)

    model = make_vera()
    optimizers = {
        name: keras.optimizers.SGD(0.1, use_ema=name == attribute, ema_momentum=0.9)
        for name in ("optimizer", "generator_optimizer", "posterior_optimizer")
    }
    model.compile(**optimizers)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    if attribute != "optimizer":
        swap = ForOptimizer(swap, attribute)
    fit(model, [swap], epochs=1)

    assert_same_weights(getattr(model, other), getattr(plain, other))
    # Two steps: the average starts at the weights after the first.
    first, second = (weights[averaged] for weights in steps.batches)
    actual = getattr(model, averaged).get_weights()
    for weights, one, two in zip(actual, first, second, strict=True):
        np.testing.assert_allclose(weights, 0.9 * one + 0.1 * two, atol=1e-6)


class Poison(keras.callbacks.Callback):
    """Makes one log of an epoch infinite."""

    def __init__(self, name, epoch):
        super().__init__()
        self.poisoned = name, epoch

    def on_epoch_end(self, epoch, logs=None):
        name, when = self.poisoned
        if epoch == when:
            logs[name] = float("nan")


@pytest.mark.parametrize("name", ["loss", "posterior_loss", "val_data_energy"])
def test_a_log_that_is_no_number_stops_the_run_and_is_named(name):
    stop = StopOnDivergence()
    history = fit(make_classifier(), [Poison(name, 1), stop], epochs=5)
    assert len(history["loss"]) == 2
    assert f"`{name}` was nan at the end of epoch 2" in stop.reason


def test_a_run_that_really_diverges_is_stopped():
    stop = StopOnDivergence()
    history = fit(make_classifier(1e30), [stop], epochs=10)
    assert len(history["loss"]) < 10
    assert "epoch" in stop.reason


def test_a_healthy_run_is_left_alone():
    stop = StopOnDivergence()
    assert len(fit(make_classifier(), [stop])["loss"]) == 3
    assert stop.reason is None


def test_the_bar_counts_epochs_and_shows_the_logs_that_there_are(capsys):
    bar = Progress(("val_accuracy", "no_such_log"))
    history = fit(make_classifier(), [bar], epochs=2, validation_data=DATA)
    shown = capsys.readouterr().out
    assert "2/2" in shown
    assert f"val_accuracy ↑: {history['val_accuracy'][-1]:.4f}" in shown
    assert "no_such_log" not in shown and "cross_entropy" not in shown


def test_the_bar_says_in_ascii_too_where_a_number_should_go(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    fit(make_classifier(), [Progress(("loss", "data_energy"))], epochs=1)
    sys.stdout.flush()
    shown = sys.stdout.buffer.getvalue().decode("ascii")
    assert "loss (down): " in shown and "data_energy: " in shown


def test_tensorboard_says_how_to_read_the_logs_that_there_are(tmp_path):
    fit(make_classifier(), [ReadingGuide(tmp_path)], epochs=2, validation_data=DATA)
    (path,) = tmp_path.glob("events*")
    (text,) = [
        value.tensor.string_val[0].decode()
        for event in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for value in tf.compat.v1.Event.FromString(event).summary.value
    ]
    names = re.findall(r"^\| `(\w+)` \| (\w*)", text, re.M)
    assert ("accuracy", "higher") in names and ("data_energy", "") in names
    assert "chain_movement" not in dict(names)


def test_every_log_of_every_part_has_its_meaning():
    """Names in the source: of trackers, and of what estimators and chains log."""
    source = "".join(
        p.read_text() for p in Path(keras_ebm.__file__).parent.rglob("*.py")
    )
    calls = re.findall(r"_add_trackers\((\"[^*)]*)\)", source)
    tuples = re.findall(r"log_names = \(([^)]*)\)", source)
    logged = re.findall(r"logs\[\"(\w+)\"\] =", source)
    names = {n for text in (*calls, *tuples) for n in re.findall(r'"(\w+)"', text)}
    names |= set(logged) - {"loss_parts", "loss_rows", "negative_energies"}
    assert len(names) > 20 and names <= set(MEANINGS)


def test_the_bar_of_a_resumed_run_starts_where_the_run_does(capsys):
    bar = Progress(("loss",))
    fit(make_classifier(), [bar], epochs=3, initial_epoch=2)
    shown = capsys.readouterr().out
    assert "3/3" in shown and "1/3" not in shown


def test_energies_out_of_their_range_stop_the_run_within_the_epoch():
    stop = StopOnDivergence({"data_energy": 1e3})
    record = BatchCount()
    fit(make_classifier(1e6), [record, stop], epochs=10)
    assert "`data_energy` was" in stop.reason
    assert "outside its range of -1000 to 1000" in stop.reason
    assert "of epoch 1" in stop.reason and record.count == 2


class BatchCount(keras.callbacks.Callback):
    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


def test_a_limit_must_be_above_0():
    with pytest.raises(ValueError, match=r"limits\['loss'\]` must be a finite number"):
        StopOnDivergence({"loss": 0.0})


def test_the_latest_checkpoints_are_kept_and_can_be_loaded(tmp_path):
    model = make_classifier()
    fit(model, [KeepCheckpoints(tmp_path, every=2, keep=2)], epochs=4)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000006.keras", "step-00000008.keras"]
    last = keras.models.load_model(tmp_path / names[-1])
    assert_same_weights(model, last)
    assert int(last.optimizer.iterations.numpy()) == 8


@pytest.mark.parametrize("arguments", [{"every": 0}, {"keep": 0}])
def test_checkpoints_need_whole_numbers(arguments, tmp_path):
    with pytest.raises(ValueError, match="must be an integer of at least 1"):
        KeepCheckpoints(tmp_path, **arguments)


@pytest.fixture(scope="module")
def vera_logs(tmp_path_factory):
    """A VERA with most of the logs there are, and its logs of one epoch."""
    model = make_vera(
        gradient_penalty=0.1,
        semi_supervised=SemiSupervised(
            pseudo_label_weight=1.0, virtual_adversarial_weight=1.0
        ),
    )
    path = tmp_path_factory.mktemp("best") / "best.weights.h5"
    watches = [
        keras.callbacks.EarlyStopping("val_accuracy"),
        keras.callbacks.ReduceLROnPlateau("val_accuracy"),
        keras.callbacks.ModelCheckpoint(
            path, "val_accuracy", save_best_only=True, save_weights_only=True
        ),
    ]
    history = fit(compile_sgd(model), watches, epochs=2, validation_data=DATA)
    assert all(watch.monitor_op is keras.ops.greater for watch in watches)
    return model, list(history)


DIRECTED = {
    "accuracy": keras.ops.greater,
    "cross_entropy": keras.ops.less,
    "generator_loss": keras.ops.less,
    "loss": keras.ops.less,
    "posterior_loss": keras.ops.less,
    "virtual_adversarial": keras.ops.less,
}


def test_keras_knows_the_direction_of_each_log_that_has_one(vera_logs):
    model, logs = vera_logs
    assert {*DIRECTED} <= {*logs}
    for log in logs:
        watch = keras.callbacks.EarlyStopping(log)
        watch.set_model(model)
        watch.on_train_begin()
        expected = DIRECTED.get(log.removeprefix("val_"))
        if expected is None and log != "learning_rate":
            with pytest.raises(ValueError, match="Pass `mode='max'`"):
                watch.on_epoch_end(0, {log: 1.0})
        elif expected is not None:
            watch.on_epoch_end(0, {log: 1.0})
            assert watch.monitor_op is expected, log


def test_evaluate_lists_each_log_once(vera_logs):
    model, _ = vera_logs
    logs = model.evaluate(DATA, verbose=0, return_dict=True)
    values = model.evaluate(DATA, verbose=0)
    assert values == [logs[name] for name in model.metrics_names if name in logs]


def test_a_classifier_stops_early_by_its_accuracy():
    model = make_classifier(0.0)
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=1)
    history = fit(model, [stop], epochs=5, validation_data=DATA)
    assert len(history["val_accuracy"]) == 2
    assert stop.monitor_op is keras.ops.greater
