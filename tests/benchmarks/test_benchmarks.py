"""The benchmarks, shortened: they run, and their figures hang together."""

import pytest

from benchmarks import (
    continual,
    fine_tuning,
    jem,
    restore,
    serving_latency,
    step_time,
)
from benchmarks.foreign_scores import file_of, tables
from keras_ebm import plots
from keras_ebm.trainers.program.json_files import write_json


def test_the_shares_of_a_step_sum_to_one():
    name = next(iter(step_time.NETWORKS))
    row = step_time.measure(name, blocks=1, steps=3)
    shares = [value for key, value in row.items() if key.startswith("share_")]
    assert sum(shares) == pytest.approx(1.0)
    assert row["milliseconds"]["vera"] > 0.0 and row["ratio"] > 0.0


def test_fine_tuning_is_measured_by_source_and_rule():
    run = fine_tuning.run_one(0, 1, sources=("mixture",), rules=("own",))
    assert run.keys() == {"before", "mixture-own"}
    assert 0.3 < run["mixture-own"]["accuracy"] <= 1.0
    cell = f"{100 * run['mixture-own']['accuracy']:.1f} ± 0.0"
    assert f"| mixture | {cell} |" in fine_tuning.table({"0": run}, "accuracy")


def test_the_latency_of_both_exports_is_measured(tmp_path):
    row = serving_latency.measure((8, 8, 1), batch=2, calls=3, folder=tmp_path)
    assert set(row["microseconds"]) == {"bare", "classifier"}
    assert row["ratio"] > 0.0


def test_the_table_shows_mean_and_spread_over_the_saved_seeds(tmp_path):
    for seed, auroc in enumerate([0.9, 0.8]):
        run = {"accuracy": 0.5, "ece": 0.1, "nll": 1.0, "train_seconds": 2.0}
        run["ood"] = {"holdout": {"energy": [auroc, 0.25]}}
        write_json(file_of(tmp_path, "8 and 9 held out", "plain", seed), run)
    text = tables(tmp_path, seeds=3)
    assert "| energy | 85.0 ± 5.0 / 25.0 ± 0.0 |" in text
    assert "| 8 and 9 held out | plain | 2 | 50.00 ± 0.00 |" in text


def test_the_picture_of_jem_has_a_dot_for_every_run_that_did_not_diverge(tmp_path):
    task = jem.TASKS["cifar10"]
    scores = {"energy": 0.9, "max_softmax": 0.4}
    run = {"accuracy": 0.7, "ece": 0.1, "auroc": dict.fromkeys(task.foreign, scores)}
    first, second, *_ = jem.METHODS
    write_json(jem.file_of(tmp_path, first, 0), run)
    write_json(jem.file_of(tmp_path, first, 1), {**run, "accuracy": 0.6})
    write_json(jem.file_of(tmp_path, second, 0), run)
    write_json(jem.file_of(tmp_path, second, 1), {"diverged": "Training diverged."})

    drawn = jem.figure(tmp_path, task, seeds=2)

    def heights(axis):
        return sorted(y for line in axis.lines for y in line.get_ydata())

    accuracy, _, energy, softmax = drawn.axes
    assert heights(accuracy) == pytest.approx([60, 70, 70])
    count = 3 * len(task.foreign)
    assert heights(energy) == pytest.approx([50, 50] + [90] * count)
    assert heights(softmax) == pytest.approx([40] * count + [50, 50])
    plots.pyplot().close(drawn)


def test_the_table_of_streams_has_a_learner_a_line_and_the_best_first(tmp_path):
    settings = continual.BenchmarkSettings(data_dir="absent", letter="letter.csv")
    order = continual.stream_of("orders", 3, settings).order
    assert sorted(order) == sorted("0123456789")
    assert continual.stream_of("letter", 0, settings).dataset == "csv:letter.csv"

    def run(final):
        figures = {"bytes_per_class": 2e3, "seconds_per_class": 0.5}
        return {"final": final, "seen": [1.0, final], "tasks": [["0"], ["1"]]} | figures

    part = {
        seed: {"lda": run(0.5 + shift), "chains": run(0.8)}
        for seed, shift in (("0", 0.0), ("1", 0.2))
    }
    lines = continual.table(part).splitlines()
    assert lines[2].startswith("| chains, a network a class | 80.0 ± 0.0 | 100.0 | 2 |")
    assert lines[3].startswith("| streaming LDA | 60.0 ± 10.0 |")
    continual.draw(part, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_the_tables_of_restoration_hold_what_was_measured_and_leave_the_rest_empty():
    scores = {"ridge": 20.5, "denoising": 23.0, "denoising_one_chain": 22.0}
    other = {"ridge": 21.5, "denoising": 24.0, "denoising_one_chain": 23.0}
    saved = {"0": {"salt:0.1": scores}, "1": {"salt:0.1": other}}
    lines = restore.image_table(saved).splitlines()
    assert "| ridge (free) | 21.00 |  |  |" in lines
    assert "| the same, one chain | 22.50 |  |  |" in lines
    run = {"error": 0.5, "accuracy": 0.9}
    names = ("energy", "mixture", "iterative", "knn", "mean", "nothing hidden")
    by_seed = {"0": dict.fromkeys(names, run)}
    table = restore.table_of_tables({"letter": {"0.1": by_seed}})
    assert table.splitlines()[-1].startswith("| letter | 0.1 | 0.500 (90.0) |")
