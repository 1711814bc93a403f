"""Prints the lowest version that setup.py admits of each direct requirement.

As pip's constraints, `name==x` for `name>=x`. What no test installs is
left out.
"""

import runpy
import sys
import types
from pathlib import Path

OMITTED = ("beam", "bench", "hub", "robots")


def requirements(setup_file: Path) -> list[str]:
    """All that `setup` is called with, each once."""
    found = {}
    # In the place of setuptools, which need not be installed.
    sys.modules["setuptools"] = types.SimpleNamespace(
        setup=lambda **arguments: found.update(arguments),
        find_packages=lambda **_: [],
    )
    runpy.run_path(str(setup_file))
    extras = [v for k, v in found["extras_require"].items() if k not in OMITTED]
    return sorted({*found["install_requires"], *(r for extra in extras for r in extra)})


def lowest(requirement: str) -> str:
    """`name==x` of `name>=x`."""
    name, at_least, version = requirement.partition(">=")
    if not at_least or not version.replace(".", "").isdecimal():
        sys.exit(
            f"setup.py must bound each requirement as name>=x, not {requirement!r}"
        )
    return f"{name}=={version}"


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    print("\n".join(map(lowest, requirements(root / "setup.py"))))
