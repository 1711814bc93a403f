"""The floors of the house: which part of the package stands on which.

`tests/test_architecture.py` holds the imports to them, and `docs/_tools/house.py` draws
them. Nothing here imports the package, which takes seconds.
"""

import ast
import functools
import importlib.util
from pathlib import Path

PACKAGE = Path(importlib.util.find_spec("keras_ebm").origin).parent
# A part imports from lower layers alone; the parts of one layer stand side by
# side, and only those in BESIDE know of a neighbour.
LAYERS = [
    {"arguments", "protocols"},
    {
        "archives",
        "digests",
        "files",
        "gradients",
        "jacobians",
        "mixtures",
        "pages",
        "precision",
        "random",
        "rows",
        "saveable",
    },
    {"gapped_mixture", "samplers"},
    {
        "layers",
        "objectives",
        "negatives",
        "metrics",
        "data",
        "plots",
        "schedules",
        "optimizers",
    },
    {"networks"},
    {"generators", "entropy", "robust"},
    {"models"},
    {"ood", "callbacks", "continual"},
    {"compose", "explain", "restore", "trajectories"},
    {"serving", "estimators"},
    {"trainers"},
    {"export"},
]
BESIDE = set()
#: What `import keras_ebm` imports.
WHOLE = "the whole package"
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


@functools.cache
def imported_names(path):
    """Dotted names that a module imports anywhere, inside functions too."""
    return list(_walked_names(path))


def _walked_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            yield from names_by_string(node)


def names_by_string(call):
    """What `require("pandas", ...)` and `importlib.import_module(...)` name."""
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    if name in ("require", "import_module", "__import__") and call.args:
        if isinstance(call.args[0], ast.Constant):
            yield call.args[0].value


def imported_parts(path):
    for name in imported_names(path):
        pieces = name.split(".")
        if pieces[0] == "keras_ebm":
            yield pieces[1] if len(pieces) > 1 else WHOLE
