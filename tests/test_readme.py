"""What the README tells a reader to type is what runs."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import keras_ebm
from keras_ebm import data
from keras_ebm.trainers.presets import (
    LANGEVIN_PRESETS,
    LIKELIHOOD_PRESETS,
    VERA_PRESETS,
)
from keras_ebm.trainers.program.options import choices_of
from keras_ebm.trainers.settings.generator import SamplingSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text("utf-8")
QUICKSTART = (ROOT / "examples" / "quickstart.py").read_text("utf-8")


def section(name: str) -> str:
    """Lines of the quick start between `# [name]` and the next such mark."""
    return re.search(rf"# \[{name}\]\n(.*?)# \[", QUICKSTART, re.S).group(1)


def test_the_readme_shows_the_quick_start_word_for_word():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert any(section("detector") in block for block in blocks)
    assert any(section("export") in block for block in blocks)


def test_the_quick_start_runs_and_knows_most_test_digits(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    accuracy = float(re.search(r"accuracy ([\d.]+)%", done.stdout).group(1))
    # Five seeds gave 96 to 98 %; a plain guess is right for 10 %.
    assert accuracy > 90.0
    assert (tmp_path / "served" / "digits" / "1" / "saved_model.pb").is_file()


def test_every_flag_in_the_readme_exists(run):
    lines = (README + RESULTS).replace("\\\n", " ")
    commands = re.findall(r"python -m ((?:trainers|export)\.\w+)([^\n]*)", lines)
    assert len(commands) >= 3
    named = {}
    for module, arguments in commands:
        named.setdefault(module, set()).update(re.findall(r"--(\w+)", arguments))
    for module, flags in named.items():
        _, out, _ = run(module, "--help")
        known = set(re.findall(r"--(?:\[no\])?(\w+):", out))
        assert flags <= known, module


def test_the_readme_lists_every_entropy_estimator():
    rows = re.findall(r"^\| `(\w+)` \|", README.split("| `--entropy` |")[1], re.M)
    choices = choices_of(SamplingSettings, "entropy")
    assert tuple(rows[: len(choices)]) == choices


def test_the_readme_names_every_data_source():
    (line,) = re.findall(r"^- Data: (.*?)^- ", README, re.M | re.S)
    named = {data.parse_spec(text).source for text in re.findall(r"`([^`]+)`", line)}
    assert set(data.SOURCES) <= named


def test_the_readmes_chains_are_a_model():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    block = next(block for block in blocks if "LangevinModel(" in block)
    names = {}
    exec(block, names)
    assert type(names["model"]).__name__ == "LangevinModel"


def test_the_readmes_trained_classifier_gets_a_decision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    known = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    heads = [keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    trained = keras.Sequential([keras.Input((4,)), *heads])
    names = {"ebm": keras_ebm, "trained": trained, "known": known}
    exec(next(block for block in blocks if "from_classifier(" in block), names)
    decision = names["detector"].predict(known)
    np.testing.assert_allclose(
        decision["probabilities"], trained.predict(known, verbose=0), atol=1e-6
    )
    assert np.mean(decision["accept"]) >= 0.95
    assert (tmp_path / "served" / "net" / "1" / "saved_model.pb").is_file()


def test_the_readmes_explanations_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(next(block for block in blocks if "Explainer.for_detector(" in block), names)
    assert names["nats"].shape == (3, 13)
    assert names["change"].found.numpy().all()
    # Half as much again of every column is no wine of the table.
    assert (names["change"].distance.numpy() > 0.0).all()
    assert (names["change"].rows.numpy()[:, 0] <= 14.0).all()


def test_the_readmes_estimators_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    block = next(block for block in blocks if "EnergyClassifier(" in block)
    # A fraction of the default steps, as this is no test of accuracy.
    for name in ("EnergyClassifier(", "EnergyOutlierDetector("):
        block = block.replace(name, f"{name}steps=300, ")
    exec(block, names)
    accuracy = (names["probabilities"].argmax(axis=1) == names["y"]).mean()
    # A linear rule with all labels is right for .97, and one row in ten has its own.
    assert accuracy > 0.9
    assert names["refused"].mean() > 0.5


def test_every_preset_that_the_readme_names_exists():
    named = re.search(r"`--preset=` takes(.*?)Every value", README, re.S).group(1)
    names = set(re.findall(r"\w+", named))
    known = {*VERA_PRESETS, *LANGEVIN_PRESETS, *LIKELIHOOD_PRESETS}
    assert known <= names


def places_of(text: str) -> set[str]:
    """What links may name of a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^##+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


def test_every_link_leads_somewhere():
    pages = {path: path.parent for path in (ROOT / "docs").glob("*.md")}
    for page, folder in {ROOT / "README.md": ROOT, **pages}.items():
        text = page.read_text("utf-8")
        links = re.findall(r"\]\((?!http)([^)\s]+)\)", text)
        links += re.findall(r'src="([^"]+)"', text)
        assert links or page.parent != ROOT
        for link in links:
            path, _, place = link.partition("#")
            target = folder / path if path else page
            assert target.exists(), (page.name, link)
            if place:
                assert place in places_of(target.read_text("utf-8")), (page.name, link)
