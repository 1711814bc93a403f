"""Pages of the site that are made from the code: mkdocs calls these functions.

The front page is the README, the changelog is CHANGELOG.md, a page of the reference
stands for each part of the package, and one of the programs for each of their names. A
new part or program has its page by itself.
"""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

from mkdocs.structure.files import File

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import pages  # noqa: E402

import keras_ebm_cli  # noqa: E402

#: The process that asks the programs for their flags while the site is begun.
_asked: list[subprocess.Popen] = []


def on_config(config):
    """Fills the navigation in, and asks the programs for their flags meanwhile."""
    parts = pages.parts(ROOT / "keras_ebm")
    lists = {
        "REFERENCE": ["reference/index.md", *(f"reference/{n}.md" for n in parts)],
        "PROGRAMS": [
            "programs/index.md",
            *({n: f"programs/{n}.md"} for n in keras_ebm_cli.PROGRAMS),
        ],
    }
    config.nav = [
        {k: lists.get(v, v) if isinstance(v, str) else v for k, v in entry.items()}
        for entry in config.nav
    ]
    asked = subprocess.Popen(
        [sys.executable, str(HERE / "programs.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    _asked[:] = [asked]
    return config


def on_files(files, config):
    """Adds the pages that are made."""
    parts = pages.parts(ROOT / "keras_ebm")
    out, _ = _asked[0].communicate()
    if _asked[0].returncode:
        raise SystemExit("the programs could not be asked for their flags")
    made = {
        "index.md": pages.from_readme((ROOT / "README.md").read_text("utf-8")),
        "house.svg": runpy.run_path(str(HERE / "house.py"))["svg"](),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text("utf-8"),
        "reference/index.md": pages.reference_index(parts),
        **{f"reference/{n}.md": pages.reference(n) for n in parts},
        **{f"programs/{n}.md": pages.program(n, d) for n, d in json.loads(out).items()},
    }
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown, page, **_):
    """Leaves links to files that are in the checkout, and no pages, as plain text."""
    del page
    return pages.without_links_out(markdown)


def on_page_content(html, page, **_):
    """Mends what Markdown makes: heads without words, broken flags, wide tables."""
    del page
    # A head without words heads nothing.
    html = re.sub(r"<th[^>]*></th>", "<td></td>", html)
    # A flag is not broken behind its dashes.
    html = re.sub(
        r"<code>(--[^<\s]{1,28})</code>", r'<code class="flag">\1</code>', html
    )
    html = re.sub(r"<td>(.*?)</td>", _cell, html, flags=re.S)
    # Tables that are wider than the page are scrolled, by the keyboard too.
    return re.sub(
        r"<table>(.*?)</table>",
        r'<div class="wide" tabindex="0" role="group" aria-label="Table">'
        r'<table class="cells">\1</table></div>',
        html,
        flags=re.S,
    )


def _cell(found) -> str:
    """A cell; numbers with their spread, and single words, stay in one line."""
    words = re.sub(r"<[^>]*>", "", found.group(1)).strip()
    kind = ' class="short"' if len(words) <= 24 else ""
    return f"<td{kind}>{found.group(1)}</td>"


def on_post_page(output, page, config):
    """Gives names to what the theme leaves without: landmarks and dialogs."""
    del page, config
    output = output.replace(
        'data-md-component="search" role="dialog"',
        'data-md-component="search" role="dialog" aria-label="Search"',
    )
    # Lists inside of the navigation are parts of it, and no landmarks of their own.
    return re.sub(
        r'<nav class="md-nav" data-md-level="(\d+)" aria-labelledby="[^"]*" '
        r'aria-expanded="[^"]*">',
        r'<nav class="md-nav" data-md-level="\1" role="presentation">',
        output,
    )
