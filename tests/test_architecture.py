"""Which part may import which: the direction of the arrows, held by a test."""

import ast
from pathlib import Path

import pytest

import keras_ebm

PACKAGE = Path(keras_ebm.__file__).parent
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
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
# Optional or heavy packages, and the only parts that may import them.
CONFINED = {
    "tensorflow_datasets": {"data"},
    "apache_beam": {"export"},
    "pandas": {"data"},
    "pyarrow": {"data"},
    "sklearn": {"data", "estimators", "mixtures"},
    "matplotlib": {"plots"},
    "gymnasium": {"data"},
    "gymnasium_robotics": {"data"},
    "mujoco": {"data"},
    "absl": {"trainers", "export"},
    "keras_tuner": {"trainers"},
    "tensorboard": set(),
    "trainers": set(),
    "export": set(),
    "examples": set(),
    "benchmarks": set(),
}


#: The folders of programs, and their rooms: a room imports from those above its line
#: alone, and no program another.
ROOMS = [
    {"program"},
    {"settings"},
    {"presets", "report"},
    {"run"},
    {"search"},
    {"programs", "export"},
]
ROOM_LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


def program_modules():
    folders = (PACKAGE / "trainers", PACKAGE / "export")
    found = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [path for path in found if path.name != "__init__.py" or path.stat().st_size]


def room_of(path):
    return room_of_name(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def room_of_name(name):
    """The room of `trainers.ROOM.module`, of a program, or of `export.module`."""
    folder, first, *_ = name.split(".")
    if folder == "export":
        return "export"
    if first == "__init__":
        return "programs"
    return first if first in ROOM_LEVEL else "programs"


def imported_rooms(path):
    for name in imported_names(path):
        package, _, rest = name.partition(".")
        if package == "keras_ebm" and rest.startswith(("trainers.", "export.")):
            yield room_of_name(rest)


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_names(path):
    """Dotted names that a module imports anywhere, inside functions too."""
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
        if pieces[0] == "keras_ebm" and len(pieces) > 1:
            yield pieces[1]


def test_every_part_has_its_layer():
    parts = {part_of(path) for path in modules()} - {"__init__"}
    assert parts == set(LEVEL)


@pytest.mark.parametrize(
    "path", modules(), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_point_one_way(path):
    part = part_of(path)
    if part == "__init__":
        return
    imported_ones = set(imported_parts(path)) - {part}
    if part in ("trainers", "export"):
        # Users' code, which takes what the package offers by its own name.
        imported_ones -= set(keras_ebm.__all__) - set(LEVEL)
    for imported in imported_ones:
        assert LEVEL[imported] < LEVEL[part] or (part, imported) in BESIDE, (
            f"{path.relative_to(PACKAGE)} imports keras_ebm.{imported}"
        )


@pytest.mark.parametrize("package", CONFINED)
def test_a_package_is_imported_where_it_belongs(package):
    found = {
        part_of(path)
        for path in modules()
        for name in imported_names(path)
        if name.split(".")[0] == package
    }
    assert found <= CONFINED[package]


@pytest.mark.parametrize(
    "path", program_modules(), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_of_programs_point_one_way(path):
    room = room_of(path)
    for imported in set(imported_rooms(path)) - {room}:
        assert ROOM_LEVEL[imported] < ROOM_LEVEL[room], (
            f"{path.relative_to(PACKAGE)} imports the room {imported}"
        )


def test_no_program_imports_another():
    programs = {path.stem for path in program_modules() if room_of(path) == "programs"}
    found = {
        (path.stem, name.split(".")[2])
        for path in program_modules()
        if room_of(path) == "programs"
        for name in imported_names(path)
        if name.startswith("keras_ebm.trainers.")
    }
    assert "vera" in programs and ("vera", "run") in found
    assert not {(a, b) for a, b in found if b in programs}


def test_every_room_of_the_programs_has_its_level():
    assert {room_of(path) for path in program_modules()} == set(ROOM_LEVEL)


def test_the_walk_sees_imports():
    # What the tests above would say of nothing read is "all is well".
    vera = set(imported_parts(PACKAGE / "models" / "vera.py"))
    assert {"arguments", "entropy", "models", "random"} <= vera
    trials = set(imported_rooms(PACKAGE / "trainers" / "search" / "trials.py"))
    assert trials == {"program", "run", "search"}
    for package, parts in CONFINED.items():
        for part in parts:
            paths = [path for path in modules() if part_of(path) == part]
            names = [name for path in paths for name in imported_names(path)]
            assert package in {name.split(".")[0] for name in names}


def test_importing_the_package_imports_no_optional_package():
    eager = {
        name.split(".")[0]
        for path in modules()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
        )
    }
    assert not eager & {"matplotlib", "tensorflow_datasets", "pandas", "sklearn"}
