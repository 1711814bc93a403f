"""Says when each saved result was made, and what of its code has changed since.

    python -m benchmarks.stale              lists what is stale
    python -m benchmarks.stale --write      writes it into the documentation too

A result was made by the commit that last wrote its files. What it depends on are the
modules of this checkout that its benchmark imports, directly or not, by the names that
it uses. A module has changed if its code has: not its comments, docstrings, texts of
errors, types of arguments or layout, nor the folder that it lies in. A change need not
move a figure, so that "changed" is no more than a reason to run the command again.
"""

import argparse
import ast
import csv
import functools
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results_dates.md"
#: Packages whose modules count.
OURS = ("keras_ebm", "benchmarks", "examples")
#: Where modules lay in earlier commits: folder now, and then.
FORMER = {"keras_ebm/trainers/": "trainers/", "keras_ebm/export/": "export/"}


class Table(NamedTuple):
    """A table of the documentation, a row of `tables.csv`.

    Attributes:
        title: what it is of.
        page: below `docs`, and its section there.
        module: the benchmark.
        saved: its results, below `benchmarks/results`.
    """

    title: str
    page: str
    module: str
    saved: str


with open(Path(__file__).with_name("tables.csv"), newline="", encoding="utf-8") as file:
    TABLES = [Table(**row) for row in csv.DictReader(file)]


class Made(NamedTuple):
    """When a table was made, and its modules that have changed since.

    Attributes:
        commit: abbreviated, of the last change of its results.
        date: of that commit, `YYYY-MM-DD`.
        modules: how many its benchmark imports.
        changed: paths of those whose code is another now.
    """

    commit: str
    date: str
    modules: int
    changed: list[str]


def git(*arguments: str) -> str:
    """What a command of git prints."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def made(table: Table) -> Made:
    """Looks a table up in the history."""
    path = f"benchmarks/results/{table.saved}"
    last = git("log", "-1", "--format=%h %cs", "--", path).split()
    if not last:
        raise SystemExit(f"{path} is in no commit: commit the results first")
    commit, date = last
    modules = closure(f"benchmarks.{table.module}")
    then = tree(commit)
    changed = [
        str(path.relative_to(ROOT))
        for path in modules
        if code(path.read_text("utf-8")) != code_then(then, path)
    ]
    return Made(commit, date, len(modules), changed)


@functools.cache
def tree(commit: str) -> dict[str, str]:
    """Blobs of a commit by path."""
    lines = git("ls-tree", "-r", commit, "keras_ebm", "trainers", "export", *OURS[1:])
    return {line.split("\t")[1]: line.split()[2] for line in lines.splitlines()}


def code_then(then: dict[str, str], path: Path) -> str | None:
    """The code of a module in a commit, or None if it was not there."""
    name = str(path.relative_to(ROOT))
    former = next(
        (f + name[len(n) :] for n, f in FORMER.items() if name.startswith(n)), ""
    )
    blob = then.get(name) or then.get(former)
    return None if blob is None else code_of_blob(blob)


@functools.cache
def code_of_blob(blob: str) -> str:
    return code(git("cat-file", "blob", blob))


@functools.cache
def code(text: str) -> str:
    """A module without comments, prose, types of arguments and layout.

    Folders are those of now.
    """
    # Also within texts, as of modules that are imported by their names.
    moved = re.sub(r"(?<![\w.])(?:keras_ebm\.)?(trainers|export)\.(?=\w)", r"\1.", text)
    parsed = ast.parse(moved.replace("keras_ebm.trainers", "trainers"))
    for node in ast.walk(parsed):
        own = getattr(node, "body", None)
        if isinstance(own, list) and own and is_text(own[0]):
            del own[0]
        if isinstance(node, ast.Constant) and is_prose(node.value):
            node.value = "prose"
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    # Imports may stand in another order.
    body = parsed.body
    imports = sorted(ast.dump(n) for n in body if isinstance(n, IMPORTS))
    return "\n".join(
        imports + [ast.dump(n) for n in body if not isinstance(n, IMPORTS)]
    )


IMPORTS = (ast.Import, ast.ImportFrom)


def is_prose(value: object) -> bool:
    """Whether a constant is of several words, as errors and helps are."""
    return isinstance(value, str) and value.count(" ") > 2


def is_text(node: ast.stmt) -> bool:
    """Whether a statement is a text alone, as a docstring is."""
    return isinstance(node, ast.Expr) and isinstance(
        getattr(node.value, "value", None), str
    )


@functools.cache
def closure(module: str) -> list[Path]:
    """Files of a module and of all that it imports of this checkout."""
    found: dict[Path, None] = {}
    waiting = [file_of(module)]
    while waiting:
        path = waiting.pop()
        if path is None or path in found:
            continue
        found[path] = None
        waiting += [file_of(name) for name in used(path)]
    return sorted(found)


def file_of(name: str) -> Path | None:
    """The file of a dotted name: a module, or the one that an object is defined in."""
    parts = name.split(".")
    if parts[0] in ("trainers", "export"):
        parts = ["keras_ebm", *parts]
    if parts[0] not in OURS:
        return None
    path = ROOT.joinpath(*parts)
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    if path.is_dir():
        # What a package gives is looked up by the names that are used of it.
        return None
    package = ROOT.joinpath(*parts[:-1])
    if len(parts) > 1 and (package / "__init__.py").is_file():
        return exported(package / "__init__.py", parts[-1])
    return file_of(".".join(parts[:-1])) if len(parts) > 1 else None


def exported(init: Path, name: str) -> Path | None:
    """Where a package has one of its names from."""
    for node in ast.walk(parsed(init)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return file_of(f"{node.module}.{alias.name}")
        defined = getattr(node, "name", None) == name
        if defined and isinstance(node, ast.FunctionDef | ast.ClassDef):
            return init
    return None


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def used(path: Path) -> frozenset[str]:
    """Dotted names that a module uses of others."""
    names, bound = set(), {}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.add(alias.name)
                bound[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full)
                bound[alias.asname or alias.name] = full
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Programs and modules that are started or imported by their names.
            if re.fullmatch(
                r"(keras_ebm|trainers|export|benchmarks)\.[\w.]+", node.value
            ):
                names.add(node.value)
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute):
            names |= chain(node, bound)
    return frozenset(name for name in names if name)


def chain(node: ast.Attribute, bound: dict[str, str]) -> set[str]:
    """`keras_ebm.metrics.auroc` of `metrics.auroc`, where a package is bound so."""
    parts: list[str] = []
    current: ast.expr = node
    while isinstance(current, ast.Attribute):
        parts.append(current.attr)
        current = current.value
    if not isinstance(current, ast.Name) or current.id not in bound:
        return set()
    return {".".join([bound[current.id], *reversed(parts)])}


def page(rows: list[tuple[Table, Made]]) -> str:
    """The page in Markdown."""
    lines = [
        "# When each table was made",
        "",
        "A table's results were saved by the commit named here. *Changed since* counts",
        "the modules, of those that its command imports, whose code is another now",
        "(comments, texts and layout aside). A change need not move a figure:",
        "unless the table says so, nobody has looked. `make results` writes this page.",
        "",
        "| table | command | saved | commit | date | changed since |",
        "|---|---|---|---|---|---|",
    ]
    for table, own in rows:
        title = f"[{table.title}]({table.page})"
        command = f"`python -m benchmarks.{table.module}`"
        share = f"{len(own.changed)} of {own.modules}" if own.changed else "nothing"
        lines.append(
            f"| {title} | {command} | `{table.saved}` | {own.commit} | {own.date} "
            f"| {share} |"
        )
    return "\n".join(lines) + "\n"


def slug(heading: str) -> str:
    """What links name a heading by."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def note(rows: list[tuple[Table, Made]]) -> str:
    """The line that stands above the figures of a page or a section."""
    told = []
    for table, own in rows:
        name = f"{table.title}: " if len(rows) > 1 else ""
        since = f"{len(own.changed)} of {own.modules}" if own.changed else "none"
        told.append(
            f"{name}commit {own.commit} of {own.date}, {since} of the modules that it "
            "runs changed since"
        )
    return f"*Saved by {'; '.join(told)} ([more](results_dates.md)).*"


def annotate(text: str, notes: dict[str, str]) -> str:
    """A page with a note below each heading that has one, in place of earlier ones.

    Args:
        text: the page in Markdown.
        notes: by the name of a heading in links; empty for the page's own.
    """
    earlier = re.compile(
        r"^\*Saved by .*\(\[more\]\(results_dates.md\)\)\.\*\n\n", re.M
    )
    found, left = [], dict(notes)
    for line in earlier.sub("", text).split("\n"):
        found.append(line)
        heading = re.fullmatch(r"(#+) (.*)", line)
        if heading:
            place = "" if heading[1] == "#" else slug(heading[2])
            found += ["", left.pop(place)] if place in left else []
    if left:
        raise ValueError(f"no heading of the page is named so: {', '.join(left)}")
    return "\n".join(found)


def write_pages(rows: list[tuple[Table, Made]]) -> None:
    """Writes the page of all dates, and the notes of the others."""
    PAGE.write_text(page(rows), "utf-8")
    by_page: dict[str, dict[str, list]] = {}
    for table, own in rows:
        name, _, place = table.page.partition("#")
        by_page.setdefault(name, {}).setdefault(place, []).append((table, own))
    for name, places in by_page.items():
        path = ROOT / "docs" / name
        notes = {place: note(tables) for place, tables in places.items()}
        path.write_text(annotate(path.read_text("utf-8"), notes), "utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="Write the pages.")
    given = parser.parse_args(arguments)
    rows = [(table, made(table)) for table in TABLES]
    if given.write:
        write_pages(rows)
    stale = [(table, own) for table, own in rows if own.changed]
    for table, own in sorted(stale, key=lambda row: row[1].date):
        print(
            f"{own.date} {own.commit} {table.title}: {len(own.changed)} of "
            f"{own.modules} modules changed (python -m benchmarks.{table.module})"
        )
        print(f"    {', '.join(Path(name).stem for name in own.changed)}")
    print(f"{len(stale)} of {len(rows)} tables are stale", file=sys.stderr)


if __name__ == "__main__":
    main()
