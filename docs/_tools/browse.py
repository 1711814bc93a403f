"""Looks at the built site as people do: in Chromium, wide and narrow, light and dark.

    python docs/_tools/browse.py site look [PAGE ...]

Each page, or each of those named, is opened at two widths in both colour schemes. axe
(https://github.com/dequelabs/axe-core) looks for what keeps people out: contrast, the
order of headings, names of links. `look/` then has a picture of each view and
`violations.json`; the exit status is 1 if there is a violation, or a page is wider than
its window. Needs the extra `browser`, and no network: the pages come from this process.
"""

import functools
import http.server
import importlib.util
import json
import os
import sys
import threading
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault(
    "QTWEBENGINE_CHROMIUM_FLAGS", "--no-sandbox --disable-gpu --log-level=3"
)

from PyQt6.QtCore import QEventLoop, QTimer, QUrl  # noqa: E402
from PyQt6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile  # noqa: E402
from PyQt6.QtWebEngineWidgets import QWebEngineView  # noqa: E402
from PyQt6.QtWidgets import QApplication  # noqa: E402

WIDTHS = {"wide": 1280, "narrow": 400}
SCHEMES = {"light": 1, "dark": 2}
#: Pixels of a picture's height at most: of a long page its beginning.
TALLEST = 3000
#: Milliseconds for a page, and for what its scripts do after it is loaded.
LIMIT, SETTLING = 60_000, 400
#: Chooses a scheme as the page's own switch does, and starts the page anew.
CHOOSE = """
localStorage.setItem("/.__palette", JSON.stringify({
  index: %d,
  color: document.querySelectorAll("[data-md-color-scheme]")[0] && {
    media: "(prefers-color-scheme: %s)", scheme: "%s",
    primary: "indigo", accent: "indigo"}}));
"""
#: axe answers later than the script that asks it, so its answer is left in the page.
ASK = """
window.found = null;
axe.run(document, {resultTypes: ["violations"]}).then(
  result => { window.found = JSON.stringify(result.violations.map(v => ({
    id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 5).map(
      n => ({html: n.html.slice(0, 200), why: n.failureSummary}))}))) },
  error => { window.found = JSON.stringify([{id: "axe", help: String(error)}]) });
0
"""


def axe_script() -> str:
    """axe, from the package that ships it."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        sys.exit("axe is not installed: pip install 'keras_ebm[browser]'")
    (path,) = Path(found.origin).parent.rglob("axe.min.js")
    return path.read_text("utf-8")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *arguments):
        del arguments


def serve(folder: Path) -> str:
    """Serves a folder from a thread; gives its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


class Browser:
    """One window, whose calls wait for their answers."""

    def __init__(self):
        self.app = QApplication(sys.argv[:1])
        self.profile = QWebEngineProfile()
        self.view = QWebEngineView()
        self.page = QWebEnginePage(self.profile, self.view)
        self.view.setPage(self.page)
        self.view.show()

    def wait(self, milliseconds: int) -> None:
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()

    def open(self, address: str) -> None:
        """Loads a page, and lets its scripts run."""
        loop, answers = QEventLoop(), []

        def loaded(good):
            answers.append(good)
            loop.quit()

        self.page.loadFinished.connect(loaded)
        QTimer.singleShot(LIMIT, loop.quit)
        self.page.load(QUrl(address))
        loop.exec()
        self.page.loadFinished.disconnect(loaded)
        if answers != [True]:
            sys.exit(f"{address} could not be loaded")
        self.wait(SETTLING)

    def ask(self, script: str):
        """The value of a script in the page."""
        loop, answers = QEventLoop(), []

        def answered(value):
            answers.append(value)
            loop.quit()

        self.page.runJavaScript(script, answered)
        QTimer.singleShot(LIMIT, loop.quit)
        loop.exec()
        return answers[0] if answers else None

    def violations(self, axe: str) -> list:
        """What axe says of the page."""
        self.ask(axe + ";0")
        self.ask(ASK)
        for _ in range(LIMIT // 100):
            found = self.ask("window.found")
            if found:
                return json.loads(found)
            self.wait(100)
        return [{"id": "axe", "help": "no answer"}]

    def picture(self, path: Path, width: int) -> None:
        """Writes what the page looks like, from its top."""
        height = int(self.ask("document.documentElement.scrollHeight") or 0)
        self.view.resize(width, min(max(height, 600), TALLEST))
        self.wait(SETTLING)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.view.grab().save(str(path))
        self.view.resize(width, 900)


def look(browser: Browser, axe: str, address: str, name: str, view: tuple) -> list:
    """Opens a page in one view; gives its violations."""
    width, scheme, folder = view
    browser.view.resize(WIDTHS[width], 900)
    browser.open(f"{address}/{name}")
    found = browser.violations(axe)
    over = browser.ask(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    if over and over > 0:
        found.append({"id": "overflow", "help": f"{over} pixels wider than the window"})
    picture = f"{Path(name).with_suffix('')}-{width}-{scheme}.png".replace("/", "_")
    browser.picture(folder / picture, WIDTHS[width])
    return found


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    site, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    names = sys.argv[3:] or sorted(
        path.relative_to(site).as_posix()
        for path in site.rglob("*.html")
        if path.name != "404.html"
    )
    folder.mkdir(parents=True, exist_ok=True)
    axe, browser, address = axe_script(), Browser(), serve(site)
    found = {}
    for scheme, index in SCHEMES.items():
        browser.open(f"{address}/{names[0]}")
        kind = {"light": "default", "dark": "slate"}[scheme]
        browser.ask(CHOOSE % (index, scheme, kind))
        for width in WIDTHS:
            for name in names:
                faults = look(browser, axe, address, name, (width, scheme, folder))
                found[f"{name}, {width}, {scheme}"] = faults
                for fault in faults:
                    print(f"{name}, {width}, {scheme}: {fault['help']}", flush=True)
    (folder / "violations.json").write_text(json.dumps(found, indent=1), "utf-8")
    report(found)


def report(found: dict) -> None:
    """Prints what was found, and ends with status 1 if there was anything."""
    kinds = {}
    for view, faults in found.items():
        for fault in faults:
            kinds.setdefault((fault["id"], fault["help"]), []).append(view)
    for (name, help), views in sorted(kinds.items()):
        print(f"{name}: {help}: {len(views)} views, such as {views[0]}")
    print(f"{len(found)} views, {sum(map(len, found.values()))} violations")
    sys.exit(1 if kinds else 0)


if __name__ == "__main__":
    main()
