"""The best weights of a run are kept in a file, and found again by a later run."""

import keras
import numpy as np
import pytest
from support import assert_same_weights, batches, compile_sgd, make_network, make_vera
from support import rows as make_rows

from keras_ebm.callbacks import KeepBest
from keras_ebm.callbacks.epoch_files import epoch_files, read_notes, save_epoch
from keras_ebm.models import EnergyModel

DATA = batches(*make_rows(12), 6)
NAN = float("nan")


def make_model(**optimizer):
    model = EnergyModel(make_network(), energy_weight=0.0)
    model.compile(keras.optimizers.SGD(0.1, **optimizer))
    return model


class Scores(keras.callbacks.Callback):
    """Writes a log of given values, and keeps the weights of each epoch."""

    def __init__(self, values):
        super().__init__()
        self.values, self.weights = values, {}

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.values[epoch]
        self.weights[epoch + 1] = self.model.get_weights()


class Stop(Exception):
    pass


class StopAfter(keras.callbacks.Callback):
    """Ends a fit as a kill does: nothing after this callback runs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epochs:
            raise Stop


def fit(model, best, values, initial_epoch=0, others=()):
    scores = Scores(values)
    model.fit(
        DATA,
        initial_epoch=initial_epoch,
        epochs=len(values),
        callbacks=[scores, best, *others],
        shuffle=False,
        verbose=0,
    )
    return scores.weights


def kept(folder):
    return [epochs for _, epochs in epoch_files(folder)]


@pytest.mark.parametrize(
    "mode, values, expected",
    [
        ("min", [3.0, 1.0, 2.0, 1.0, 1.5], 2),
        ("max", [3.0, 1.0, 2.0, 3.5, 3.0], 4),
        ("max", [NAN, -7.0, NAN], 2),
        ("min", [1.0, 2.0], 1),
    ],
)
def test_a_fit_ends_with_the_weights_of_the_best_epoch(
    mode, values, expected, tmp_path
):
    model, best = make_model(), KeepBest(tmp_path, "score", mode)
    weights = fit(model, best, values)
    for one, other in zip(model.get_weights(), weights[expected], strict=True):
        np.testing.assert_array_equal(one, other)
    assert (best.epoch, best.value) == (expected, values[expected - 1])
    # Each epoch is of two steps.
    assert int(model.optimizer.iterations.numpy()) == 2 * expected


def test_without_a_number_the_last_weights_stay(tmp_path):
    model, best = make_model(), KeepBest(tmp_path / "best", "score")
    weights = fit(model, best, [NAN, NAN])
    for one, other in zip(model.get_weights(), weights[2], strict=True):
        np.testing.assert_array_equal(one, other)
    assert best.epoch is None and not (tmp_path / "best").exists()


def test_every_part_of_the_model_goes_back_to_the_best_epoch(tmp_path):
    whole = compile_sgd(make_vera())
    fit(whole, KeepBest(tmp_path / "whole", "score"), [2.0, 1.0, 3.0])
    short = compile_sgd(make_vera())
    fit(short, KeepBest(tmp_path / "short", "score"), [2.0, 1.0])
    assert_same_weights(whole, short)
    for name in ("optimizer", "generator_optimizer", "posterior_optimizer"):
        assert int(getattr(whole, name).iterations.numpy()) == 4


def test_averaged_weights_are_those_of_the_best_epoch(tmp_path):
    ema = {"use_ema": True, "ema_momentum": 0.9}
    whole, short, last = (make_model(**ema) for _ in range(3))
    fit(whole, KeepBest(tmp_path / "whole", "score"), [2.0, 1.0, 3.0])
    # What `fit` itself makes of averages after two epochs.
    short.fit(DATA, epochs=2, shuffle=False, verbose=0)
    last.fit(DATA, epochs=3, shuffle=False, verbose=0)
    assert_same_weights(whole, short)
    assert not np.array_equal(whole.get_weights()[0], last.get_weights()[0])


@pytest.mark.parametrize("killed_after", range(1, 6))
def test_a_run_continued_from_any_backup_ends_with_the_same_best(
    killed_after, tmp_path
):
    values = [5.0, 4.0, 6.0, 3.0, 2.0, 7.0]
    whole = make_model()
    fit(whole, KeepBest(tmp_path / "whole", "score"), values)
    # Backups may lack the last epoch, and the one before if they are cut off.
    for behind in range(3):
        resumed = max(0, killed_after - behind)
        folder = tmp_path / f"{behind}"
        saved = {}
        with pytest.raises(Stop):
            saver = Backups(saved)
            others = [saver, StopAfter(killed_after)]
            fit(make_model(), KeepBest(folder, "score"), values, 0, others)
        model = make_model()
        if resumed:
            saved[resumed](model)
        best = KeepBest(folder, "score", initial_epoch=resumed)
        assert best.value == min(values[:resumed], default=np.inf)
        fit(model, best, values, resumed)
        assert (best.epoch, best.value) == (5, 2.0)
        assert_same_weights(model, whole)
        assert kept(folder)[0] == 5


class Backups(keras.callbacks.Callback):
    """Functions by epoch that give a model the state after it."""

    def __init__(self, saved):
        super().__init__()
        self.saved = saved

    def on_epoch_end(self, epoch, logs=None):
        weights = self.model.get_weights()
        state = [variable.numpy() for variable in self.model.optimizer.variables]

        def give(model):
            model.set_weights(weights)
            for variable, value in zip(model.optimizer.variables, state, strict=True):
                variable.assign(value)

        self.saved[epoch + 1] = give


def test_a_run_that_was_over_but_for_its_end_gets_its_best(tmp_path):
    model, values = make_model(), [2.0, 1.0, 3.0]
    weights = fit(model, KeepBest(tmp_path, "score"), values)[2]
    late, best = make_model(), KeepBest(tmp_path, "score", initial_epoch=3)
    fit(late, best, values, initial_epoch=3)
    for one, other in zip(late.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_files_of_another_run_do_not_count(tmp_path):
    fit(make_model(), KeepBest(tmp_path, "score"), [1.0, 0.5])
    best = KeepBest(tmp_path, "score")
    fit(make_model(), best, [9.0, 9.5, 9.5])
    assert (best.epoch, best.value) == (1, 9.0) and kept(tmp_path) == [1]


def test_one_callback_serves_two_fits(tmp_path):
    best = KeepBest(tmp_path, "score")
    fit(make_model(), best, [1.0])
    fit(make_model(), best, [2.0])
    assert (best.epoch, best.value) == (1, 2.0)


def test_few_files_stay(tmp_path):
    values = [float(-i) for i in range(6)]
    fit(make_model(), KeepBest(tmp_path, "score"), values)
    assert kept(tmp_path) == [6, 5, 4]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_is_whole_before_it_has_its_name(tmp_path):
    model = make_model()

    class NoSpace(EnergyModel):
        def save_weights(self, filepath, overwrite=True):
            super().save_weights(filepath, overwrite)
            raise OSError("No space left on device")

    full = NoSpace(make_network(seed=5), energy_weight=0.0)
    full.compile("sgd")
    save_epoch(model, tmp_path, 1, value=0.1)
    with pytest.raises(OSError, match="No space"):
        save_epoch(full, tmp_path, 2, value=0.2)
    assert kept(tmp_path) == [1]
    path = save_epoch(model, tmp_path, 3, value=0.1, mode="min")
    assert read_notes(path) == {"value": 0.1, "mode": "min"}
    again = make_model()
    again.network.set_weights([w + 1.0 for w in again.network.get_weights()])
    again.load_weights(path)
    assert_same_weights(again, model)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"mode": "max"}, r"must be those of .*\('score', 'min'\).*mode='max'"),
        ({"monitor": "loss"}, "Received: monitor='loss'"),
    ],
)
def test_a_best_by_another_measure_is_refused(change, match, tmp_path):
    arguments = {"monitor": "score", "mode": "min"}
    fit(make_model(), KeepBest(tmp_path, **arguments), [1.0])
    with pytest.raises(ValueError, match=match):
        KeepBest(tmp_path, **{**arguments, **change}, initial_epoch=1)


def test_a_best_that_is_cut_off_is_refused(tmp_path):
    fit(make_model(), KeepBest(tmp_path, "score"), [1.0])
    path = epoch_files(tmp_path)[0][0]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="epoch-000001.weights.h5, which is cut off"):
        KeepBest(tmp_path, "score", initial_epoch=1)
    KeepBest(tmp_path, "score")


def test_a_mode_or_log_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`mode` must be one of 'min', 'max'"):
        KeepBest(tmp_path, "score", "auto")
    with pytest.raises(ValueError, match="monitor='val_score'; the logs are .*score"):
        fit(make_model(), KeepBest(tmp_path, "val_score"), [1.0])


def test_a_best_goes_back_to_every_replica(strategy, tmp_path):
    with strategy.scope():
        model = make_model()
    weights = fit(model, KeepBest(tmp_path, "score"), [1.0, 2.0])[1]
    for variable, expected in zip(model.network.weights, weights, strict=False):
        for replica in strategy.experimental_local_results(variable.value):
            np.testing.assert_array_equal(replica.numpy(), expected)


@pytest.mark.parametrize(
    "monitor, mode", [("val_accuracy", "max"), ("val_loss", "min"), ("score", "min")]
)
def test_without_a_mode_the_log_says_what_is_best(tmp_path, monitor, mode):
    assert KeepBest(tmp_path, monitor).mode == mode


def test_with_a_tolerance_the_last_that_is_about_as_good_is_kept(tmp_path):
    model = make_model()
    best = KeepBest(tmp_path, "score", "max", tolerance=0.1)
    fit(model, best, [0.5, 0.9, 0.85, 0.2])
    assert (best.epoch, best.value, best.best) == (3, 0.85, 0.9)
    # A run that goes on knows the best, and .79 is close to the kept value alone.
    again = KeepBest(tmp_path, "score", "max", initial_epoch=4, tolerance=0.1)
    assert (again.epoch, again.value, again.best) == (3, 0.85, 0.9)
    fit(model, again, [0, 0, 0, 0, 0.79, 0.81, NAN], initial_epoch=4)
    assert (again.epoch, again.value, again.best) == (6, 0.81, 0.9)
