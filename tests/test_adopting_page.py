"""The worked cases of docs/adopting.md run, and do what the page says of them."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

PAGE = (Path(__file__).parents[1] / "docs" / "adopting.md").read_text("utf-8")
CASES = {
    title.split(":")[0]: block
    for title, block in re.findall(
        r"^## ([^\n]+)\n.*?```python\n(.*?)```", PAGE, re.M | re.S
    )
}


@pytest.fixture
def case(tmp_path, monkeypatch):
    """Runs a case in an empty folder; gives its names, and checks its export."""

    def run(title):
        monkeypatch.chdir(tmp_path)
        names = {}
        exec(compile(CASES[title], title, "exec"), names)
        assert (Path(names["path"]) / "saved_model.pb").is_file()
        return names

    return run


def served(names):
    return tf.saved_model.load(str(names["path"])).signatures["serving_default"]


def test_a_frozen_body_and_a_head_leave_as_one_model_of_images(case):
    names = case("An image network")
    (kept,) = Path("features").iterdir()
    assert kept.name.startswith("features-")
    test, images = names["rows"].test, names["images"]
    answers = served(names)(image=tf.constant(images[test]))
    # A random body tells most digits apart; a guess is right for a tenth of them.
    assert np.mean(answers["class_id"].numpy() == names["data"].y[test]) > 0.5


def test_several_inputs_are_asked_by_their_own_names(case):
    names = case("A table and an image")
    # Nobody is 250 years old.
    assert not names["answers"]["accept"].numpy().any()


def test_texts_are_asked_as_they_are(case):
    names = case("Text")
    assert names["answers"]["accept"].tolist() == [True, False]


def test_one_sigmoid_unit_has_two_classes(case):
    names = case("Two classes")
    answers, x, y = names["answers"], names["x"], names["y"]
    p = names["trained"].predict(x[500:], verbose=0)[:, 0]
    np.testing.assert_allclose(answers["probabilities"][:, 1], p, atol=1e-6)
    assert np.mean(answers["class_id"] == y[500:]) > 0.9
    assert set(answers["label"]) == {b"malignant", b"benign"}


def test_batches_calibrate_and_train_on(case):
    names = case("Batches of `tf.data`")
    rows, detector = names["rows"], names["detector"]
    assert detector.conformal.sizes.sum() == len(rows.calibration)
