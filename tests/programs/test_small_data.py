"""Small tables by the real programs: defaults give way, what was passed does not."""

import dataclasses
import json

import numpy as np
import pytest
from absl import flags

from keras_ebm.data import fingerprint, make_splits
from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.trainers.program import folders
from keras_ebm.trainers.run import defaults
from keras_ebm.trainers.run.record import load_like, recall, write_record
from keras_ebm.trainers.settings.data import DataSettings, RunData, load

SMALL = ("--hidden=16", "--generator_hidden=8", "--tensorboard=false", "--verbose=0")


def table_of(path, count, num_classes):
    """A csv of four columns, whose rows are of each class in turn."""
    y = np.arange(count) % num_classes
    x = np.random.default_rng(count).normal(size=(count, 4)) + y[:, None]
    lines = [
        f"{','.join(f'{v:.4f}' for v in row)},c{k}" for row, k in zip(x, y, strict=True)
    ]
    path.write_text("\n".join(["a,b,c,d,label", *lines]) + "\n")
    return f"csv:{path}"


@pytest.fixture(scope="module")
def tiny(run, tmp_path_factory):
    """Folder of a run of one epoch on twelve rows of five classes, and its stderr."""
    folder = tmp_path_factory.mktemp("tiny")
    spec = table_of(folder / "rows.csv", 12, 5)
    flags = [f"--dataset={spec}", f"--workdir={folder / 'run'}", "--epochs=1", *SMALL]
    code, _, err = run("trainers.vera", *flags)
    assert code == 0, err
    return folder, spec, err


def test_twelve_rows_are_trained_on_by_defaults(tiny):
    folder, _, err = tiny
    assert "batch_size=6, as there are 7 training rows\n" in err
    assert err.count("vera: warning: ") == 1 and "so that their accuracy is not" in err
    # What took the place of a default is what a run again is asked for.
    assert "--batch_size=6\n" in (folder / "run" / "flags.txt").read_text()


def test_what_twelve_rows_are_too_few_for_is_left_out_of_the_evaluation(run, tiny):
    folder, spec, _ = tiny
    model, output = folder / "run" / "model.keras", folder / "evaluation.json"
    code, out, err = run(
        "trainers.evaluate",
        *[f"--model={model}", f"--dataset={spec}", f"--output={output}"],
        *["--ood=noise:uniform", "--resamples=5"],
    )
    assert code == 0, err
    assert "evaluate: warning: score 'knn' is left out: `train['features']`" in err
    results = json.loads(output.read_text())
    scores = results["ood"]["noise:uniform"]
    assert {"energy", "mahalanobis"} <= set(scores) and "knn" not in scores
    assert 0.0 <= results["accuracy"] <= 1.0 and "accuracy" in out


def test_a_default_export_keeps_the_rate_that_its_rows_can(run, tiny):
    folder, spec, _ = tiny
    model, served = folder / "run" / "model.keras", folder / "served"
    flags = [f"--model={model}", f"--calibration={spec}", f"--output={served}"]
    code, out, err = run("export.classifier", *flags)
    assert code == 0, err
    assert err.startswith("classifier: warning: target_fpr is 0.5 in place of 0.01")
    assert "false-alarm rate 0.5 on 1 calibration rows" in out
    answers = folder / "answers.csv"
    code, _, err = run(
        "export.predict",
        *[f"--model={served}", f"--dataset={spec}", f"--output={answers}"],
    )
    assert code == 0, err
    assert len(answers.read_text().splitlines()) == 13


def test_a_rate_that_was_asked_for_is_refused(tiny):
    folder, spec, _ = tiny
    settings = ExportSettings(str(folder / "run" / "model.keras"), spec)
    with pytest.raises(ValueError, match="target_fpr=0.01, which needs 99 rows"):
        fit_detector(dataclasses.replace(settings, target_fpr=0.01))


def test_a_batch_that_was_asked_for_is_refused(run, tiny, tmp_path):
    flags = [f"--dataset={tiny[1]}", f"--workdir={tmp_path / 'run'}"]
    code, _, err = run("trainers.vera", *flags, "--batch_size=64")
    assert code == 2
    assert "vera: error: `batch_size`" in err and "batch_size=64 for 7 rows" in err
    assert not (tmp_path / "run").exists()


def test_a_preset_gives_way_to_sixty_rows_and_few_labels(run, tmp_path):
    spec = table_of(tmp_path / "rows.csv", 60, 5)
    flags = [f"--dataset={spec}", f"--workdir={tmp_path / 'run'}", *SMALL]
    code, _, err = run("trainers.vera", *flags, "--labels_per_class=8", "--steps=3")
    assert code == 0, err
    assert "preset=tabular" in err and "batch_size=38, as" in err
    assert "validate_every=3, as it has to divide the 3 steps\n" in err
    assert err.count("labels_per_class=8 is more labelled rows than") == 1


def test_a_preset_without_classes_keeps_the_last_weights(run, tmp_path):
    spec = table_of(tmp_path / "rows.csv", 40, 2)
    flags = [f"--dataset={spec}", f"--workdir={tmp_path / 'run'}", *SMALL]
    flags += ["--preset=tabular", "--target=", "--ignore_columns=label", "--steps=2"]
    code, _, err = run("trainers.vera", *flags)
    assert code == 0, err
    assert "keep_best=false, as there are no classes" in err


@pytest.fixture
def parse(monkeypatch):
    """Gives the programs flags of these defaults, some of which were passed."""

    def parse_flags(given, *passed):
        values = flags.FlagValues()
        for name, default in given.items():
            kind = flags.DEFINE_integer
            kind = flags.DEFINE_string if isinstance(default, str) else kind
            kind(name, default, "", flag_values=values)
        values(["program", *passed])
        monkeypatch.setattr(defaults, "FLAGS", values)
        return values

    return parse_flags


class Replicas:
    num_replicas_in_sync = 3


@pytest.mark.parametrize(
    "labels, strategy, passed, expected",
    [
        ([0, 1] * 50, None, (), 64),
        ([0, 1] * 20, None, (), 40),
        ([0, 1, 0] * 3, None, (), 8),
        ([0], None, (), 1),
        ([0, -1, 1] * 3, None, (), 8),
        ([0, 1] * 50, Replicas, (), 63),
        ([0, -1] * 50, Replicas, (), 60),
        ([0, 1] * 5, Replicas, (), 6),
        ([0, 1] * 20, None, ("--batch_size=64",), 64),
        ([0, 1] * 50, Replicas, ("--batch_size=64",), 64),
    ],
)
def test_a_default_batch_fits_the_rows_and_the_replicas(
    parse, labels, strategy, passed, expected
):
    values = parse({"batch_size": 64}, *passed)
    defaults.adapt_batch(np.array(labels), strategy)
    assert values.batch_size == expected


@pytest.mark.parametrize(
    "passed, expected",
    [
        ((), (100, 100)),
        (("--batch_size=300",), (300, 300)),
        (("--buffer_size=50",), (50, 50)),
        (("--batch_size=300", "--buffer_size=50"), (300, 50)),
        (("--batch_size=300", "--buffer=none"), (300, 100)),
    ],
)
def test_a_buffer_and_a_batch_give_way_to_what_was_passed(parse, passed, expected):
    values = parse({"batch_size": 100, "buffer_size": 100, "buffer": "ring"}, *passed)
    defaults.adapt_buffer()
    assert (values.batch_size, values.buffer_size) == expected


@pytest.mark.parametrize(
    "total, least, passed, expected",
    [
        (600, 3, (), 100),
        (250, 1, (), 125),
        (90, 3, (), 30),
        (50, 1, (), 50),
        (7, 3, (), 1),
        (250, 1, ("--validate_every=100",), 100),
    ],
)
def test_default_parts_divide_the_steps_that_were_asked_for(
    parse, total, least, passed, expected
):
    values = parse({"validate_every": 100}, *passed)
    defaults.adapt_parts(total, least)
    assert values.validate_every == expected


def test_a_run_of_npz_labels_as_earlier_versions_numbered_them_is_recalled(tmp_path):
    path = tmp_path / "rows.npz"
    y = np.array([1, 2, -1, 2] * 10)
    np.savez(path, x=np.arange(80, dtype=np.float32).reshape(40, 2), y=y)
    settings = DataSettings(dataset=f"npz:{path}")
    now = load(settings)
    assert now.dataset.class_names == ("1", "2")
    then = dataclasses.replace(now.dataset, y=y, class_names=("0", "1", "2"))
    splits = dataclasses.replace(now.splits, fingerprint=fingerprint(then))
    for name, run in (("now", now), ("then", RunData(then, splits, settings))):
        (tmp_path / name).mkdir()
        write_record(run, tmp_path / name)
        recalled = recall(tmp_path / name / folders.MODEL_FILE)
        assert recalled.dataset.class_names == run.dataset.class_names
        np.testing.assert_array_equal(recalled.dataset.y, run.dataset.y)
        other = load_like(tmp_path / name / folders.MODEL_FILE, f"npz:{path}", "")
        np.testing.assert_array_equal(other.y, run.dataset.y)


def test_a_recalled_run_has_the_split_that_it_recorded(tmp_path):
    spec = table_of(tmp_path / "rows.csv", 40, 2)
    loaded = load(DataSettings(dataset=spec))
    other = make_splits(loaded.dataset, seed=5)
    run = dataclasses.replace(loaded, splits=other)
    write_record(run, tmp_path)
    recalled = recall(tmp_path / folders.MODEL_FILE)
    np.testing.assert_array_equal(recalled.splits.train, other.train)
