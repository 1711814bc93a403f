"""The mode-counting benchmark, shortened."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import digit_classifier, stacked_mnist
from keras_ebm import metrics

TFDS = Path(__file__).parents[3] / "shared" / "data" / "tfds"
needs_mnist = pytest.mark.skipif(
    not (TFDS / "mnist").is_dir(), reason="needs the MNIST images"
)


@needs_mnist
def test_the_classifier_learns_digits_of_any_size():
    classifier, accuracy = digit_classifier.train_classifier(
        str(TFDS), image_size=16, train_size=3000, epochs=4
    )
    assert accuracy > 0.85
    assert classifier.input_shape == (None, 16, 16, 1)


@needs_mnist
def test_a_short_run_gives_its_measures(monkeypatch):
    monkeypatch.setattr(stacked_mnist, "NUM_ROWS", 300)
    monkeypatch.setattr(stacked_mnist, "NUM_SAMPLES", 500)
    settings = stacked_mnist.BenchmarkSettings(data_dir=str(TFDS), steps=2)
    classifier = digit_classifier.build_classifier(28)
    run, shown = stacked_mnist.run_one("log_volume", 0, settings, classifier)
    assert 1 <= run["modes"] <= 500 and run["kl"] >= 0.0
    assert 0.1 <= run["confidence"] <= 1.0
    assert run["entropy_weight"] == stacked_mnist.METHODS["log_volume"]
    assert shown.shape == (40, 28, 28, 3) and shown.dtype == np.uint8
    real, _ = stacked_mnist.measure_real(settings, classifier)
    assert real["modes"] >= 1


def test_the_table_has_the_worst_seed_and_the_ceiling(tmp_path):
    shown = np.full((40, 28, 28, 3), 200, np.uint8)
    for seed, modes in enumerate([900, 700]):
        run = {"modes": modes, "kl": 1.0 - modes / 1000}
        run |= {"entropy_weight": 0.01, "train_seconds": 90.0, "confidence": 0.75}
        path = stacked_mnist.file_of(tmp_path, "log_volume", seed)
        stacked_mnist.save_run(path, run, shown)
    text = stacked_mnist.table(tmp_path, range(3))
    row = "| log_volume | 0.01 | 2 | 800.0 ± 100.0 | 700 | 0.200 ± 0.100 | 0.300 |"
    assert f"{row} 0.750 | 1.5 |" in text
    ideal = metrics.perfect_sampler(10_000)
    assert f"| perfect sampler | | | {ideal.num_modes:.1f} |" in text
    stacked_mnist.draw_samples(tmp_path, 0)
    assert (tmp_path / "samples.png").stat().st_size > 1000
