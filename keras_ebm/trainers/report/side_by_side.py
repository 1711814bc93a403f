"""A comparison of runs as the text that is printed, and as a page."""

import html

from keras_ebm import pages
from keras_ebm.trainers.report.html import TITLES

#: Measures of known rows whose differences are shown, and of foreign ones in the text.
KNOWN = ("accuracy", "nll", "ece", "brier")
DETECTION = ("auroc", "aupr", "fpr95")
_SAME = "Rows are the same for all runs, and resampled together."
_APART = "Each run is measured on test rows of its own, so that intervals are wide."
_NOTE = (
    "Intervals are of 95 %, by the bootstrap, over test rows alone: another training "
    "seed would move the values too."
)


def text(results: dict) -> str:
    """What the program prints: values, and differences from the first run."""
    runs = list(results["runs"])
    lines = [f"{name}: {run}" for name, run in zip(_names(runs), runs, strict=True)]
    lines += [_SAME if results["same_rows"] else _APART, ""]
    lines.append(_line("", [*_names(runs), *_heads(runs)]))
    for name in KNOWN:
        lines += _row(results, name, (name,), 1.0)
    for spec in results["runs"][runs[0]]["ood"]:
        lines.append(f"\n{spec}: AUROC in %")
        for score in results["runs"][runs[0]]["ood"][spec]:
            lines += _row(results, score, ("ood", spec, score, "auroc"), 100.0)
    flags = results["flags"]
    if flags[runs[0]]:
        lines.append("\nflags that are not the same")
        for name in flags[runs[0]]:
            lines.append(_line(f"--{name}", [flags[run][name][:20] for run in runs]))
    return "\n".join(lines)


def _names(runs: list[str]) -> list[str]:
    """A, B, ...: short enough for the heads of columns."""
    return [chr(ord("A") + place) for place in range(len(runs))]


def _heads(runs: list[str]) -> list[str]:
    return [f"{name} - A, 95 %" for name in _names(runs)[1:]]


def _line(name: str, cells: list[str]) -> str:
    return f"{name[:26]:26s}" + "".join(f"{cell:>28s}" for cell in cells)


def _row(results: dict, name: str, path: tuple, factor: float) -> list[str]:
    """A line of values and differences; none where a run lacks the measure."""
    found = _found(results, path)
    if found is None:
        return []
    values, apart = found
    cells = [_rounded(value, factor) for value in values]
    for own in apart:
        low, high = (_rounded(own[key], factor) for key in ("low", "high"))
        cells.append(f"{_rounded(own['value'], factor, '+')} [{low}, {high}]")
    return [_line(name, cells)]


def _found(results: dict, path: tuple) -> tuple[list, list] | None:
    """A measure of all runs, and its differences; None where a run lacks it."""
    values = [_at(own, path) for own in results["runs"].values()]
    apart = [_at(own, path) for own in results["differences"].values()]
    return None if None in values or None in apart else (values, apart)


def _at(values: dict, path: tuple):
    """A value by its path, or None where a run does not have it."""
    for name in path:
        values = {} if values is None else values
        values = values.get(name)
    return values


def page(results: dict) -> str:
    """The comparison as a page of tables that holds all it needs."""
    runs = list(results["runs"])
    parts = [
        pages.paragraph(_SAME if results["same_rows"] else _APART),
        pages.paragraph(f"Differences are from {results['against']}. {_NOTE}"),
        pages.section("Known rows", _table(results, {n: (n,) for n in KNOWN}, 1.0)),
    ]
    for spec in results["runs"][runs[0]]["ood"]:
        for measure, title in zip(DETECTION, ("AUROC", "AUPR", "FPR95"), strict=True):
            scores = results["runs"][runs[0]]["ood"][spec]
            paths = {score: ("ood", spec, score, measure) for score in scores}
            shown = _table(results, paths, 100.0)
            parts.append(pages.section(f"{spec}: {title} in %", shown))
    if results["flags"][runs[0]]:
        parts.append(pages.section("Flags that are not the same", _flags(results)))
    return pages.page("Runs side by side", parts)


def _table(results: dict, paths: dict[str, tuple], factor: float) -> str:
    heads = [
        *results["runs"],
        *(f"{run}, difference" for run in results["differences"]),
    ]
    cells = "".join(f'<th class="number">{html.escape(head)}</th>' for head in heads)
    rows = []
    for name, path in paths.items():
        found = _found(results, path)
        if found is None:
            continue
        values, apart = found
        row = [_number(value, factor) for value in values]
        row += [_difference(own, factor) for own in apart]
        title = f'<th scope="row">{html.escape(TITLES.get(name, name))}</th>'
        cells_of_row = "".join(f'<td class="number">{cell}</td>' for cell in row)
        rows.append(f"<tr>{title}{cells_of_row}</tr>")
    return pages.table(rows, f"<tr><th>By</th>{cells}</tr>")


def _number(value: float, factor: float) -> str:
    return pages.number(value, _rounded(value, factor))


def _rounded(value: float, factor: float, sign: str = "") -> str:
    """A number as text, shares in %; one that rounds to 0 is no negative one."""
    digits = 4 if factor == 1.0 else 1
    return f"{round(factor * value, digits) + 0.0:{sign}.{digits}f}"


def _difference(own: dict, factor: float) -> str:
    """A difference and its interval; bold where that is on one side of 0."""
    low, high = _number(own["low"], factor), _number(own["high"], factor)
    value = _number(own["value"], factor)
    value = f"<b>{value}</b>" if own["low"] > 0 or own["high"] < 0 else value
    return f"{value} <small>[{low}, {high}]</small>"


def _flags(results: dict) -> str:
    heads = "".join(f"<th>{html.escape(run)}</th>" for run in results["flags"])
    first = next(iter(results["flags"].values()))
    rows = []
    for name in first:
        cells = "".join(
            f"<td>{html.escape(own[name])}</td>" for own in results["flags"].values()
        )
        rows.append(f'<tr><th scope="row">--{html.escape(name)}</th>{cells}</tr>')
    return pages.table(rows, f"<tr><th>Flag</th>{heads}</tr>")
