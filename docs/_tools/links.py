"""Looks for links of a built site that lead nowhere.

    python docs/_tools/links.py site

Each link and picture of each page must be a file of the site, and what stands behind
its `#` the id of something there. A page must load nothing from elsewhere. Links that
leave the site are looked at for their form alone, as this asks nothing of a network;
`--list` prints them.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: What a whole address outside of the site looks like.
OUTSIDE = re.compile(r"https?://[\w.-]+\.[a-z]{2,}(/[^\s<>\"]*)?$")


class Page(HTMLParser):
    """The links and the ids of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: set[str] = set()
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        for name in ("href", "src"):
            if values.get(name) is not None:
                self.links.append(values[name])
                if tag != "a":
                    self.loaded.add(values[name])


def read(folder: Path) -> dict[Path, Page]:
    """All pages of a site but the one for addresses that it has not."""
    paths = sorted(folder.rglob("*.html"))
    return {p: Page(p.read_text("utf-8")) for p in paths if p.name != "404.html"}


def dead(folder: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """A line for each link that leads nowhere."""
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            fault = fault_of(link, path, pages)
            if fault:
                yield f"{path.relative_to(folder)}: {link}: {fault}"


def fault_of(link: str, path: Path, pages: dict[Path, Page]) -> str:
    """What is wrong with a link of a page; empty where nothing is."""
    parts = urlsplit(link)
    if parts.scheme in ("http", "https") or link.startswith("//"):
        if link in pages[path].loaded:
            return "loaded from elsewhere"
        return "" if OUTSIDE.match(link) else "no whole address"
    if parts.scheme in ("data", "mailto", "javascript"):
        return ""
    target = path
    if parts.path:
        target = (path.parent / unquote(parts.path)).resolve()
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            return "no such file"
    place = unquote(parts.fragment)
    if place and target in pages and place not in pages[target].ids:
        return "no such place"
    return ""


def outside(pages: dict[Path, Page]) -> list[str]:
    """The addresses outside of the site that its pages name."""
    links = {link for page in pages.values() for link in page.links}
    return sorted(link for link in links if link.startswith(("http:", "https:")))


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--list"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    folder = Path(arguments[0]).resolve()
    pages = read(folder)
    if not pages:
        sys.exit(f"{folder} has no pages; build the site first.")
    faults = list(dead(folder, pages))
    if "--list" in sys.argv:
        print("\n".join(outside(pages)))
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
