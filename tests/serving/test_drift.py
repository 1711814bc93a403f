import json

import numpy as np
import pytest

from benchmarks.drift import (
    changed,
    false_alarms,
    first_alarms,
    gaussian,
    p_values,
)
from keras_ebm.ood import ConformalDetector, CrossConformalDetector
from keras_ebm.serving import DriftMonitor, Reference
from keras_ebm.serving.betting import BETS, DEAL, payoffs, stake
from keras_ebm.serving.drift import MOST_POINTS
from keras_ebm.serving.reference import place


@pytest.fixture
def random():
    return np.random.default_rng(0)


def uniform(random, rows, size):
    """p-values of `rows` calibration rows, as evenly spread as can be."""
    return random.integers(1, rows + 2, size) / (rows + 1)


def test_every_bet_is_fair_for_uniform_numbers():
    # The mean of 400,000 midpoints; the densities have poles, where they are cut off.
    u = (np.arange(400_000) + 0.5) / 400_000
    means = payoffs(u).mean(axis=0)
    assert means.shape == (len(BETS),)
    np.testing.assert_allclose(means, 1.0, atol=0.07)
    steep = np.array([min(a, b) < 0.5 for a, b, _ in BETS])
    np.testing.assert_allclose(means[~steep], 1.0, atol=2e-3)


def test_bets_near_the_ends_are_finite_and_never_ruin():
    shares, growth = stake(np.tile(DEAL, (2, 1)), np.array([0.0, 1.0]), 0)
    assert np.isfinite(growth).all()
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0)


def test_ranks_are_uniform_and_independent_of_former_ones(random):
    # The probability of a bin, and so each rank, follows from Polya's urn exactly: of
    # 3 calibration rows and two answers all 20 orders are equally likely.
    reference = Reference.of_rows(3)
    streams, u = 40_000, []
    scores = random.random((streams, 5))
    cumulative = np.tile(reference.cumulative, (streams, 1))
    for time in (3, 4):
        above = (scores[:, :3] >= scores[:, time : time + 1]).sum(axis=1)
        bins = reference.bins((above + 1) / 4)
        u.append(place(cumulative, bins, random.random(streams), False))
    counts = np.histogram2d(*u, bins=5, range=[(0, 1), (0, 1)])[0] / streams
    # Five standard errors of a cell.
    np.testing.assert_allclose(counts, 0.04, atol=5 * np.sqrt(0.04 / streams))


@pytest.mark.parametrize("rows", [1, 7, 200, 10_000])
def test_bins_hold_all_gaps_and_are_narrow_where_p_values_are_small(rows):
    reference = Reference.of_rows(rows)
    assert sum(reference.counts) == rows + 1
    assert reference.counts == tuple(np.diff([*reference.edges, rows + 1]))
    assert len(reference.edges) < 260
    assert reference.counts[0] == 1
    every = (np.arange(rows + 1) + 1) / (rows + 1)
    found = np.bincount(reference.bins(every.astype(np.float32)))
    assert tuple(found) == reference.counts


def test_calibration_rows_of_one_score_share_a_bin():
    reference = Reference.of_scores(np.array([1.0, 1.0, 1.0, 2.0]))
    # Above 2: p = 1/5; up to 2: 2/5; up to 1: 5/5.
    assert (reference.edges, reference.counts) == ((0, 1, 4), (1, 1, 3))
    assert reference.bins(np.array([0.2, 0.4, 1.0])).tolist() == [0, 1, 2]


def test_false_alarms_keep_the_level_where_bets_on_p_values_do_not():
    kept = false_alarms(50, gaussian, streams=300, length=600)["alarms"]
    naive = false_alarms(50, gaussian, streams=300, length=600, naive=True)["alarms"]
    # At most 3 of 300 in expectation, and at most 8 in 99 % of tries.
    assert kept <= 8 < 60 < naive


@pytest.mark.parametrize("kind", ["moved", "far"])
def test_a_change_that_doubles_refusals_is_found_within_500_answers(random, kind):
    for _ in range(5):
        calibration = gaussian(random, (1, 1_000))[0]
        monitor = DriftMonitor(1_000)
        monitor.update(p_values(calibration, gaussian(random, (1, 300))[0]))
        assert not monitor.alarm
        scores = changed(kind, 2.0)(random, (1, 500))[0]
        assert monitor.update(p_values(calibration, scores))
        assert 300 < monitor.alarm_at <= 800


def test_p_values_that_grow_are_a_change_too(random):
    monitor = DriftMonitor(999)
    assert monitor.update(1.0 - 0.5 * uniform(random, 999, 300).round(2))


def test_one_batch_and_many_rows_give_one_state(random):
    p = uniform(random, 99, 900)
    p[5], p[6] = np.nan, 0.0
    accepted, classes = p > 0.05, random.integers(0, 3, 900)
    whole, single = (DriftMonitor(99, class_names="abc", seed=3) for _ in range(2))
    whole.update(p, accepted, classes)
    for row in range(900):
        single.update(p[row : row + 1], accepted[row : row + 1], classes[row : row + 1])
    assert whole.state() == single.state()
    assert whole.answers == 898 and whole.unanswered == 2


def test_a_saved_state_goes_on_as_if_it_had_not_stopped(random, tmp_path):
    p = uniform(random, 99, 700)
    classes = random.integers(0, 2, 700)
    whole = DriftMonitor([99, 99], level=0.05)
    whole.notes = {"owner": "me"}
    whole.update(p, None, classes)
    part = DriftMonitor([99, 99], level=0.05)
    part.notes = {"owner": "me"}
    part.update(p[:333], None, classes[:333])
    part.save(tmp_path / "state.json")
    resumed = DriftMonitor.load(tmp_path / "state.json")
    assert resumed.state() == part.state()
    resumed.update(p[333:], None, classes[333:])
    assert resumed.state() == whole.state()
    resumed.save(tmp_path / "state.json")
    assert (tmp_path / "state.json").stat().st_size < 40_000


def test_the_class_is_what_the_benchmark_simulates(random):
    calibration, scores = gaussian(random, (1, 200))[0], gaussian(random, (1, 900))[0]
    monitor = DriftMonitor(200, seed=5)
    monitor.update(p_values(calibration, scores + 0.4))
    draws = 1.0 - np.random.Generator(np.random.PCG64(5)).random(900)
    reference = Reference.of_rows(200)
    cumulative, shares, capital = reference.cumulative[None], DEAL[None], []
    for time, bin_ in enumerate(reference.bins(p_values(calibration, scores + 0.4))):
        u = place(cumulative, np.array([bin_]), draws[time : time + 1], False)
        shares, growth = stake(shares, u, time)
        capital.append(growth[0])
    total = np.cumsum(capital)
    assert monitor.log_capital == pytest.approx(total[-1])
    assert monitor.alarm_at == first_alarms(total[None])[0] > 0


def test_an_alarm_stays_until_the_next_test_starts(random):
    monitor = DriftMonitor(999)
    monitor.update(np.full(40, 0.001))
    assert monitor.alarm and monitor.update(uniform(random, 999, 2_000))
    monitor.reset()
    assert not monitor.alarm and monitor.answers == 0 and monitor.resets == 1
    assert monitor.log_capital == 0.0 and monitor.draws == 2_040
    assert not monitor.update(uniform(random, 999, 2_000))


def test_rows_without_an_answer_are_counted_apart(random):
    monitor, other = DriftMonitor(99), DriftMonitor(99)
    p = uniform(random, 99, 50)
    monitor.update(np.concatenate([p, np.full(500, np.nan)]), np.ones(550, bool))
    other.update(p, np.ones(50, bool))
    assert monitor.unanswered == 500 and not monitor.alarm
    other.unanswered = 500
    assert monitor.state() == other.state()


def test_within_classes_each_has_its_own_calibration_rows(random):
    scores = np.concatenate([gaussian(random, (1, 400))[0], random.random(100) + 9.0])
    classes = np.repeat([0, 1], [400, 100])
    conformal = ConformalDetector(scores, calibration_classes=classes)
    monitor = DriftMonitor.for_conformal(conformal)
    assert [reference.rows for reference in monitor.references] == [400, 100]
    fresh = np.concatenate([gaussian(random, (1, 600))[0], random.random(600) + 9.0])
    classes = np.repeat([0, 1], 600).astype(np.int32)
    p = conformal.p_value(fresh, classes).numpy()
    assert not monitor.update(p, None, classes)
    shares = monitor.summary()["classes"]
    assert shares["1"]["share"] == 0.5 and shares["1"]["calibration_share"] == 0.2
    assert shares["1"]["interval"][0] > 0.2
    with pytest.raises(ValueError, match="`classes` must be given"):
        monitor.update(p)


def test_without_calibration_rows_a_later_change_is_found(random):
    monitor = DriftMonitor.for_conformal(CrossConformalDetector(100, 10))
    p = random.integers(1, 102, 3_000) / 101
    # Far from uniform, but the same throughout.
    assert not monitor.update(p[:1_000] ** 3)
    assert monitor.update(p[1_000:])


def test_the_refused_share_has_an_interval(random):
    monitor = DriftMonitor(999)
    p = uniform(random, 999, 400)
    monitor.update(p, p > 0.25)
    refused = monitor.summary()["refused"]
    assert refused["count"] == np.sum(p <= 0.25)
    low, high = refused["interval"]
    assert low < 0.25 < high and high - low < 0.2
    # Flags are told of those rows alone that have one.
    monitor.update(p)
    assert monitor.summary()["refused"] == refused
    assert json.dumps(monitor.summary())


def test_the_history_stays_short_and_adds_up(random):
    monitor = DriftMonitor(99)
    p = uniform(random, 99, 2 * MOST_POINTS + 3)
    monitor.update(p, p > 0.1)
    history = monitor.history()
    assert len(history["answers"]) <= MOST_POINTS
    assert history["answers"][-1] == len(p) == sum(history["flagged"])
    assert sum(history["refused"]) == np.sum(p <= 0.1)
    assert max(history["log10_capital"]) == pytest.approx(
        monitor.summary()["log10_highest"]
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        (([0.5, -0.1],), "above 0 and at most 1.*Received: -0.1"),
        (([1.5],), "above 0 and at most 1"),
        (([0.123],), "multiples of 1 / .n . 1. for n = 99. Received: 0.123"),
        (([[0.5]],), "`p_values` must be an array of float64"),
        ((["a"],), "`p_values` must be an array of float64"),
        (([0.5], [True, False]), "`accepted` must have one entry for each of 1"),
        (([0.5], [1.0]), "`accepted` must be an array of bool"),
        (([0.5], None, [2]), "`classes` must be from 0 to 1"),
    ],
)
def test_a_wrong_answer_is_refused_and_nothing_is_counted(arguments, words):
    monitor = DriftMonitor(99, class_names=["a", "b"])
    before = json.dumps(monitor.state())
    with pytest.raises(ValueError, match=words):
        monitor.update(*arguments)
    assert json.dumps(monitor.state()) == before


@pytest.mark.parametrize(
    "keywords, words",
    [
        ({"level": 1.0}, "`level` must be below 1"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"calibration": -1}, "`calibration` must be numbers of rows"),
        ({"calibration": []}, "`calibration` must tell of one class at least"),
        ({"calibration": [9, 9], "class_names": "a"}, "name each of 2 classes"),
    ],
)
def test_a_monitor_says_what_it_cannot_be_made_of(keywords, words):
    with pytest.raises(ValueError, match=words):
        DriftMonitor(**{"calibration": 99, **keywords})


def test_a_state_in_which_anything_was_changed_to_nonsense_is_refused(random):
    monitor = DriftMonitor([99, Reference.of_scores(np.zeros(9))])
    monitor.update(uniform(random, 99, 30), None, np.zeros(30, int))
    state = monitor.state()
    nonsense = (None, "a", -1, [], [-1], {"a": -1}, float("nan"), True, [[]])
    # These may be so.
    good = {"alarm_at": (None,), "class_names": ([],), "notes": ({"a": -1},)}
    good |= {"by_class": (True,), "log_capital": (-1,), "log_highest": (-1,)}
    for name in state:
        for value in nonsense:
            if value in good.get(name, ()):
                continue
            with pytest.raises(ValueError):
                DriftMonitor.from_state({**state, name: value})
    for name in state["history"]:
        for value in nonsense:
            history = {**state["history"], name: value}
            with pytest.raises(ValueError):
                DriftMonitor.from_state({**state, "history": history})


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"format": 1}'])
def test_a_file_that_is_no_state_is_named(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ValueError, match="state.json must be a state of a DriftMon"):
        DriftMonitor.load(tmp_path / "state.json")
