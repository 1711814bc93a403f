"""The state of a run by name, and the way back from a bad one."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from support import batches, make_network, rows

from keras_ebm.callbacks import Doctor, StopOnDivergence
from keras_ebm.callbacks.doctor_measures import Measures
from keras_ebm.callbacks.doctor_rules import CODES, HEALTHY, RULES, Limit, Rule, find
from keras_ebm.models import EnergyModel, LangevinModel
from keras_ebm.negatives import Jitter, LangevinMoves, MarkovChains
from keras_ebm.schedules import Scaled

ROOT = Path(__file__).parents[2]
X, Y = rows(32)
DATA = batches(X, Y, 8)


def past(limit, amount):
    """A value on the side of the state, or with a negative amount on the other."""
    return limit.value + (amount if limit.side == "above" else -amount)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_holds_past_its_limits_alone_and_as_often_as_it_says(rule):
    bad = {name: past(limit, 0.01) for name, limit in rule.limits.items()}
    examined = [bad] * rule.times
    late = rule.after + 1
    (found,) = find(examined, late, rules=[rule])
    assert found.evidence == bad
    assert not find(examined[1:], late, rules=[rule])
    assert not find(examined, rule.after - 1, rules=[rule])
    assert not find(examined, late, first_step=10, rules=[rule]) or not rule.after
    for name, limit in rule.limits.items():
        good = {**bad, name: past(limit, -0.01)}
        assert not find([*examined[1:], good], late, rules=[rule])
        # Where a measure was not taken, a rule is not applicable.
        del good[name]
        assert not find([*examined[1:], good], late, rules=[rule])


def test_one_more_rule_is_a_line():
    rule = Rule("dull", "energies are alike", {"gap": Limit("below", 1e-3)}, "train")
    (found,) = find([{"gap": 1e-4}], 50, rules=[*RULES, rule])
    assert found.told() == "gap 0.0001, below 0.001"


def chains(step_size=0.05):
    """Chains from the data, in a model of a few dozen weights."""
    source = MarkovChains(
        LangevinMoves(2, step_size, 2.0 * step_size), start="data", start_stddev=0.0
    )
    return LangevinModel(make_network(1), source)


@pytest.fixture(scope="module")
def chain_model():
    model = chains()
    model.compile(keras.optimizers.SGD(1e-3))
    return model, model.get_weights()


def fit(model, doctor, epochs=16, data=DATA, callbacks=()):
    return model.fit(
        data, epochs=epochs, verbose=0, shuffle=False, callbacks=[*callbacks, doctor]
    ).history


def test_a_healthy_run_is_silent_and_trains_as_without_a_doctor(chain_model):
    model, begun = chain_model
    # A warning is an error in these tests.
    history = fit(model, doctor := Doctor(X))
    assert history["doctor"] == [0.0] * 16 and doctor.state == HEALTHY
    assert doctor.report()["findings"] == [] and len(doctor.examinations) == 16
    watched = model.get_weights()
    model.set_weights(begun)
    model.optimizer.iterations.assign(0)
    model.fit(DATA, epochs=16, verbose=0, shuffle=False)
    for one, other in zip(watched, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_frozen_chains_are_told_once_with_evidence_and_the_flag(tmp_path):
    model = chains(1e-9)
    model.compile(keras.optimizers.SGD(1e-3))
    doctor = Doctor(X, path=tmp_path / "doctor.json")
    expected = r"chains_frozen: .* \(chain_reach .*, below 0\.02\); raise --step_size"
    with pytest.warns(UserWarning, match=expected) as told:
        history = fit(model, doctor, epochs=12)
    assert sum("chains_frozen" in str(one.message) for one in told) == 1
    assert history["doctor"][-1] == CODES["chains_frozen"]
    kept = json.loads((tmp_path / "doctor.json").read_text())
    assert kept == doctor.report() and kept["state"] == "chains_frozen"
    first = kept["findings"][0]
    assert first["limits"] == {"chain_reach": "below 0.02"} and first["step"] == 40
    # One finding for all examinations in a row.
    assert len(kept["findings"]) == 1 and first["until_step"] == 48
    assert 0.0 <= first["evidence"]["chain_reach"] < 1e-6


def test_without_rows_only_what_logs_tell_is_looked_for(chain_model):
    model, _ = chain_model
    fit(model, doctor := Doctor(), epochs=2)
    assert set(doctor.examinations[-1]) == {
        "unsound",
        "gap",
        "gap_swing",
        "step",
        "state",
    }


def test_gaps_of_steps_are_taken_out_of_the_means_of_logs(chain_model):
    measures = Measures(chain_model[0])
    gaps = [1.0, 5.0, -3.0, 7.0, 2.0, 2.0]
    for batch in range(6):
        mean = np.mean(gaps[: batch + 1])
        measures.note(batch, {"data_energy": 10.0, "negative_energy": 10.0 + mean})
    found = measures.take({}, 6)
    # Of four entries the root is two.
    assert found["gap"] == pytest.approx(np.mean(gaps) / 2.0)
    line = np.polyval(np.polyfit(range(6), gaps, 1), range(6))
    assert found["gap_swing"] == pytest.approx(np.std(gaps - line) / 2.0)


def test_an_examination_can_come_every_so_many_steps(chain_model):
    model, _ = chain_model
    start = int(model.optimizer.iterations.numpy())
    fit(model, doctor := Doctor(X, every=3), epochs=4)
    steps = [examined["step"] for examined in doctor.examinations]
    assert steps == [n for n in range(start + 1, start + 17) if n % 3 == 0]


def spoiled():
    """Data whose rows are not finite after the first eight steps."""
    x = np.concatenate([X, X, np.full_like(X, np.nan)])
    return batches(x, np.concatenate([Y, Y, Y]), 8).repeat()


@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "schedule"])
def test_a_run_goes_back_at_lower_rates_and_stops_with_the_cause(scheduled):
    rate = 0.01
    if scheduled:
        rate = keras.optimizers.schedules.PiecewiseConstantDecay([4], [0.02, 0.01])
    model = EnergyModel(make_network(1), negatives=Jitter(), objective="logistic")
    model.compile(keras.optimizers.SGD(rate, momentum=0.9))
    kept = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = [variable.numpy() for variable in model.variables]

    watch = StopOnDivergence()
    doctor = Doctor(X, rollback=True, tries=2, factor=0.5, watch=watch)
    with pytest.warns(UserWarning, match="not_finite: .* lower --learning_rate"):
        model.fit(
            spoiled(),
            epochs=9,
            steps_per_epoch=4,
            shuffle=False,
            verbose=0,
            callbacks=[watch, doctor, Keep()],
        )
    # Twice back from the third epoch, which the data spoil anew each time.
    assert_all_equal(kept[2], kept[1])
    report = doctor.report()
    assert [back["to_step"] for back in report["rollbacks"]] == [8, 16]
    assert "loss" in report["findings"][0]["logs"]
    assert "not_finite" in doctor.reason and "2 roll-backs" in doctor.reason
    assert watch.reason == doctor.reason and len(kept) == 9
    np.testing.assert_allclose(model.optimizer.learning_rate, 0.0025)


def assert_all_equal(some, others):
    for one, other in zip(some[1:], others[1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_that_is_continued_takes_up_findings_and_rates(tmp_path):
    path = tmp_path / "doctor.json"
    finding = {"state": "drifting", "epoch": 2}
    later = {"state": "oscillating", "epoch": 5}
    back = {"epoch": 2, "factor": 0.3}
    path.write_text(json.dumps({"findings": [finding, later], "rollbacks": [back]}))
    model = chains()
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 100)
    model.compile(keras.optimizers.SGD(schedule))
    doctor = Doctor(X, path=path, initial_epoch=3)
    doctor.set_model(model)
    doctor.on_train_begin()
    assert doctor.report()["findings"] == [finding]
    np.testing.assert_allclose(model.optimizer.learning_rate, 0.003)


def test_a_scaled_schedule_comes_back_from_its_config():
    schedule = Scaled(keras.optimizers.schedules.CosineDecay(1.0, 10), 0.5)
    again = Scaled.from_config(schedule.get_config())
    np.testing.assert_allclose([again(0), again(5)], [0.5, 0.25], atol=1e-6)


@pytest.mark.parametrize(
    "arguments", [{"every": -1}, {"tries": 0}, {"factor": 1.0}, {"every": 1.5}]
)
def test_an_argument_that_breaks_its_rule_is_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}`"):
        Doctor(X, **arguments)


def test_a_model_without_energies_is_refused():
    with pytest.raises(ValueError, match="use StopOnDivergence"):
        Doctor().set_model(keras.Sequential([keras.Input((2,))]))


def test_the_page_has_a_row_for_each_state():
    page = (ROOT / "docs" / "doctor.md").read_text("utf-8")
    named = re.findall(r"^\| (\d+) \| `(\w+)` \| ([^|]+) \|", page, re.M)
    expected = [
        (
            str(CODES[rule.name]),
            rule.name,
            "; ".join(f"`{name}` {limit}" for name, limit in rule.limits.items()),
        )
        for rule in RULES
    ]
    assert named == expected
