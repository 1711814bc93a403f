"""When results were made, and which of their code has changed since."""

import re
import subprocess

import pytest

from benchmarks import stale


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of a benchmark, its result, and two modules, one of them used."""
    monkeypatch.setattr(stale, "ROOT", tmp_path)
    stale.closure.cache_clear()
    stale.tree.cache_clear()
    files = {
        "benchmarks/__init__.py": "",
        "benchmarks/small.py": "from keras_ebm import parts\n\nprint(parts.used())\n",
        "benchmarks/results/small.json": "{}",
        "keras_ebm/__init__.py": "from keras_ebm import parts, other\n",
        "keras_ebm/other.py": "unused = 1\n",
        "keras_ebm/parts/__init__.py": "from keras_ebm.parts.one import used\n",
        "keras_ebm/parts/one.py": 'def used():\n    """Says 1."""\n    return 1\n',
        "examples/__init__.py": "",
        "trainers/__init__.py": "",
        "export/__init__.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    yield tmp_path
    stale.closure.cache_clear()
    stale.parsed.cache_clear()
    stale.used.cache_clear()


TABLE = stale.Table("Small", "results.md", "small", "small.json")


@pytest.mark.parametrize(
    "name, text, changed",
    [
        ("keras_ebm/parts/one.py", "# Why.\ndef used() -> int:\n    return 1\n", []),
        ("keras_ebm/other.py", "unused = 2\n", []),
        (
            "keras_ebm/parts/one.py",
            'def used():\n    "It says one."\n    return 1\n',
            [],
        ),
        ("keras_ebm/parts/one.py", "def used():\n    return 2\n", ["one.py"]),
        ("benchmarks/small.py", "import keras_ebm.parts.one\n", ["small.py"]),
    ],
)
def test_a_result_is_stale_where_code_that_it_uses_is_another(
    checkout, name, text, changed
):
    (checkout / name).write_text(text)
    own = stale.made(TABLE)
    assert own.modules == 2 and re.fullmatch(r"\d{4}-\d\d-\d\d", own.date)
    assert [path.rpartition("/")[2] for path in own.changed] == changed


def test_code_that_moved_into_the_package_is_the_same_code():
    then = "import os\nfrom trainers.run import jobs\n\nNAME = 'trainers.vera'\n"
    now = (
        "from keras_ebm.trainers.run import jobs\nimport os\n\nNAME = 'trainers.vera'\n"
    )
    assert stale.code(then) == stale.code(now)
    assert stale.code(then) != stale.code(now.replace("jobs", "fitting"))


def test_a_benchmark_depends_on_what_it_uses_alone():
    names = {str(path.relative_to(stale.ROOT)) for path in stale.closure(BATCH_RATE)}
    assert {"benchmarks/batch_rate.py", "keras_ebm/ood/batch_rate.py"} <= names
    assert not any(name.startswith("keras_ebm/trainers/run/") for name in names)


def test_notes_stand_below_their_headings_and_replace_earlier_ones():
    own = stale.Made("abc1234", "2026-01-02", 9, ["x.py"])
    first = stale.note([(TABLE, own)])
    assert "commit abc1234 of 2026-01-02, 1 of 9 of the modules" in first
    text = "# Page\n\nText.\n\n## A part, with more\n\nOther.\n"
    noted = stale.annotate(text, {"": first, "a-part-with-more": first})
    assert noted.startswith(f"# Page\n\n{first}\n\nText.")
    assert noted.count(first) == 2
    both = stale.note([(TABLE, own), (TABLE, own)])
    again = stale.annotate(noted, {"": both})
    assert again == text.replace("# Page\n", f"# Page\n\n{both}\n", 1)
    assert stale.annotate(again, {}) == text
    with pytest.raises(ValueError, match="nowhere"):
        stale.annotate(text, {"nowhere": first})


BATCH_RATE = "benchmarks.batch_rate"
#: Saved beside a table's own results: pictures, tables of them, and other settings.
BESIDE = re.compile(
    r".*\.(md|png)|anomaly_(jitter|one_fit|quantile|seconds|standardise)|jem_half_steps"
    r"|nice_4000_steps|messy_words|few_labels_features_alpha.json|foreign_scores"
    r"|step_baselines_avx512.json"
)


def test_every_result_is_of_a_table_whose_place_exists():
    saved = {table.saved for table in stale.TABLES}
    results = stale.ROOT / "benchmarks" / "results"
    for path in results.iterdir():
        assert path.name in saved or BESIDE.fullmatch(path.name), path.name
    for table in stale.TABLES:
        assert (results / table.saved).exists()
        page, _, place = table.page.partition("#")
        text = (stale.ROOT / "docs" / page).read_text("utf-8")
        headings = re.findall(r"^##+ (.*)$", text, re.M)
        places = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
        assert not place or place in places, table.page
