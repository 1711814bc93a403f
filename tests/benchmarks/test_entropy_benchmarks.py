"""The benchmarks of the entropy estimators, shortened."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import (
    entropy_recovery,
    entropy_report,
    entropy_truth,
    estimator_cost,
)
from keras_ebm.entropy import Draw


def drawn(generator, count):
    size = generator.sample_shape[0]
    parts = entropy_truth.mirrored_draws(generator.latent_dim, size, count, seed=5)
    parts = [tf.constant(part) for part in parts]
    return Draw(generator.sample(*parts), *parts)


def test_two_ways_of_the_posterior_mean_agree():
    generator = entropy_truth.random_network(10, 2, seed=0, count=8).generator
    draw = drawn(generator, 50)
    whole = entropy_truth.grid_mean(generator, 200)(draw)
    local = entropy_truth.laplace_mean(generator)(draw)
    error = np.abs(whole - local) / float(generator.stddev)
    # Where the posterior is near normal; a few are far from it.
    assert np.quantile(error, 0.9) < 0.03


def test_neighbours_are_a_partition():
    points = np.random.default_rng(0).normal(size=(100, 2))
    blocks = entropy_truth.neighbours(points, 16)
    assert max(map(len, blocks)) <= 16
    np.testing.assert_array_equal(np.sort(np.concatenate(blocks)), np.arange(100))


def test_a_case_measures_every_estimator_that_serves_it():
    wanted = {"none", "exact linear", "log volume, dense", "importance, 20"}
    setting = entropy_recovery.cases(draws=1024, training_steps=1)
    results = entropy_recovery.run_case(setting["linear, D=20, k=2"], 1, wanted)
    rows = {name: row[0] for name, row in results["estimators"].items()}
    assert set(rows) == wanted
    for name in ("exact linear", "log volume, dense"):
        assert rows[name]["recovery"] == pytest.approx(1.0, abs=1e-3)
        assert rows[name]["cosine"] == pytest.approx(1.0, abs=1e-3)
    # 0.71 by an independent implementation.
    assert rows["importance, 20"]["recovery"] == pytest.approx(0.71, abs=0.06)
    assert rows["importance, 20"]["passes"] == 22
    text = entropy_report.table({"cases": {"linear, D=20, k=2": results}})
    assert "| exact linear | 0 | 1.00 (1.00) | 1.000 (1.000) | 0 |" in text


def test_the_cost_of_an_estimator_is_a_multiple_of_a_step_without():
    settings = estimator_cost.CostSettings(blocks=1, steps=2, width=8)
    rows = estimator_cost.times_of(2, settings)
    assert set(rows) == set(estimator_cost.KINDS)
    assert rows["none"]["times_none"] == rows["plain"]["times_plain"] == 1.0
    growth = estimator_cost.memory_growth("none", 2, 8, 2)
    assert growth >= 0
