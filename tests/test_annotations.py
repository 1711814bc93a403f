"""Types of arguments are written down, checked, and shipped to users."""

import ast
import re
import runpy
import sys
import types
from pathlib import Path

import keras_ebm

PACKAGE = Path(keras_ebm.__file__).parent
ROOT = PACKAGE.parent
#: Methods whose arguments are those of a method of Keras, or of scikit-learn, that they
#: override.
GIVEN = {
    "build",
    "build_from_config",
    "call",
    "compile",
    "compile_from_config",
    "compute_output_shape",
    "evaluate",
    "export",
    "fit",
    "from_config",
    "load_own_variables",
    "predict",
    "save_own_variables",
    "set_model",
    "set_params",
    "test_step",
    "train_step",
    "update_state",
    "update_step",
}


def public_functions(body, owner=""):
    """`(name, node)` of functions and methods that a user may call by name."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and is_public(node.name):
            yield f"{owner}{node.name}", node


def is_public(name):
    if name in GIVEN or name.startswith("on_"):
        return False
    return name in ("__init__", "__call__") or not name.startswith("_")


def bare_arguments(name, node):
    """Names of arguments without a type; the first of a method is the object."""
    positional = [*node.args.posonlyargs, *node.args.args]
    decorators = {getattr(item, "id", None) for item in node.decorator_list}
    if "." in name and "staticmethod" not in decorators:
        positional = positional[1:]
    both = [*positional, *node.args.kwonlyargs]
    return [argument.arg for argument in both if argument.annotation is None]


def untyped(source):
    found = public_functions(ast.parse(source).body)
    return {name: bare for name, node in found if (bare := bare_arguments(name, node))}


def test_every_public_argument_has_a_type():
    # The programs take flags, whose types are those of their settings.
    programs = {PACKAGE / "trainers", PACKAGE / "export"}
    modules = sorted(PACKAGE.rglob("*.py"))
    modules = [path for path in modules if not programs & set(path.parents)]
    assert len(modules) > 100
    found = {
        str(path.relative_to(PACKAGE)): untyped(path.read_text("utf-8"))
        for path in modules
    }
    assert not {path: names for path, names in found.items() if names}


def test_an_argument_without_a_type_is_seen():
    source = "class A:\n    def f(self, x: int, *, y=1): pass\ndef g(z): pass"
    assert untyped(source) == {"A.f": ["y"], "g": ["z"]}


def test_the_checker_is_told_to_look_away_on_single_lines_alone():
    told = []
    for path in PACKAGE.rglob("*.py"):
        told += re.findall(r".*# type: *ignore.*", path.read_text("utf-8"))
    assert len(told) < 10
    for line in told:
        assert re.search(r"\S+.*# type: ignore\[[a-z-]+\]$", line)
    assert "ignore_errors" not in (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_wheel_says_that_its_types_may_be_used(monkeypatch):
    given = {}
    stand_in = types.SimpleNamespace(
        setup=lambda **named: given.update(named), find_packages=lambda **_: []
    )
    monkeypatch.setitem(sys.modules, "setuptools", stand_in)
    runpy.run_path(str(ROOT / "setup.py"))
    assert given["package_data"] == {"keras_ebm": ["py.typed"]}
    assert (PACKAGE / "py.typed").is_file()


def test_make_test_runs_the_checker():
    rules = (ROOT / "Makefile").read_text("utf-8")
    lint = rules.partition("\nlint:")[2].partition("\n\n")[0]
    assert "$(BIN)/mypy" in lint and "\ntest: lint\n" in rules
