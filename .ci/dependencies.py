"""Prints the page of dependencies: what setup.py asks for, why, and whose it is.

Licences are those that the installed packages state of themselves.
"""

import importlib.metadata
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Dependencies

What the package needs, by extra, with the reason for each. This page is made by
`make dependencies` from `setup.py`, and licences are what the installed packages state
of themselves; a dash means that the package was not installed where the page was made.
"""
TITLES = {
    "core": "Always",
    "data": "Extra `data`",
    "plots": "Extra `plots`",
    "tune": "Extra `tune`",
    "hub": "Extra `hub`",
    "robots": "Extra `robots`",
    "beam": "Extra `beam`",
    "bench": "Extra `bench`",
    "docs": "Extra `docs`",
    "browser": "Extra `browser`",
    "dev": "Extra `dev`, besides `data`, `plots` and `tune`",
}


def licence_of(name: str) -> str:
    """The licence that an installed package states, or a dash."""
    try:
        found = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return "–"
    classifiers = found.get_all("Classifier") or []
    named = [c.split(" :: ")[-1] for c in classifiers if c.startswith("License :: ")]
    # Some have the whole text in the older field.
    texts = [found.get("License-Expression"), *named, found.get("License")]
    short = [t for t in texts if t and len(t) < 60 and "\n" not in t]
    return short[0] if short else "stated in its files"


def table(packages: dict[str, str]) -> str:
    """A row for each requirement: name, bound, reason and licence."""
    lines = ["| package | version | what for | licence |", "|---|---|---|---|"]
    for requirement, reason in sorted(packages.items(), key=lambda p: p[0].lower()):
        name, bound = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
        lines.append(f"| {name} | {bound} | {reason} | {licence_of(name)} |")
    return "\n".join(lines)


def page(core: dict, extras: dict) -> str:
    """The page in Markdown."""
    shown = {"core": core, **extras}
    known = {name for extra in ("data", "plots", "tune") for name in extras[extra]}
    shown["dev"] = {k: v for k, v in extras["dev"].items() if k not in known}
    # The order of the titles, whatever that of the extras.
    parts = [
        f"## {TITLES[key]}\n\n{table(shown[key])}\n" for key in TITLES if key in shown
    ]
    assert set(shown) <= set(TITLES), "an extra has no title here"
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    lowest = runpy.run_path(str(ROOT / ".ci" / "lowest.py"), run_name="lowest")
    found = lowest["run_setup"](ROOT / "setup.py")
    print(page(found["CORE"], found["EXTRAS"]), end="")
