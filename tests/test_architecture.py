"""Which part may import which: the direction of the arrows, held by a test."""

import ast

import pytest
from house import (
    BESIDE,
    LEVEL,
    PACKAGE,
    WHOLE,
    imported_names,
    imported_parts,
    modules,
    part_of,
)

import keras_ebm

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
        imported_ones -= {WHOLE, *keras_ebm.__all__} - set(LEVEL)
    assert WHOLE not in imported_ones
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
