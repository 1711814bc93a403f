"""`evaluate --compare`: runs side by side, and the differences with intervals."""

import json
import re
import shutil

import numpy as np
import pytest

from keras_ebm import metrics
from keras_ebm.trainers.evaluate import EvaluateSettings
from keras_ebm.trainers.program import keras_files, options
from keras_ebm.trainers.report import side_by_side
from keras_ebm.trainers.run.comparing import ABSENT, check_runs, compare, other_flags
from keras_ebm.trainers.run.record import recall

SETTINGS = EvaluateSettings(scores="energy", resamples=50)


@pytest.fixture(scope="module")
def others(digits, train, tmp_path_factory):
    """A copy of the run on digits, and runs of other weights and of another split."""
    folder = tmp_path_factory.mktemp("others")
    shutil.copytree(digits[0], folder / "copy")
    train(folder / "other", "digits", model={"negatives": "batch"})
    flags = (digits[0] / "flags.txt").read_text().replace("epochs=2", "epochs=1")
    (folder / "other" / "flags.txt").write_text(flags)
    train(folder / "split", "digits", seed=1)
    return {name: str(folder / name) for name in ("copy", "other", "split")}


@pytest.fixture(scope="module")
def compared(digits, others):
    runs = [str(digits[0]), others["copy"], others["other"]]
    return runs, compare(SETTINGS, runs, ["noise:uniform"])


def leaves(values):
    if "low" in values:
        yield values
    else:
        for own in values.values():
            yield from leaves(own)


def test_a_run_and_its_copy_do_not_differ_at_all(compared):
    runs, results = compared
    found = list(leaves(results["differences"][runs[1]]))
    assert results["same_rows"] and len(found) == 4 + 3
    assert all(own == {"value": 0.0, "low": 0.0, "high": 0.0} for own in found)


def test_values_are_the_models_and_their_differences_lie_in_their_intervals(compared):
    runs, results = compared
    first, other = results["runs"][runs[0]], results["runs"][runs[2]]
    model = keras_files.load_model(f"{runs[2]}/model.keras")
    x, y = recall(f"{runs[2]}/model.keras").rows("test")
    correct = model.predict(x, verbose=0).argmax(axis=-1) == y
    assert other["accuracy"] == np.mean(correct)
    apart = results["differences"][runs[2]]
    assert apart["accuracy"]["value"] == other["accuracy"] - first["accuracy"]
    for own in leaves(apart):
        assert own["low"] <= own["value"] <= own["high"]


def test_runs_of_other_splits_are_resampled_apart(digits, others):
    results = compare(SETTINGS, [str(digits[0]), others["split"]], [])
    assert not results["same_rows"] and results["flags"][others["split"]] == {}
    found = results["differences"][others["split"]]["accuracy"]
    assert found["low"] < found["value"] < found["high"]
    assert "test rows of its own" in side_by_side.text(results)


def test_resamples_are_those_of_the_report():
    rng = np.random.default_rng(0)
    known, foreign = rng.normal(size=60), rng.normal(1.0, size=40)
    drawn = metrics.resampled_detection(known, foreign, num_resamples=30, seed=4)
    report = metrics.detection_report(known, foreign, num_resamples=30, seed=4)
    for name, values in drawn.items():
        assert values.shape == (30,)
        low, high = np.quantile(values, [0.025, 0.975])
        assert (low, high) == (report[name]["low"], report[name]["high"])


def test_the_program_prints_and_writes_all_of_it(run, digits, others, tmp_path):
    runs = [str(digits[0]), others["other"]]
    written = [f"--output={tmp_path / 'c.json'}", f"--report={tmp_path / 'c.html'}"]
    flags = ["--compare", *runs, "--resamples=20", *written]
    code, out, err = run("trainers.evaluate", *flags)
    assert (code, err) == (0, "")
    results = json.loads((tmp_path / "c.json").read_text())
    assert list(results["runs"]) == runs
    value = results["differences"][runs[1]]["accuracy"]["value"]
    assert re.search(rf"^accuracy .* {value:+.4f} \[", out, re.M)
    # Nothing of the folders, which are others for every two runs.
    assert re.search(r"not the same\n--epochs +2 +1$", out, re.M)
    page = (tmp_path / "c.html").read_text("utf-8")
    assert f'<data value="{value!r}">{value:.4f}</data>' in page
    assert "<thead>" in page and "http" not in page


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--compare", "{run}"], "at least two runs, each once"),
        (["--compare", "{run}", "{run}/model.keras"], "each once"),
        (["--compare", "{run}", "nowhere"], "nowhere, where there is no model.keras"),
        (["--compare", "{run}", "{table}"], "runs of the same classes"),
        (["--compare", "{run}", "{copy}", "--model=x"], "--model has no effect with"),
        (["--output=y", "--compare"], "--compare must have a value"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    run, digits, others, table, tmp_path, arguments, message
):
    names = {"run": digits[0], "table": table[0], **others}
    given = [argument.format(**names) for argument in arguments]
    code, _, err = run("trainers.evaluate", f"--output={tmp_path}/c.json", *given)
    assert code == 2 and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_runs_of_other_data_need_rows_for_both(digits, train, tmp_path):
    rng = np.random.default_rng(0)
    rows = {"x": rng.integers(0, 255, (60, 8, 8, 1), "uint8"), "y": np.arange(60) % 10}
    np.savez(tmp_path / "rows.npz", **rows)
    spec = f"npz:{tmp_path / 'rows.npz'}"
    train(tmp_path / "run", spec, fit={"batch_size": 16})
    runs = [str(digits[0]), str(tmp_path / "run")]
    with pytest.raises(ValueError, match="the same data.* give rows for both by --dat"):
        check_runs(runs)
    assert len(check_runs(runs, spec)) == 2


def test_switches_are_told_from_flags_whose_names_begin_alike(tmp_path):
    texts = {"a": "--noise_first\n--nofit_temperature\n", "b": "--fit_temperature\n"}
    for run, text in texts.items():
        (tmp_path / run).mkdir()
        (tmp_path / run / "flags.txt").write_text(text)
    found = other_flags({run: f"{tmp_path / run}/model.keras" for run in texts})
    assert found == {
        "a": {"noise_first": "true", "fit_temperature": "false"},
        "b": {"noise_first": ABSENT, "fit_temperature": "true"},
    }


@pytest.mark.parametrize(
    "given, expected",
    [
        (["--compare", "a", "b", "--x=1"], ["--compare=a", "--compare=b", "--x=1"]),
        (["--y", "c", "--compare", "a"], ["--y", "c", "--compare=a"]),
        (["--compare=a", "b"], ["--compare=a", "b"]),
        (["--compare", "--x"], ["--x", "--compare"]),
    ],
)
def test_a_flag_takes_what_follows_it(given, expected):
    assert options.spread(given, "compare") == expected
