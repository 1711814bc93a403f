"""Draws the parts of the package and what each imports, from the imports.

    python docs/_tools/house.py house.svg

The floors are those of `tests/house.py`, to which a test holds the imports; the lowest
stands at the bottom. A line leads from a part to each that it imports, but for those
that another of its lines implies.
"""

import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import house  # noqa: E402

WIDTH, FLOOR, BOX, GAP, MARGIN = 1120, 84, 30, 10, 16
#: Pixels of a letter, about, and around a name.
LETTER, AROUND = 7.4, 18


def imports() -> dict[str, set[str]]:
    """The parts that each part imports."""
    found = {part: set() for part in house.LEVEL}
    for path in house.modules():
        part = house.part_of(path)
        if part in found:
            found[part] |= set(house.imported_parts(path)) & set(found) - {part}
    return found


def drawn(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Those imports that no path of others implies."""

    def below(part):
        reached, left = set(), list(edges[part])
        while left:
            other = left.pop()
            if other not in reached:
                reached.add(other)
                left += edges[other]
        return reached

    return {
        part: {
            other
            for other in others
            if not any(other in below(between) for between in others - {other})
        }
        for part, others in edges.items()
    }


def places() -> dict[str, tuple[float, float, float]]:
    """`(left, top, width)` of each part's box; the lowest floor at the bottom."""
    found = {}
    for level, parts in enumerate(house.LAYERS):
        widths = {part: len(part) * LETTER + AROUND for part in sorted(parts)}
        left = (WIDTH - sum(widths.values()) - GAP * (len(widths) - 1)) / 2
        top = MARGIN + (len(house.LAYERS) - 1 - level) * FLOOR
        for part, width in widths.items():
            found[part] = (left, top, width)
            left += width + GAP
    return found


def svg() -> str:
    """The picture, as text."""
    edges, boxes = imports(), places()
    height = 2 * MARGIN + (len(house.LAYERS) - 1) * FLOOR + BOX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13">',
        "<title>Parts of keras_ebm, each above those that it imports</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for part, others in sorted(drawn(edges).items()):
        parts += [_line(boxes[part], boxes[other]) for other in sorted(others)]
    for part, box in sorted(boxes.items()):
        parts.append(_box(part, box, edges[part]))
    return "\n".join([*parts, "</svg>", ""])


def _line(upper, lower) -> str:
    x, y = upper[0] + upper[2] / 2, upper[1] + BOX
    to_x, to_y = lower[0] + lower[2] / 2, lower[1]
    bend = (to_y - y) / 2
    return (
        f'<path d="M{x:.1f} {y:.1f} C{x:.1f} {y + bend:.1f} {to_x:.1f} '
        f'{to_y - bend:.1f} {to_x:.1f} {to_y:.1f}" fill="none" stroke="#9fa8da"/>'
    )


def _box(part, box, imported) -> str:
    left, top, width = box
    told = f"{part} imports {', '.join(sorted(imported)) or 'no other part'}"
    return (
        f"<g><title>{escape(told)}</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BOX}" rx="5" '
        f'fill="#e8eaf6" stroke="#3949ab"/><text x="{left + width / 2:.1f}" '
        f'y="{top + 20}" text-anchor="middle" fill="#1a237e">{escape(part)}</text></g>'
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    Path(sys.argv[1]).write_text(svg(), "utf-8")
