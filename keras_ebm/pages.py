"""Pages that hold all they need: tables whose numbers are also data, and pictures.

They ask no network for anything. Tables with a head are sorted by a click on it, and a
number shows its unrounded value where the pointer rests on it; without JavaScript they
are whole tables all the same.
"""

import base64
import html
from collections.abc import Iterable
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: #8885; --dim: #666; }
@media (prefers-color-scheme: dark) { :root { --dim: #aaa; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em;
       padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; margin: 0.5em 0; }
th, td { padding: 0.25em 0.6em; border-bottom: 1px solid var(--line);
         text-align: left; vertical-align: top; }
.number { text-align: right; white-space: nowrap; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.hue { color: #222; }
small, figcaption { color: var(--dim); }
.scroll { overflow-x: auto; }
figure { margin: 1em 0; } img { max-width: 100%; background: white; }
tbody tr:hover > :not(.hue), tbody td:hover { background: #8882; }
tbody td.hue:hover, tbody tr:hover > .hue { outline: 1px solid currentColor; }
data { cursor: help; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0;
            cursor: pointer; text-align: inherit; }
th button::after { content: "\\00a0\\2195"; color: var(--dim); }
th[aria-sort=ascending] button::after { content: "\\00a0\\2191"; }
th[aria-sort=descending] button::after { content: "\\00a0\\2193"; }
""".strip()
#: Puts a button into each cell of a head. Numbers are sorted from the largest first,
#: as higher is mostly better, texts from A, and cells without either come last.
SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  if (!table.tHead) continue;
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column], data = cell && cell.querySelector("data");
    return data ? Number(data.value) : cell ? cell.textContent.trim() : "";
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rows = [...body.rows];
      const isNumber = rows.some(row => typeof value(row, column) === "number");
      const before = head.getAttribute("aria-sort");
      const rising = before ? before === "descending" : !isNumber;
      const sign = rising ? 1 : -1;
      rows.sort((first, second) => {
        const a = value(first, column), b = value(second, column);
        const lacks = x => x === "" || (isNumber && typeof x !== "number") || x !== x;
        if (lacks(a) || lacks(b)) return lacks(a) - lacks(b);
        return sign * (isNumber ? a - b : a.localeCompare(b));
      });
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      body.append(...rows);
    });
  });
}
for (const data of document.querySelectorAll("data")) {
  if (data.value !== data.textContent) data.title = data.value;
}
""".strip()


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page of one heading and parts in HTML; empty ones are left out."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{html.escape(title)}</h1>\n{body}\n</main>\n"
        f"<script>\n{SCRIPT}\n</script>\n</body>\n</html>\n"
    )


def section(title: str, content: str) -> str:
    """A part with a heading of its own."""
    return f"<h2>{html.escape(title)}</h2>\n{content}"


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def measures(values: dict[str, Any], titles: dict[str, str]) -> str:
    """A table of the scalars of a dict, a row each; other values are left out.

    Args:
        values: by name.
        titles: names as a reader knows them.
    """
    rows = []
    for name, value in values.items():
        if isinstance(value, dict) or value is None:
            continue
        head = f'<tr><th scope="row">{html.escape(titles.get(name, name))}</th>'
        rows.append(f"{head}{cell(value)}</tr>")
    return table(rows)


def cell(value: Any) -> str:
    """A value in a table: yes or no, a number that is data too, or a text."""
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        text = f"{value:.4g}" if isinstance(value, float) else f"{value}"
        return f"<td>{number(value, text)}</td>"
    return f"<td>{html.escape(str(value))}</td>"


def number(value: float, text: str | int) -> str:
    """A number as it is shown, whose `value` is unrounded."""
    return f'<data value="{value!r}">{text}</data>'


def percent(value: float) -> str:
    """A share, shown in %."""
    return number(value, f"{100 * value:.1f}")


def table(rows: Iterable[str], head: str = "") -> str:
    """Rows in HTML as a table that scrolls where it is too wide.

    Args:
        rows: `<tr>` elements.
        head: the one above them, by whose cells the rows are sorted, or empty.
    """
    text = "\n".join(rows)
    above = f"<thead>{head}</thead>\n" if head else ""
    # What scrolls can be reached by keyboard.
    return (
        '<div class="scroll" tabindex="0"><table>\n'
        f"{above}<tbody>\n{text}\n</tbody></table></div>"
    )


def picture(content: bytes, caption: str) -> str:
    """A PNG file within the page."""
    encoded, caption = base64.b64encode(content).decode("ascii"), html.escape(caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{encoded}">\n'
        f"<figcaption>{caption}</figcaption></figure>"
    )
