"""`trainers.continual`, as a program and by its function."""

import json

import numpy as np
import pytest

from keras_ebm.data import Dataset
from keras_ebm.trainers.continual import (
    StreamSettings,
    dry_run,
    learn_stream,
    stream_shape,
    write,
)
from keras_ebm.trainers.run.dry_run import KNOWN
from keras_ebm.trainers.settings.continual import (
    LEARNERS,
    PRESETS,
    LearnerSettings,
    StreamShape,
    build_learner,
)
from keras_ebm.trainers.settings.data import DataSettings, load


@pytest.fixture(scope="module")
def digits_run(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    flags = ["--dataset=digits", "--methods=gaussian,nearest_mean", "--rows=600"]
    order = "--order=9,8,7,6,5,4,3,2,1,0"
    return folder, run("trainers.continual", *flags, order, f"--output={folder}")


def test_the_program_writes_what_is_known_after_each_task(digits_run):
    folder, (code, out, err) = digits_run
    assert (code, err) == (0, "")
    found = json.loads((folder / "results.json").read_text())
    assert found["tasks"][0] == ["9", "8"] and found["rows"] == 600
    assert (folder / "picture.png").read_bytes()[:4] == b"\x89PNG"
    means, gaussian = (found["methods"][k] for k in ("nearest_mean", "gaussian"))
    assert means["final"] > 0.8 and gaussian["final"] > 0.9 and "nearest_mean" in out
    # One mean of 64 pixels a class, in float32.
    assert means["bytes_per_class"] == 256
    assert [len(row) for row in means["accuracy"]] == [1, 2, 3, 4, 5]
    assert sum(means["rows"]) == 600 and means["looks_once"]


def test_the_function_gives_the_figures_of_the_program(digits_run):
    found = json.loads((digits_run[0] / "results.json").read_text())
    order = tuple("9876543210")
    stream = StreamSettings(dataset="digits", rows=600, order=order)
    again = learn_stream(stream, LearnerSettings(methods=("nearest_mean",)))
    expected = found["methods"]["nearest_mean"]["accuracy"]
    assert again["methods"]["nearest_mean"]["accuracy"] == expected


def test_a_table_is_learnt_standardised_by_its_first_task(tmp_path, write_table):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 2)) + 5.0 * np.stack([y == 1, y == 2], axis=1)
    rows = [[*map(str, cells), f"c{k}"] for cells, k in zip(1e4 * x, y, strict=True)]
    write_table(tmp_path / "rows.csv", rows, ["one", "two", "class"])
    stream = StreamSettings(f"csv:{tmp_path}/rows.csv", measured_on="validation")
    settings = LearnerSettings(methods=("mixture", "lda"), components=1)
    found = learn_stream(stream, settings)
    assert found["tasks"] == [["c0", "c1"], ["c2"]]
    assert all(values["final"] > 0.9 for values in found["methods"].values())
    write(found, tmp_path / "new")
    assert (tmp_path / "new" / "picture.png").exists()


@pytest.mark.parametrize("method", LEARNERS)
@pytest.mark.parametrize("shape, image", [((8, 8, 1), True), ((5,), False)])
def test_every_learner_is_built_for_images_and_for_columns(method, shape, image):
    settings = LearnerSettings(methods=(method,), random_features=10)
    assert build_learner(method, settings, StreamShape(shape, 3, image)).classes == []


def test_a_dry_run_learns_a_batch_without_the_data():
    assert PRESETS["igebm_split_mnist"]["dataset"] in KNOWN
    stream = StreamSettings(dataset="tfds:mnist", data_dir="absent")
    settings = LearnerSettings(
        methods=("chains", "shared_chains"), num_steps=2, batch_size=4, hidden=("8",)
    )
    cost = dry_run(stream, settings)
    # 784 inputs, 8 hidden units and an output, with biases, for two classes.
    assert cost["chains"]["bytes"] == 2 * (4 * (785 * 8 + 9) + 16)
    assert cost["shared_chains"]["seconds"] > 0


@pytest.mark.parametrize(
    "values, words",
    [
        ({"methods": ()}, "`methods` must be of density"),
        ({"methods": ("lda", "lda")}, "each once. Received: methods=lda,lda"),
        ({"methods": ("vae",)}, "Received: methods=vae"),
        ({"hidden": ("0",)}, "Received: hidden=0"),
        ({"hidden": ("wide",)}, "`hidden` must be integers"),
    ],
)
def test_learners_that_are_none_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        LearnerSettings(**values)


def test_words_and_rows_without_classes_are_refused(tmp_path, write_table):
    rows = [["1", "2", "a", "x"], ["3", "4", "b", "y"]] * 20
    write_table(tmp_path / "words.csv", rows)
    run = load(DataSettings(f"csv:{tmp_path}/words.csv"))
    with pytest.raises(ValueError, match="with words in column 'bought'"):
        stream_shape(run)
    with pytest.raises(ValueError, match="must have classes"):
        stream_shape(load(DataSettings("toy:rings", toy_rows=100)))
    assert isinstance(run.dataset, Dataset)


def test_results_are_not_written_over_the_data(run, tmp_path):
    (tmp_path / "results.json").write_text("a,b\n1,x\n")
    flags = [f"--dataset=csv:{tmp_path}/results.json", f"--output={tmp_path}"]
    code, _, err = run("trainers.continual", *flags)
    assert code == 2 and "must be another file than" in err, err
    assert (tmp_path / "results.json").read_text() == "a,b\n1,x\n"
