"""What the README and the pages of the site name is there: flags, files, places."""

import json
import re
import runpy
from pathlib import Path

import house
import pytest
from support import commands_of

import keras_ebm
from benchmarks.stale import slug
from keras_ebm import data, ood
from keras_ebm.trainers.presets import (
    LANGEVIN_PRESETS,
    LIKELIHOOD_PRESETS,
    VERA_PRESETS,
)
from keras_ebm.trainers.program.options import choices_of
from keras_ebm.trainers.settings.generator import SamplingSettings
from keras_ebm.trainers.settings.negatives import NEGATIVES
from keras_ebm_cli import PROGRAMS

ROOT = Path(__file__).parents[2]
PACKAGE = Path(keras_ebm.__file__).parent
DOCS = ROOT / "docs"
TOOLS = DOCS / "_tools"
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    path: path.read_text("utf-8")
    for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
}


#: Pages that name flags of benchmarks too.
BENCHMARKS = {"results.md", "few_labels.md"}


def page(name):
    return (DOCS / f"{name}.md").read_text("utf-8")


def first_column(text, head):
    """What stands in backticks at the begin of the rows of a table."""
    rows = text.split(head)[1].split("\n\n")[0]
    cells = re.findall(r"^\|([^|]*)", rows, re.M)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture(scope="module")
def described(run):
    """What the site's pages of programs are made from."""
    code, out, err = run("docs._tools.programs")
    assert code == 0, err
    return json.loads(out)


def flags_of(subjects):
    return {flag["name"] for flags in subjects.values() for flag in flags}


def test_the_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def test_every_flag_of_every_command_exists(described):
    known = {
        name: flags_of(found["subjects"])
        | flags_of(found.get("variant", {}))
        # Absl's own, and those of the program that a method or a preset leads to.
        | {"help", "flagfile"}
        for name, found in described.items()
    }
    texts = {path.name: text for path, text in PAGES.items()}
    texts |= {name: found["text"] for name, found in described.items()}
    seen = set()
    for where, text in texts.items():
        for name, flags in commands_of(text):
            assert name in PROGRAMS, (where, name)
            unknown = {flag.removeprefix("no") for flag in flags - known[name]}
            assert unknown <= known[name], (where, name, unknown)
            seen.add(name)
    # The walk finds them.
    assert seen == set(PROGRAMS)


def test_every_flag_in_backticks_is_one_of_a_program(described):
    known = {"help", "flagfile"}
    for found in described.values():
        known |= flags_of(found["subjects"])
    for path, text in PAGES.items():
        if path.name not in BENCHMARKS:
            named = set(re.findall(r"`--(\w+)", text))
            unknown = {flag.removeprefix("no") for flag in named - known} - known
            assert not unknown, path.name


@pytest.mark.parametrize("name", ["train-vera", "adopt", "monitor"])
def test_the_page_of_a_program_has_all_that_its_help_has(name, described, run):
    module = PROGRAMS[name].removeprefix("keras_ebm.")
    _, out, _ = run(module, "--help")
    flags = re.findall(r"^  --(?:\[no\])?(\w+): ", out, re.M)
    text = runpy.run_path(str(TOOLS / "pages.py"))["program"](name, described[name])
    rows = re.findall(r"^\| `--(\w+)` \| (.*) \| (.*) \| (.*) \|$", text, re.M)
    assert len(flags) > 5 and set(flags) <= {row[0] for row in rows}
    assert f"# keras-ebm {name}" in text


def test_presets_stand_beside_one_another(described):
    text = runpy.run_path(str(TOOLS / "pages.py"))["program"](
        "train-langevin", described["train-langevin"]
    )
    table = text.split("## Presets")[1]
    assert set(LANGEVIN_PRESETS) <= set(re.findall(r"`(\w+)`", table))
    (row,) = re.findall(r"^\| `--num_steps` \|(.*)\|$", table, re.M)
    assert f"`{LANGEVIN_PRESETS['pcd']['num_steps']}`" in row


def test_the_pages_list_every_choice_of_their_tables():
    estimators = choices_of(SamplingSettings, "entropy")
    table = "| `--entropy` | what it is | serves |\n|---|---|---|\n"
    assert tuple(first_column(page("negatives"), table)) == estimators
    table = "| `--negatives` | what they are |\n|---|---|\n"
    assert set(NEGATIVES) <= set(first_column(page("negatives"), table))
    table = "| `--score` | what it is |\n|---|---|\n"
    assert set(first_column(page("scores"), table)) == set(ood.SCORES)
    specs = first_column(page("data"), "| spec | rows |\n|---|---|\n")
    assert {data.parse_spec(spec).source for spec in specs} == set(data.SOURCES)
    presets = {*VERA_PRESETS, *LANGEVIN_PRESETS, *LIKELIHOOD_PRESETS}
    assert presets <= set(re.findall(r"`(\w+)`", page("papers")))


def test_every_part_has_its_page(tmp_path):
    pages = runpy.run_path(str(TOOLS / "pages.py"))
    found = pages["parts"](PACKAGE)
    assert set(found) == set(house.LEVEL) - {"trainers", "export"}
    assert all(found.values())
    (tmp_path / "new.py").write_text('"""A new part."""')
    assert pages["parts"](tmp_path) == {"new": "A new part."}


def test_the_house_is_drawn_from_the_imports():
    drawing = runpy.run_path(str(TOOLS / "house.py"))
    lines = drawing["drawn"](drawing["imports"]())
    assert "models" in lines["ood"] and "arguments" not in lines["ood"]
    for part, others in lines.items():
        assert all(house.LEVEL[other] < house.LEVEL[part] for other in others)
    names = re.findall(r"<text[^>]*>(\w+)</text>", drawing["svg"]())
    assert sorted(names) == sorted(house.LEVEL)


def places_of(text):
    """What links may name of a page: its headings, as GitHub writes them."""
    return {slug(heading) for heading in re.findall(r"^##* (.*)$", text, re.M)}


def is_made(path):
    """Whether the site makes the file of a link: a program's page or a part's."""
    folder, name = path.relative_to(DOCS).parent.as_posix(), path.name
    part = PACKAGE / path.stem
    if folder == "reference":
        return name == "index.md" or part.is_dir() or part.with_suffix(".py").is_file()
    return (folder == "programs" and path.stem in PROGRAMS) or name == "house.svg"


def test_every_link_leads_somewhere():
    for path, text in PAGES.items():
        plain = re.sub(r"```.*?```", "", text, flags=re.S)
        links = re.findall(r"\]\((?!http)([^)\s]+)\)", plain)
        links += re.findall(r'src="([^"]+)"', plain)
        for link in links:
            file, _, place = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if target.is_relative_to(DOCS) and not target.exists():
                assert is_made(target), (path.name, link)
            else:
                assert target.exists(), (path.name, link)
                if place:
                    assert place in places_of(target.read_text("utf-8")), (
                        path.name,
                        link,
                    )


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    there = {path.relative_to(DOCS).as_posix() for path in PAGES if path.parent == DOCS}
    assert named == there | {"index.md", "changelog.md"}


def test_dead_links_of_a_built_site_are_found(tmp_path):
    links = runpy.run_path(str(TOOLS / "links.py"))
    (tmp_path / "a.html").write_text(
        '<h1 id="here">A</h1><a href="b.html#there">b</a><a href="#here">a</a>'
        '<a href="b.html">b</a><a href="http://example">x</a><img src="no.png">'
        '<a href="b.html#gone">b</a><a href="https://example.org/x">x</a>'
        '<script src="https://example.org/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<h2 id="there">B</h2>')
    found = links["read"](tmp_path)
    faults = list(links["dead"](tmp_path, found))
    assert faults == [
        "a.html: http://example: no whole address",
        "a.html: no.png: no such file",
        "a.html: b.html#gone: no such place",
        "a.html: https://example.org/x.js: loaded from elsewhere",
    ]
    assert len(links["outside"](found)) == 3
