"""Runs the examples of the gallery in their full form, as `make gallery` does.

    python -m examples.gallery [NAME ...]

Each example, or those that are named, runs in a process of its own. Its picture goes to
`docs/gallery/NAME.png`, and what it printed and its seconds to
`docs/gallery/gallery.json`, which the page's numbers are from.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "gallery"
RESULTS = PAGE / "gallery.json"
#: What is in this folder and no example of the gallery.
OTHERS = ("__init__", "demo", "gallery", "quickstart")


def names() -> list[str]:
    """The examples of the gallery, in alphabetical order."""
    found = (path.stem for path in HERE.glob("*.py"))
    return sorted(name for name in found if name not in OTHERS)


def run(name: str) -> dict:
    """Runs one example and keeps its picture.

    Args:
        name: str, of `names()`.

    Returns:
        Dict of `seconds`, from the start of its process to its end, and of `printed`,
        its lines.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        command = [sys.executable, str(HERE / f"{name}.py"), folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds = round(time.monotonic() - start)
        shutil.copy(Path(folder) / f"{name}.png", PAGE)
    return {"seconds": seconds, "printed": done.stdout.splitlines()}


def main(*chosen: str) -> None:
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for name in chosen or names():
        results[name] = run(name)
        print(f"{name}: {results[name]['seconds']} s", flush=True)
        kept = {key: results[key] for key in sorted(results) if key in names()}
        text = json.dumps(kept, indent=1, ensure_ascii=False)
        RESULTS.write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
