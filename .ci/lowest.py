"""Prints the lowest version that setup.py admits of each direct requirement.

As pip's constraints, `name==x` for `name>=x`. What no test installs is
left out.
"""

import runpy
import sys
import types
from pathlib import Path

OMITTED = ("beam", "bench", "browser", "hub", "robots")


def run_setup(setup_file: Path) -> dict:
    """What a `setup.py` defines, without setuptools, which need not be installed."""
    sys.modules["setuptools"] = types.SimpleNamespace(
        setup=lambda **_: None, find_packages=lambda **_: []
    )
    return runpy.run_path(str(setup_file))


def requirements(setup_file: Path) -> list[str]:
    """The core's and the extras', each once."""
    found = run_setup(setup_file)
    extras = [v for k, v in found["EXTRAS"].items() if k not in OMITTED]
    return sorted({*found["CORE"], *(name for extra in extras for name in extra)})


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
