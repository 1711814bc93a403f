"""The benchmark of the input pipeline, in tiny."""

import numpy as np
import pytest

from benchmarks import input_throughput as benchmark


@pytest.fixture
def dataset():
    return benchmark.load("", rows=64)


def test_all_figures_are_measured_and_hang_together(dataset):
    # The one of them whose batches are of another form than most.
    augments = ["crop_flip, keep_plain"]
    results = benchmark.measure(dataset, 4, 1, 2, input_steps=3, augments=augments)
    rates = results["input"] | results["step"]
    assert all(rate["median"] > 0 for rate in rates.values())
    for kind in benchmark.KINDS:
        (name,) = augments
        assert results["headroom"][kind][name] == pytest.approx(
            results["input"][name]["median"] / results["step"][kind]["median"]
        )
        # All of the time at most; no floor, for noise may take any block.
        assert results["wait"][kind][name]["median"] < 1.0


def test_batches_are_those_of_training(dataset):
    for augment, options in benchmark.AUGMENTS.items():
        x, y = next(iter(benchmark.pipeline(dataset, 8, augment)))
        images = x if options.get("keep_plain") else (x,)
        assert y.shape == (8,) and all(part.dtype == np.uint8 for part in images)
        assert all(part.shape == (8, *benchmark.SHAPE) for part in images)


def test_warming_up_is_not_timed():
    watch = benchmark.BatchTimes()
    watch.on_train_begin()
    # Each of the first five batches ends a hundred seconds after the one before.
    watch.ends = [100.0, 200.0, 300.0, 400.0, 500.0, 501.0, 503.0]
    assert watch.seconds == 1.5
