"""Each example of the gallery in a small form, and the page that shows them."""

import ast
import importlib
import json
import re
import struct
from pathlib import Path

import pytest

from examples import gallery

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text("utf-8")
PICTURES = ROOT / "docs" / "gallery"
MOST_LINES = 80
MOST_BYTES = 150_000

#: Arguments of the small form, and what has to be true of what it returns.
SMALL = {
    "anomalies": (
        {"steps": 60},
        lambda found: (
            # A bare guess at the rate would refuse 5 % of either.
            found["refused of malignant rows"] > 0.4
            and found["refused of benign test rows"] < 0.25
            and found["found"]
            and abs(found["error"]) < 0.5
        ),
    ),
    "chains": (
        {"epochs": 3},
        lambda found: (
            found["accuracy"] > 0.7 and found["samples"] < found["where chains start"]
        ),
    ),
    "composition": (
        {"epochs": 5, "num_steps": 60},
        lambda found: (
            # Shares in the ring and in the stripe.
            min(found["ring and stripe"]) > 0.7
            and found["ring, not stripe"][1] < found["ring"][1] - 0.05
            and 0.2 < found["ring or stripe"][0] < 0.95
        ),
    ),
    "densities": (
        {"steps": 200, "width": 64},
        lambda found: (
            found["nats lost to the true density"] < found["nats lost by one Gaussian"]
        ),
    ),
    "digits": (
        {"epochs": 4},
        lambda found: found["noise"] > 0.5 and found["accuracy"] > 0.7,
    ),
    "drift": (
        {},
        lambda found: (
            600 < found["alarm_at"] < 800 and found["after"] < 0.5 * found["before"]
        ),
    ),
    "few_labels": (
        {"steps": 60},
        lambda found: found["EnergyClassifier"] > 0.8,
    ),
    "image_and_table": (
        {"epochs": 10},
        lambda found: (
            found["noise"] > 0.9
            and found["wrong pen"] > 0.5
            and found["accuracy"] > 0.8
        ),
    ),
    "new_classes": (
        {"epochs": 2},
        lambda found: (
            found["a mixture a class"] > 0.9 and found["a classifier, trained on"] < 0.5
        ),
    ),
    "nice_flow": (
        {"epochs": 4, "width": 64},
        # A standard normal of standardised logits would be some -90.
        lambda found: found["NICE"] > -75.0,
    ),
    "own_network": (
        {"epochs": 4},
        lambda found: found["refused"] > 0.5 and found["accuracy"] > 0.85,
    ),
    "restoration": (
        {"epochs": 6, "num_walks": 1, "num_chains": 2},
        lambda found: found["mean of 2 chains"] > found["left black"] + 3.0,
    ),
    "rollouts": (
        {"episodes": 150, "epochs": 15},
        lambda found: (
            found["pushes below 0.1, energy"]
            < 0.6 * found["pushes below 0.1, Gaussian"]
        ),
    ),
    "text": (
        {"epochs": 4, "count": 400},
        lambda found: found["films, in German"] > 0.9 and found["accuracy"] > 0.9,
    ),
    "tuning": (
        {"trials": 1, "epochs": 2},
        lambda found: found["trials"] == 1 and found["accuracy"] > 0.3,
    ),
}


#: keras-tuner uses old names of `threading`.
OLD_NAMES = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=OLD_NAMES if name == "tuning" else ())
        for name in sorted(SMALL)
    ],
)
def test_an_example_runs_and_shows_what_it_says(name, tmp_path, capsys):
    arguments, is_shown = SMALL[name]
    example = importlib.import_module(f"examples.{name}")
    found = example.main(str(tmp_path), **arguments)
    assert is_shown(found), found
    assert_is_a_picture(tmp_path / f"{name}.png")
    assert capsys.readouterr().out.strip()


def test_two_workers_report_the_losses_of_one_process(start, tmp_path):
    from examples import two_workers

    def forked(config, *flags):
        # A process of its own as well, which does not import TensorFlow anew.
        return start("examples.two_workers", *flags, TF_CONFIG=config)

    found = two_workers.main(str(tmp_path), epochs=2, start=forked)
    assert found["worker 0"] == found["worker 1"]
    assert found["worker 0"] == pytest.approx(found["one process"], rel=1e-3)
    assert found["one process"][1] < found["one process"][0]
    assert_is_a_picture(tmp_path / "two_workers.png")


def assert_is_a_picture(path: Path) -> None:
    """It is a PNG, as wide as a page, and no file that slows one down."""
    start = path.read_bytes()[:24]
    assert start[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", start[16:])
    assert 700 <= width <= 1100 and height <= width
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", gallery.names())
def test_an_example_is_short_and_says_what_it_is(name):
    source = (ROOT / "examples" / f"{name}.py").read_text("utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    docstring = ast.get_docstring(ast.parse(source))
    assert f"python examples/{name}.py [FOLDER]" in docstring
    assert re.search(r"\b(minutes?|seconds?)\b", docstring)
    assert "trainers" not in source


def test_every_example_is_tested():
    assert sorted([*SMALL, "two_workers"]) == gallery.names()


def sections() -> dict[str, str]:
    """The page's sections by the example that each includes."""
    parts = re.split(r"^## ", PAGE, flags=re.M)[1:]
    named = [re.findall(r'--8<-- "examples/(\w+)\.py"', part) for part in parts]
    assert all(len(names) == 1 for names in named), named
    return {names[0]: part for names, part in zip(named, parts, strict=True)}


def test_the_page_shows_every_example_with_its_picture_and_source():
    found = sections()
    assert sorted(found) == gallery.names()
    assert {path.stem for path in PICTURES.glob("*.png")} == set(found)
    for name, text in found.items():
        (alt,) = re.findall(rf"!\[([^]]+)\]\(gallery/{name}\.png\)", text)
        assert len(alt.split()) > 4
        assert_is_a_picture(PICTURES / f"{name}.png")


def test_the_page_says_what_the_kept_run_printed_and_how_long_it_took():
    kept = json.loads((PICTURES / "gallery.json").read_text("utf-8"))
    assert sorted(kept) == gallery.names()
    for name, text in sections().items():
        assert f"{kept[name]['seconds']} seconds" in text, name
        (printed,) = re.findall(r"```text\n(.*?)\n```", text, re.S)
        assert printed.splitlines() == kept[name]["printed"], name
