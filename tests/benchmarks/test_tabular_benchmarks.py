"""The benchmarks of tables, shortened: they run, and their figures hang together."""

import gzip

import numpy as np
import pytest

from benchmarks import anomaly, missing, sureness, tabular
from keras_ebm.metrics import negative_log_likelihood
from keras_ebm.trainers.program.json_files import write_json


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with `easy.csv.gz`: 400 rows of three classes far apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    x = rng.normal(4.0 * y[:, None], 1.0, (400, 3))
    lines = ["a,b,c,class"]
    lines += [f"{a:.4f},{b:.4f},{c:.4f},{k}" for (a, b, c), k in zip(x, y, strict=True)]
    folder = tmp_path_factory.mktemp("tables")
    with gzip.open(folder / "easy.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(tabular, "STEPS", 40)
    monkeypatch.setattr(tabular, "EVERY", 20)
    monkeypatch.setattr(tabular, "ROUNDS", 2)
    monkeypatch.setitem(tabular.presets.TABULAR, "hidden", ("16",))
    monkeypatch.setitem(tabular.presets.TABULAR, "generator_hidden", ("8",))
    # An average that so few steps can fill.
    monkeypatch.setitem(tabular.presets.TABULAR, "ema_momentum", 0.5)
    monkeypatch.setitem(tabular.presets.TABULAR, "learning_rate", 0.01)


def test_the_split_is_the_plain_protocol(tables):
    rows = tabular.load(tables / "easy.csv.gz", seed=3)
    order = np.random.default_rng(3).permutation(400)
    np.testing.assert_array_equal(rows.train, order[:280])
    np.testing.assert_array_equal(rows.validation, order[280:320])
    np.testing.assert_array_equal(rows.test, order[320:])
    labels = rows.few_labels()
    assert np.bincount(labels[labels >= 0]).tolist() == [10] * 3
    _, truth = rows.of("train")
    for code in range(3):
        first = np.flatnonzero(truth == code)[:10]
        np.testing.assert_array_equal(np.flatnonzero(labels == code), first)


@pytest.mark.parametrize("method", ["vera", "self_training", "svm"])
def test_a_method_is_measured_as_chosen_and_as_fixed(tables, short, method):
    settings = tabular.TabularSettings(data_dir=str(tables))
    results = tabular.run_one(method, "easy", 0, settings)
    steps = [results[transform] for transform in tabular.TRANSFORMS]
    # 40 steps, looked at after every 20: of self-training two rounds of 20. The SVM has
    # three costs and three widths.
    assert [len(each) for each in steps] == ([9, 9] if method == "svm" else [2, 2])
    best = max(step["validation"] for each in steps for step in each)
    chosen = [s["test"] for each in steps for s in each if s["validation"] == best]
    assert results["accuracy"]["chosen"] == chosen[0]
    assert results["accuracy"]["fixed"] == steps[0][-1]["test"]
    assert results["accuracy"]["chosen"] > 0.9  # Classes are 7 deviations apart.
    if method == "vera":
        low, high = results["false_alarms"]["band"]
        share = results["false_alarms"]["share"]
        assert results["false_alarms"]["inside"] == (low <= share <= high)


def test_the_alternatives_tell_classes_that_are_far_apart(tables):
    rows = tabular.load(tables / "easy.csv.gz", seed=0)
    truth = rows.of("test")[1]
    for method in tabular.scikit_tables.FITS:
        guesses = tabular.fit_scikit(rows, method, "standardise")
        accuracies = [np.mean(test == truth) for _, test in guesses]
        # Classes are 7 deviations apart; a tree of one cut may put it anywhere between.
        assert accuracies[-1] > 0.9 and max(accuracies) > 0.95, method


def test_the_table_shows_means_over_seeds_and_sets(tmp_path):
    sets = ("one", "two")
    for place, name in enumerate(sets):
        for seed in range(2):
            accuracy = {"chosen": 0.5 + 0.1 * place + 0.02 * seed, "fixed": 0.0}
            path = tabular.file_of(tmp_path, "vera", name, seed)
            write_json(path, {"accuracy": accuracy})
    # A seed of which one set is missing does not count.
    write_json(
        tabular.file_of(tmp_path, "vera", "one", 2),
        {"accuracy": {"chosen": 1.0, "fixed": 1.0}},
    )
    text = tabular.table(tmp_path, sets, 3, "accuracy", "chosen")
    assert "| VERA-JEM | 2 | 51.0 ± 1.0 | 61.0 ± 1.0 | **56.0** ± 1.0 |" in text


def test_anomalies_are_measured_by_every_score(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(600, 4)), rng.normal(6.0, 1.0, (40, 4))])
    y = np.repeat([0, 1], [600, 40])
    np.savez(tmp_path / "0_far.npz", X=x, y=y)
    train, test, truth = anomaly.load(tmp_path / "0_far.npz", seed=1)
    order = np.random.default_rng(1).permutation(600)
    np.testing.assert_array_equal(train, x[:600][order[:300]].astype(np.float32))
    assert len(test) == 340 and truth.sum() == 40
    monkeypatch.setattr(anomaly, "SMALL", (60,))
    settings = anomaly.AnomalySettings(data_dir=str(tmp_path), energy=False)
    results = anomaly.run_one("0_far", 0, settings)
    with_network = {name for name in anomaly.SCORES if "energy" in name}
    assert results["auroc"].keys() == anomaly.SCORES.keys() - with_network
    small = results["small"]["60"]
    assert small["auroc"].keys() == anomaly.SMALL_SCORES.keys()
    assert min(small["auroc"].values()) > 0.99
    assert small["decisions"]["cross"]["found"] == 1.0
    # Twelve standard deviations away in all: every score finds them.
    assert min(results["auroc"].values()) > 0.99
    write_json(anomaly.file_of(tmp_path, "0_far", 0), results)
    text = anomaly.table(tmp_path, ("0_far",), 1, "aupr")
    assert "| far | mean |" in text and text.count("100.0") >= 5
    text = anomaly.decisions_table(tmp_path, ("0_far",), 1)
    assert "| 60 rows, cross: false_alarm_bound | 11.1 ± 0.0 |" in text


def test_gaps_are_learnt_and_filled(tables):
    rows = tabular.load(tables / "easy.csv.gz", seed=0)
    gaps = missing.with_gaps(rows.dataset.x, 0.3, 0)
    assert abs(np.isnan(gaps).mean() - 0.3) < 5 * np.sqrt(0.21 / gaps.size)
    found = missing.accuracies(rows, 0.1, 0, steps=60)
    assert tuple(found) == missing.WAYS
    assert found["complete"] > 0.9 and min(found.values()) > 0.7


def test_sureness_is_measured_before_and_after(tables, short):
    rows = tabular.load(tables / "easy.csv.gz", seed=0)
    model, _ = tabular.fit(rows, rows.few_labels(), "vera", "quantile", 0, 40)
    found = sureness.measure(model, rows)
    assert (model.temperature, model.lapse_rate) == (
        found["temperature"],
        found["lapse_rate"],
    )
    x, y = rows.of("test")
    nll = negative_log_likelihood(model.probabilities(x).numpy(), y)
    assert found["nll"][1] == pytest.approx(nll, rel=1e-4)
    before = negative_log_likelihood(model.logits(x).numpy(), y, from_logits=True)
    assert found["nll"][0] == pytest.approx(before, rel=1e-4)
