"""Every Python snippet of the README and of the site's pages runs.

The blocks of a page run in their order, with the same names, in an empty folder. What a
page leaves to its reader is in `SETUP`, and what would take long is made short by
`SHORTER`. Each entry of these is used, or the test fails.
"""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ebm

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
QUICKSTART = (ROOT / "examples" / "quickstart.py").read_text("utf-8")
#: Snippets that talk to a server, which is not here.
SERVED = "prediction_service_pb2_grpc"


def classifier_of_four(names):
    """What the snippets go on from: a classifier, and rows new to it."""
    names["ebm"] = keras_ebm
    names["known"] = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    names["trained"] = keras.Sequential([keras.Input((4,)), *layers])


SETUP = {"README.md": classifier_of_four}
#: By page, what stands in a snippet and what the test runs in its place.
SHORTER = {
    "docs/classify.md": [("epochs=30, verbose=2", "epochs=15, verbose=0")],
    "docs/tables.md": [
        ("EnergyClassifier(random", "EnergyClassifier(steps=200, random"),
    ],
    "docs/restore.md": [("epochs=30", "epochs=2"), ("filters=(32,)", "filters=(8,)")],
    "docs/robust.md": [
        ("epochs=10", "epochs=4"),
        ("[0.1, 0.2]", "[0.2], num_queries=20"),
    ],
    "docs/trajectories.md": [
        ("num_steps=40", "num_steps=4"),
        ("epochs=5", "epochs=1"),
        ("hidden=(64,))", "hidden=(16,), epochs=2)"),
    ],
}
#: By page, what is asked of the names that its snippets leave.
CHECKS = {}


def check(page):
    """Registers a function on the names of a page."""

    def register(function):
        CHECKS[f"docs/{page}.md" if page != "README" else "README.md"] = function
        return function

    return register


def snippets(page):
    """The blocks that are run here: the quick start's are by `tests/test_readme.py`."""
    found = BLOCK.findall(PAGES[page])
    blocks = [b for b in found if SERVED not in b and not is_of_the_quick_start(b)]
    for old, new in SHORTER.get(page, ()):
        assert any(old in block for block in blocks), (page, old)
        blocks = [block.replace(old, new) for block in blocks]
    return blocks


def is_of_the_quick_start(block):
    return block.split("\n\n")[-1] in QUICKSTART


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)])
def test_the_snippets_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    SETUP.get(page, lambda names: None)(names)
    for number, block in enumerate(snippets(page), 1):
        exec(compile(block, f"{page}, snippet {number}", "exec"), names)
        # What each snippet leaves, as later ones use the names again.
        names.setdefault("seen", []).append(dict(names))
    names["printed"] = capsys.readouterr().out
    CHECKS.get(page, lambda names: None)(names)


def test_all_that_is_said_of_pages_is_of_pages_with_snippets():
    for table in (SETUP, SHORTER, CHECKS):
        assert all(snippets(page) for page in table)
    # The walk finds them.
    assert len([page for page in PAGES if snippets(page)]) > 15


@check("README")
def exported(names):
    known, trained = names["known"], names["trained"]
    decision = names["detector"].predict(known)
    probabilities = trained.predict(known, verbose=0)
    np.testing.assert_allclose(decision["probabilities"], probabilities, atol=1e-6)
    assert np.mean(decision["accept"]) >= 0.95
    assert Path("served", "net", "1", "saved_model.pb").is_file()


@check("classify")
def most_turned_digits_are_refused(names):
    assert names["accuracy"] > 0.9 and names["auroc"] > 0.9


@check("tables")
def few_labels_tell_most(names):
    # A linear rule with all labels is right for .97, and one row in ten has its own.
    assert (names["probabilities"].argmax(axis=1) == names["y"]).mean() > 0.9
    assert names["refused"].mean() > 0.5


@check("anomalies")
def foreign_wines_are_refused_and_explained(names):
    assert names["seen"][0]["refused"].mean() > 0.5
    assert names["nats"].shape == (3, 13)
    assert names["change"].found.numpy().all()
    # Half as much again of every column is no wine of the table.
    assert (names["change"].distance.numpy() > 0.0).all()
    assert (names["change"].rows.numpy()[:, 0] <= 14.0).all()


@check("adopting")
def the_worked_cases_hold(names):
    first, images, table, text, two, batches = names["seen"]
    for case in names["seen"]:
        assert (Path(case["path"]) / "saved_model.pb").is_file()
    (kept,) = Path("features").iterdir()
    assert kept.name.startswith("features-")
    test = images["rows"].test
    served = tf.saved_model.load(images["path"]).signatures["serving_default"]
    answers = served(image=tf.constant(images["images"][test]))
    # A random body tells most digits apart; a guess is right for a tenth of them.
    assert np.mean(answers["class_id"].numpy() == images["data"].y[test]) > 0.5
    # Nobody is 250 years old.
    assert not table["answers"]["accept"].numpy().any()
    assert text["answers"]["accept"].tolist() == [True, False]
    answers, x, y = two["answers"], two["x"], two["y"]
    p = two["trained"].predict(x[500:], verbose=0)[:, 0]
    np.testing.assert_allclose(answers["probabilities"][:, 1], p, atol=1e-6)
    assert np.mean(answers["class_id"] == y[500:]) > 0.9
    assert set(answers["label"]) == {b"malignant", b"benign"}
    count = batches["detector"].conformal.sizes.sum()
    assert count == len(batches["rows"].calibration)
    assert first["detector"].predict(first["known"])["accept"].mean() >= 0.95


@check("drift")
def the_change_is_found_after_it_came(names):
    assert names["printed"].startswith("alarm on day 1")


@check("doctor")
def the_run_has_a_state(names):
    assert names["doctor"].state == "healthy"


@check("negatives")
def shuffled_columns_are_less_likely(names):
    assert names["printed"].strip() == "True"
    assert type(names["model"]).__name__ == "LangevinModel"


@check("restore")
def the_restored_fit_what_is_observed_better_than_it(names):
    assert names["found"].chains.shape == (8, 60, 8, 8, 1)
    assert np.isfinite(names["found"].mean).all()


@check("bounds")
def the_bounds_hold_the_known_value(names):
    exact = 1.5 * np.log(8 * np.pi)
    low, high = names["found"].lower, names["found"].upper
    assert abs(low - exact) < 0.5 and abs(high - exact) < 0.5


@check("refusals")
def known_rows_are_refused_at_the_rate(names):
    assert 0.03 < float(names["printed"].split()[0]) < 0.07


@check("continual")
def most_classes_are_kept(names):
    assert names["result"].final > 0.9
