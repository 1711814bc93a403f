"""What is installed beside the package is declared, each with its reason."""

import ast
import importlib.metadata
import re
import runpy
import sys
from pathlib import Path

import pytest

import keras_ebm

ROOT = Path(__file__).parents[1]
LOWEST = runpy.run_path(str(ROOT / ".ci" / "lowest.py"), run_name="lowest")
SETUP = LOWEST["run_setup"](ROOT / "setup.py")
EXTRAS = {"core": SETUP["CORE"], **SETUP["EXTRAS"]}


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement).group().lower().replace("_", "-")


def is_optional(call):
    """Whether it is `require("pandas")`, not `options.require("model")`."""
    return getattr(call.func, "id", None) == "require"


def imported(folder):
    """Packages that the modules of a folder import, wherever they do."""
    found = set()
    for path in [folder] if folder.is_file() else folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", None))
                first = node.args[0] if node.args else None
                if called in ("import_module", "importorskip") or is_optional(node):
                    if isinstance(getattr(first, "value", None), str):
                        found.add(first.value.split(".")[0])
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize("folder", ["keras_ebm", "examples", "tests", "benchmarks"])
def test_every_package_that_is_imported_is_declared(folder):
    declared = {name_of(name) for packages in EXTRAS.values() for name in packages}
    # Of setup.py itself; and what tests ask for as they cannot be imported.
    declared |= {"setuptools", "no-such-module", "broken-package"}
    owners = importlib.metadata.packages_distributions()
    ours = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    ours |= {path.name for path in ROOT.iterdir()} | {"keras_ebm_cli", "keras_ebm"}
    path = Path(keras_ebm.__file__).parent if folder == "keras_ebm" else ROOT / folder
    for package in imported(path) - ours:
        names = {name_of(owner) for owner in owners.get(package, [package])}
        assert names & declared, package


def test_every_requirement_has_its_reason():
    for packages in EXTRAS.values():
        for requirement, reason in packages.items():
            assert re.fullmatch(r"[A-Z`].*\.", reason), requirement


def test_the_page_of_dependencies_is_that_of_setup():
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    shown = set(re.findall(r"^\| ([\w-]+) \| (\S+) \| (.*?) \|", page, re.M))
    asked = {
        (*re.fullmatch(r"([\w-]+)(.*)", requirement).groups(), reason)
        for packages in EXTRAS.values()
        for requirement, reason in packages.items()
    }
    assert shown - {("package", "version", "what for")} == asked, "make dependencies"


def test_the_container_copies_what_the_wheel_is_built_of():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", text, re.M)
    names = {name for line in copied for name in line.split()}
    kept = (ROOT / ".dockerignore").read_text("utf-8")
    assert names == set(re.findall(r"^!(.*)$", kept, re.M))
    assert all((ROOT / name).exists() for name in names)


def test_the_citation_has_the_version_and_both_papers():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {keras_ebm.__version__}\n" in text
    for identifier in ("2010.04230", "1903.08689"):
        assert f"https://arxiv.org/abs/{identifier}" in text
